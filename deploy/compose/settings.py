"""Writes the settings into the compose files: `python -m deploy.compose.settings`."""

from pathlib import Path

import msgspec

from deploy import marks
from services.cache.service import Settings as Cache
from services.dashboard.service import Settings as Dashboard
from services.gateway.settings import Settings as Gateway
from services.logger.settings import Settings as Logger
from shared.providers import BUILT_IN
from shared.settings import describe

COMPOSE = Path(__file__).with_name("compose.yaml")
ENVIRONMENT = Path(__file__).with_name(".env.example")
SERVICES: dict[str, type[msgspec.Struct]] = {
    "gateway": Gateway,
    "logger": Logger,
    "cache": Cache,
    "dashboard": Dashboard,
}
# Variables that compose.yaml sets itself: addresses in its containers, and other defaults.
GIVEN = {
    "METRION_NATS_URL",
    "METRION_CLICKHOUSE_URL",
    "METRION_OPS_HOST",
    "METRION_GATEWAY_HOST",
    "METRION_DASHBOARD_HOST",
    "METRION_GATEWAY_PORT",
    "METRION_DASHBOARD_PORT",
    "METRION_GATEWAY_DIR",
    "METRION_INSTANCE",
    "METRION_STOP_SECONDS",
    "METRION_FLUSH_SECONDS",
    "METRION_PUBLIC_GATEWAY_URL",
    "METRION_SECRET_KEY",
    *(f"METRION_{service.upper()}_OPS_PORT" for service in SERVICES),
}


def updated(text: str) -> str:
    """compose.yaml with up-to-date settings; ValueError when a mark is missing."""
    for service, kind in SERVICES.items():
        rows = [row.env for row in describe(kind) if row.env not in GIVEN]
        text = marks.replaced(text, service, "\n".join(f"{name}: ${{{name}:-}}" for name in rows), target="readme")
    return text


def with_provider_keys(text: str) -> str:
    """The environment example with a line for each provider's key.

    ValueError when a mark is missing.
    """
    names = [provider.key_variable for provider in BUILT_IN.values() if provider.key_variable]
    return marks.replaced(text, "providers", "\n".join(f"{name}=" for name in names), target="readme")


if __name__ == "__main__":
    ENVIRONMENT.write_text(with_provider_keys(ENVIRONMENT.read_text()))
    COMPOSE.write_text(updated(COMPOSE.read_text()))
