"""A real Prometheus scrapes a running Metrion: panels and recording rules have values, and no alert fires for no reason."""

import asyncio
import json
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.observability.dashboards import DASHBOARDS, RULES
from tests.support import ports, servers
from tests.support.system import TOKEN, Service, System, system

BOARD = json.loads((DASHBOARDS / "operations.json").read_text())
MOST = 60.0  # seconds until every panel that can has a value
# What nothing happened for in this run, so that there is no series to show.
NOTHING = {"Incomplete requests by outcome", "Refused before authentication, by kind", "Cache refusals by reason"}

ABOUT_THE_MACHINE = {"MetrionDashboardPanelsFailing"}  # where it is busy with other tests, panels do take too long


class Prometheus:
    """Debian's, on a free port, scraping every second."""

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        self._folder, self._port = folder, ports.free_port()
        folder.mkdir()
        jobs = "".join(
            f"  - {{job_name: {name}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
            for name, port in targets.items()
        )
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{RULES}']\nscrape_configs:\n{jobs}"
        )

    def start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("prometheus")
        assert program, "prometheus is needed: apt-get install prometheus"
        with (self._folder / "log").open("wb") as log:
            return subprocess.Popen(
                [
                    program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=servers.DEADLINE) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        return [float(one["value"][1]) for one in self.ask("query", query=expression)["result"]]


async def traffic(metrion: System, seconds: float) -> None:
    """Requests of several kinds, some through the cache, some that fail."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    until = time.monotonic() + seconds
    async with aiohttp.ClientSession(headers=headers) as session:
        while time.monotonic() < until:
            for path, body, more in (
                ("/openai/v1/chat/completions", {"model": "gpt-4o-mini", "messages": []}, {}),
                ("/openai/v1/chat/completions", {"model": "gpt-4o-mini", "messages": [], "stream": True}, {}),
                ("/openai/v1/chat/completions", {"model": "gpt-4o-mini"}, {"x-metrion-cache": "true"}),
                ("/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 5, "stream": True}, {}),
                ("/openai/v1/chat/completions", {"model": "gpt-4o-mini"}, {"x-metrion-cache": "nonsense"}),
            ):
                async with session.post(metrion.url + path, json=body, headers=more) as answer:
                    await answer.read()
            await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has watched some traffic."""
    folder = tmp_path_factory.mktemp("metrion")
    with system(folder) as metrion:
        port, page = ports.free_port(), ports.free_port()
        environment = {
            "METRION_NATS_URL": metrion.nats.url("dashboard"),
            "METRION_CLICKHOUSE_URL": metrion.clickhouse.url("reader"),
            "METRION_DASHBOARD_PORT": str(page),
            "METRION_DASHBOARD_OPS_PORT": str(port),
            "METRION_DASHBOARD_SIGN_IN": "off",
        }
        dashboard = Service("dashboard", port, environment, folder / "dashboard.log")
        dashboard.start()
        services = (metrion.gateway, metrion.logger, metrion.cache, dashboard)
        prometheus = Prometheus(folder / "prometheus", {service.name: service.ops_port for service in services})
        process = prometheus.start()
        try:
            servers.wait_for(lambda: servers.answers(f"http://127.0.0.1:{prometheus._port}/-/ready"), "Prometheus")
            asyncio.run(traffic(metrion, 15))
            for _ in range(3):
                urllib.request.urlopen(f"http://127.0.0.1:{page}/", timeout=servers.DEADLINE).close()
            asyncio.run(traffic(metrion, 15))
            yield prometheus
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(servers.DEADLINE)
            dashboard.kill(signal.SIGTERM)


def panels() -> dict[str, list[str]]:
    """Expressions by panel, as Grafana would ask them."""
    variables = {"$__rate_interval": "30s", "$provider": ".*"}
    found: dict[str, list[str]] = {}
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for variable, value in variables.items():
                expression = expression.replace(variable, value)
            found.setdefault(panel["title"], []).append(expression)
    return found


def test_every_panel_shows_something_and_no_alert_fires(scraped: Prometheus) -> None:
    assert {one["health"] for one in scraped.ask("targets")["activeTargets"]} == {"up"}
    assert panels().keys() >= NOTHING, "a panel was renamed"
    for title, expressions in panels().items():
        if title not in NOTHING:
            for expression in expressions:
                servers.wait_for(lambda asked=expression: scraped.values(asked), f"{title}: {expression}", seconds=MOST)
    rules = [rule for group in scraped.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]
    alerts = {alert["labels"]["alertname"] for alert in scraped.ask("alerts")["alerts"]}
    assert not alerts - ABOUT_THE_MACHINE, "firing, or about to"


def test_scraped_metrics_match_the_traffic_sent(scraped: Prometheus) -> None:
    assert scraped.values('sum(metrion_gateway_requests_total{source="gateway",status="400"})')[0] > 10
    assert scraped.values('sum(metrion_gateway_requests_total{source="cache"})')[0] > 10
    hits = scraped.values("metrion:gateway_cache_hits:ratio5m")
    assert 0.5 < hits[0] <= 1.0
    assert scraped.values("sum(metrion_logger_cost_usd_total)")[0] > 0
    assert scraped.values('sum by (provider) (metrion_logger_responses_total{provider="anthropic"})')[0] > 10
    assert scraped.values("max(metrion_gateway_accounts_age_seconds)")[0] < 10
    assert scraped.values("sum(metrion_ready)") == [4.0]
    assert scraped.values("max(metrion_logger_stream_max_bytes)") == [float(4 << 30)]
