"""`make demo` as a newcomer meets it: no provider key, a short run, a filled past, and everything recorded."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.providers import BUILT_IN
from tests.support import ports, servers

SQL = """
SELECT 'providers', arrayStringConcat(arraySort(groupUniqArray(provider)), ' ') FROM live UNION ALL
SELECT 'requesters', toString(uniqExact(requester)) FROM live UNION ALL
SELECT 'accounts', arrayStringConcat(arraySort(groupUniqArray(account)), ' ') FROM live UNION ALL
SELECT 'streams', toString(countIf(stream)) FROM live UNION ALL
SELECT 'statuses', toString(groupUniqArray(status)) FROM live UNION ALL
SELECT 'outcomes', arrayStringConcat(arraySort(groupUniqArray(outcome)), ' ') FROM live UNION ALL
SELECT 'drained', toString(countIf(usage_source = 'drained')) FROM live UNION ALL
SELECT 'projects', toString(uniqExact(metadata['project'])) FROM live UNION ALL
SELECT 'charged', toString(countIf(cost_source = 'provider')) FROM live UNION ALL
SELECT 'mispriced', toString(countIf(usage_source IN ('reported', 'drained') AND cost IS NULL)) FROM live UNION ALL
SELECT 'cache', toString(countIf(cache != '')) FROM live
"""
# Its gateway runs on: what it did last is not known yet.
COMPLETE = re.compile(r"Complete up to [-\d]{10} [:\d]{8} UTC: every numbered event is stored once\.")
PAST = """
SELECT count(), uniqExact(id), uniqExact(toDate(started_at)), uniqExact(toHour(started_at)), uniqExact(requester),
    uniqExact(provider), sum(cost), (SELECT count() FROM metrion.response_events WHERE gateway = 'history')
FROM metrion.requests WHERE gateway = 'history'
    AND started_at < (SELECT toStartOfDay(min(started_at)) FROM metrion.requests WHERE gateway = 'history') + INTERVAL 2 DAY
"""
PORTS = ("GATEWAY", "GATEWAY_OPS", "LOGGER_OPS", "CACHE_OPS", "DASHBOARD", "DASHBOARD_OPS", "CLICKHOUSE", "NATS")


class Demo:
    """A demo that was started, its output in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.path = folder / f"output-{time.monotonic_ns()}.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        environment |= {f"METRION_{name}_PORT": str(ports.free_port()) for name in PORTS}
        with self.path.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.demo", "--data-dir", str(folder / "data"), *arguments],
                cwd=servers.ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.path.read_text()

    def until(self, pattern: str) -> str:
        """Wait until the output matches; the first group, if there is one."""
        servers.wait_for(
            lambda: re.search(pattern, self.output) is not None,
            pattern,
            seconds=servers.DEADLINE,
            abort=lambda: self.process.poll() is not None,
            explain=lambda: self.output[-3000:],
        )
        found = re.search(pattern, self.output)
        assert found
        return found[found.re.groups and 1]

    def clickhouse(self, sql: str) -> list[list[str]]:
        """Rows, as anybody on this machine may ask for them."""
        url = self.until(r"ClickHouse +(http\S+)")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, sql.encode()), timeout=servers.DEADLINE) as answer:
            return [line.split("\t") for line in answer.read().decode().splitlines()]

    def end(self, number: signal.Signals) -> int:
        """Signal it and wait; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(servers.DEADLINE)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Demo]]:
    """A short demo with a small past, which stays."""
    folder = tmp_path_factory.mktemp("demo")
    options = ("--seconds", "5", "--rate", "30", "--history", "3d", "--rows", "1500", "--keep")
    demo = Demo(folder, *options)
    try:
        demo.until("Press Ctrl-C to stop")
        yield folder, demo
    finally:
        demo.end(signal.SIGTERM)


def test_five_seconds_of_demo_traffic_are_recorded_completely(shown: tuple[Path, Demo]) -> None:
    _, demo = shown
    assert COMPLETE.search(demo.output)
    assert "metrion report --by requester" in demo.output and "metrion report --by model" in demo.output
    sent, recorded = re.findall(r"traffic: \d+ s, (\d+) sent, 0 open; recorded (\d+)", demo.output)[-1]
    assert sent == recorded and int(sent) > 80
    live = "metrion.requests WHERE gateway != 'history' AND requester != 'demo'"
    found = {row[0]: row[1] for row in demo.clickhouse(SQL.replace("FROM live", f"FROM {live}"))}
    assert found["providers"].split() == sorted(BUILT_IN)
    assert found["requesters"] == "20" and int(found["projects"]) > 5
    assert found["accounts"] == "default research shop"
    assert {"200", "400", "422", "429", "500", "503", "529"} <= set(re.findall(r"\d+", found["statuses"]))
    assert found["outcomes"] == "client_closed complete upstream_closed upstream_error"
    assert all(int(found[name]) for name in ("streams", "drained", "charged", "cache"))
    assert found["mispriced"] == "0"


def test_demo_history_is_stored_once_even_if_generated_again(shown: tuple[Path, Demo]) -> None:
    folder, demo = shown
    assert re.search(r"history: [\d,]+ of 1,500 rows, \d+ s, [\d,]+ events/s", demo.output)
    (before,) = demo.clickhouse(PAST)
    rows, ids, days, hours, requesters, providers = map(int, before[:6])
    assert rows == ids > 500
    assert (days, providers) == (2, 5) and requesters > 15 and hours > 20
    assert float(before[6]) > 1
    assert demo.end(signal.SIGINT) == 0
    assert "stopping; the data is kept" in demo.output
    again = Demo(folder, "--seconds", "0", "--history", "3d", "--rows", "1500", "--keep")
    try:
        again.until("Press Ctrl-C to stop")
        assert re.search("[123] of 3 days are already stored", again.output)
        assert again.clickhouse(PAST)[0][:7] == before[:7]
        ((doubled,),) = again.clickhouse("SELECT count() - uniqExact(id) FROM metrion.requests")
        assert doubled == "0"
        assert COMPLETE.search(again.output)
        third = Demo(folder, "--seconds", "0")
        assert third.process.wait(servers.DEADLINE) == 1
        assert "is already running from" in third.output and "--data-dir" in third.output
    finally:
        assert again.end(signal.SIGINT) == 0


def test_an_interrupt_while_it_works_leaves_nothing_running(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--seconds", "60")
    try:
        gateway = demo.until(r"gateway +http://127\.0\.0\.1:(\d+)")
        servers.wait_for(lambda: (tmp_path / "data" / "demo.log").exists(), "the log")
    finally:
        assert demo.end(signal.SIGINT) == 130
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(gateway))) != 0
    assert "did not stop within" not in (tmp_path / "data" / "demo.log").read_text()
