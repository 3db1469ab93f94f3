"""Waits of the dashboard, made long: on a busy machine it gives up nothing that a test looks for."""

import pytest

from services.dashboard import http_server, nats_connection, render, request_body, saved_views
from services.dashboard.api import requests, sql_users
from services.dashboard.pages import accounts, cost, errors, explore, limits, logs, savings
from services.dashboard.queries import changes, pivot, statement
from tests.support import servers

_WAITS = (
    (http_server, "HEADER_SECONDS"),
    (nats_connection, "TIMEOUT_SECONDS"),
    (render, "FILTER_NAMES_TIMEOUT"),
    (request_body, "BODY_SECONDS"),
    (saved_views, "PATIENCE"),
    (requests, "PAGE_SECONDS"),
    (sql_users, "_SECONDS"),
    (accounts, "BUDGET_SECONDS"),
    (cost, "BUDGET_SECONDS"),
    (errors, "LATEST_SECONDS"),
    (explore, "KEYS_TIMEOUT"),
    (limits, "MINUTE_USAGE_SECONDS"),
    (logs, "PAGE_SECONDS"),
    (savings, "SECONDS"),
    (changes, "_SECONDS"),
    (pivot, "_SECONDS"),
    (statement, "_SECONDS"),
)


def wait_long(patch: pytest.MonkeyPatch) -> None:
    """Let the dashboard wait for as long as a server may take to start."""
    for module, name in _WAITS:
        patch.setattr(module, name, servers.DEADLINE)


def stop_clock(patch: pytest.MonkeyPatch, kind: type) -> None:
    """Let no time pass for instances of a class that takes its clock as an argument."""
    patch.setitem(getattr(kind.__init__, "__kwdefaults__"), "clock", lambda: 0.0)  # noqa: B009
