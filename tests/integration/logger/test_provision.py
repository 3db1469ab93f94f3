"""The job that makes streams and tables before the services start."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from shared import cache_protocol, events, nats_client
from tests.support import servers


def _provision(told: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "services.logger", "--provision"],
        cwd=servers.ROOT,
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def _streams(url: str) -> set[str]:
    client = await nats_client.connect(url, service="provision")
    names = {info.config.name or "" for info in await client.jetstream().streams_info()}
    await client.close()
    return names


def test_streams_and_tables_stand_after_the_job_which_waits_for_late_servers_and_may_run_again(tmp_path: Path) -> None:
    nats, clickhouse = servers.NatsServer(tmp_path / "nats"), servers.ClickHouseServer(tmp_path / "clickhouse")
    told = {"METRION_NATS_URL": nats.url("provision"), "METRION_CLICKHOUSE_URL": clickhouse.url("logger")}
    early = _provision(told)
    with servers.started(nats), servers.started(clickhouse):
        output, _ = early.communicate(timeout=servers.DEADLINE)
        assert early.returncode == 0, output
        again = _provision(told)
        output, _ = again.communicate(timeout=servers.DEADLINE)
        assert again.returncode == 0 and "Traceback" not in output, output
        assert {
            events.EVENTS_STREAM,
            events.DEAD_STREAM,
            cache_protocol.STREAM,
            cache_protocol.LEASES_STREAM,
        } <= asyncio.run(_streams(nats.url("provision")))
        assert "requests" in clickhouse.query("SHOW TABLES FROM metrion").split()


def test_a_job_that_is_stopped_before_it_is_done_says_so_and_fails(tmp_path: Path) -> None:
    nowhere = {"METRION_NATS_URL": "nats://127.0.0.1:1", "METRION_CLICKHOUSE_URL": "http://127.0.0.1:1"}
    job = _provision(nowhere)
    servers.wait_for(lambda: _handles_sigterm(job.pid), "the start")
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=servers.DEADLINE)
    assert job.returncode == 1 and "stopped before all streams and tables were created" in output, output


def _handles_sigterm(pid: int) -> bool:
    """Whether the process has set its own handler for SIGTERM."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
