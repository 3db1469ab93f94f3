"""The JSON API keeps to its own description, whatever schemathesis sends: no 5xx, no response that is not documented."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from services.dashboard.api import table
from services.dashboard.metrics import METRICS
from tests.support import api_client, dashboard_app, servers
from tests.support.dashboard_app import DashboardApp

EXAMPLES = "6"  # of each operation: about 20 seconds
SEED = "20261129"  # every run tries the same requests; another seed looks elsewhere
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "allow_header_conformance", "unsupported_method",
)  # fmt: skip


async def test_no_request_gets_a_server_error_or_an_undocumented_response(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse,
    ):
        await dashboard_app.create_data(nats, clickhouse.url("logger"))
        many = 1_000_000
        async with dashboard_app.running_dashboard(
            nats.url("dashboard"), clickhouse.url("reader"), api_requests_per_minute=many
        ) as dashboard:
            admin = await api_client.client(dashboard, "fuzzer", role="admin")
            status, output = await _fuzzed(f"{dashboard.url}{table.DESCRIPTION}", admin.key, tmp_path)
            statuses = _statuses(dashboard)
    assert status == 0, output[-6000:]
    assert {"200", "400", "422"} <= statuses and "401" not in statuses, "the key was used, and not in vain"


async def _fuzzed(url: str, key: str, folder: Path) -> tuple[int, str]:
    """Run schemathesis against a description; returns exit status and output."""
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", url, "--header", f"Authorization: Bearer {key}",
        "--checks", ",".join(CHECKS), "--phases", "fuzzing", "--max-examples", EXAMPLES, "--seed", SEED, "--no-shrink",
        "--continue-on-failure", "--no-color", "--warnings", "off", "--request-timeout", "60", "--workers", "2",
        cwd=folder,
        env={**os.environ, "NO_PROXY": "*", "COLUMNS": "160"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await run.communicate()
    assert run.returncode is not None
    return run.returncode, output.decode()


def _statuses(dashboard: DashboardApp) -> set[str]:
    """Return the statuses of all responses of the API."""
    (metric,) = dashboard.app[METRICS].requests.collect()
    return {sample.labels["status"] for sample in metric.samples if "/api/v1/" in sample.labels.get("route", "")}
