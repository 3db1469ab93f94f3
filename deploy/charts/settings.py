"""Writes the services' settings into the chart: `python -m deploy.charts.settings`."""

import json
from pathlib import Path
from typing import Any

from deploy.compose.settings import SERVICES
from shared.settings import Setting, describe

CHART = Path(__file__).with_name("metrion")
SCHEMA, NAMES = CHART / "values.schema.json", CHART / "files" / "settings.yaml"
# What the chart itself says, from values of its own or because its pods are made so.
GIVEN = {
    "METRION_OPS_HOST",
    "METRION_GATEWAY_HOST",
    "METRION_DASHBOARD_HOST",
    "METRION_GATEWAY_PORT",
    "METRION_DASHBOARD_PORT",
    "METRION_GATEWAY_DIR",
    "METRION_INSTANCE",
    "METRION_WORKERS",
    "METRION_SPOOL_MAX_BYTES",
    "METRION_STOP_DELAY",
    "METRION_STOP_SECONDS",
    "METRION_FLUSH_SECONDS",
    "METRION_GRACE_SECONDS",
    "METRION_LOGGER_STOP_SECONDS",
    "METRION_CACHE_STOP_SECONDS",
    "METRION_NATS_CA_FILE",
    "METRION_CLICKHOUSE_CA_FILE",
    *(f"METRION_{service.upper()}_OPS_PORT" for service in SERVICES),
}


def free(service: str) -> list[Setting]:
    """The settings of a service that values.yaml may hold: neither secret nor given."""
    return [row for row in describe(SERVICES[service]) if not row.secret and row.env not in GIVEN]


def names() -> str:
    """files/settings.yaml: which service knows which variable, and which variables hold secrets."""
    head = "# Which settings each service knows, and which are secrets: `make readme` writes this.\n"
    known = {service: [row.env for row in free(service)] for service in SERVICES}
    known["secret"] = sorted({row.env for kind in SERVICES.values() for row in describe(kind) if row.secret})
    return head + "".join(f"{part}: {json.dumps(variables)}\n" for part, variables in known.items())


def schema(text: str) -> str:
    """values.schema.json with the settings as they ought to be; the rest of it is written by hand."""
    found: dict[str, Any] = json.loads(text)
    every: dict[str, Any] = {}
    for service in SERVICES:
        known = {row.env: {"type": "string", "description": row.description} for row in free(service)}
        found["$defs"][f"{service}Settings"] = _object(known)
        every |= known
    found["$defs"]["settings"] = _object(every)
    return json.dumps(found, indent=2) + "\n"


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


if __name__ == "__main__":
    SCHEMA.write_text(schema(SCHEMA.read_text()))
    NAMES.write_text(names())
