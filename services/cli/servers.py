"""Addresses of NATS and ClickHouse, from the environment or cli.env."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from services.cli.errors import Unavailable

NATS = "METRION_NATS_URL"
NATS_CA = "METRION_NATS_CA_FILE"
CLICKHOUSE = "METRION_CLICKHOUSE_URL"
CLICKHOUSE_ADMIN = "METRION_CLICKHOUSE_ADMIN_URL"  # a user that may change recorded data
CLICKHOUSE_CA = "METRION_CLICKHOUSE_CA_FILE"


def address(name: str, environ: Mapping[str, str]) -> str:
    """Return a URL from the environment, else from cli.env, which `make run` writes."""
    if environ.get(name):
        return environ[name]
    path = _cli_env(environ)
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise Unavailable(f"{name} is not set and {path}: {reason}. Is Metrion running (make run)?") from None
    for line in lines:
        key, _, value = line.strip().partition("=")
        if key.strip() == name and value.strip():
            return value.strip().strip("\"'")
    raise Unavailable(f"{name} is neither set nor in {path}")


def optional(name: str, environ: Mapping[str, str]) -> str:
    """Return a setting that may be missing: "" then."""
    try:
        return address(name, environ)
    except Unavailable:
        return ""


def for_changes(environ: Mapping[str, str]) -> str:
    """Return the variable of the ClickHouse to write to: the one that is queried."""
    if environ.get(CLICKHOUSE) and not environ.get(CLICKHOUSE_ADMIN):
        return CLICKHOUSE  # cli.env may belong to another installation
    return CLICKHOUSE_ADMIN


def host_and_port(url: str) -> str:
    """Return host and port of the first URL: the part without secrets."""
    from shared import urls

    for scheme in (urls.NATS, urls.CLICKHOUSE):
        with contextlib.suppress(ValueError):
            first = urls.parse(url, scheme)[0]
            return f"{first.host}:{first.port}" if first.port else first.host
    return "the given address"


def _cli_env(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("METRION_DATA_DIR") or ".metrion") / "cli.env"
