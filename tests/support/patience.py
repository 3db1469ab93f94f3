"""Waits of the dashboard's pages, made long: on a busy machine no page gives up what a test looks for."""

import pytest

from services.dashboard import render
from services.dashboard.api import requests
from services.dashboard.pages import accounts, cost, errors, explore, limits, logs
from tests.support import servers

_WAITS = (
    (render, "FILTER_NAMES_TIMEOUT"),
    (requests, "PAGE_SECONDS"),
    (accounts, "BUDGET_SECONDS"),
    (cost, "BUDGET_SECONDS"),
    (errors, "LATEST_SECONDS"),
    (explore, "KEYS_TIMEOUT"),
    (limits, "MINUTE_USAGE_SECONDS"),
    (logs, "PAGE_SECONDS"),
)


def wait_long(patch: pytest.MonkeyPatch) -> None:
    """Let each page wait for as long as a server may take to start."""
    for module, name in _WAITS:
        patch.setattr(module, name, servers.DEADLINE)
