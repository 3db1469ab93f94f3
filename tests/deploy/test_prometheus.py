"""A real Prometheus scrapes a running Metrion: panels and recording rules have values, and no alert fires for no reason."""

import asyncio
import json
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.observability.dashboards import DASHBOARDS, RULES
from tests.support import ports, servers
from tests.support.system import TOKEN, Service, System, system

BOARD = json.loads((DASHBOARDS / "operations.json").read_text())
# What nothing happened for in this run, so that there is no series to show.
NOTHING = {"Incomplete requests by outcome", "Refused before authentication, by kind", "Cache refusals by reason"}

ABOUT_THE_MACHINE = {"MetrionDashboardPanelsFailing"}  # where it is busy with other tests, panels do take too long


class Prometheus:
    """Debian's, on a free port, scraping as often as a busy machine allows: a scrape may take the whole interval."""

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        self._folder, self._port = folder, ports.free_port()
        folder.mkdir()
        jobs = "".join(
            f"  - {{job_name: {name}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
            for name, port in targets.items()
        )
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 1s}\n"
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

    def wait_for(self, expression: str, is_right: Callable[[list[float]], bool] = bool, *, what: str = "") -> None:
        """Wait until the values of an expression are right: a scrape of a busy machine may fail now and then."""
        servers.wait_for(
            lambda: is_right(self.values(expression)),
            f"{what or 'the right value'}: {expression}",
            explain=lambda: str(self.values(expression)),
        )


async def traffic(metrion: System, *, seconds: float = 15, rounds: int = 15) -> None:
    """Requests of several kinds, some through the cache, some that fail: for so long, and so many of each at least."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    until = time.monotonic() + seconds
    async with aiohttp.ClientSession(headers=headers) as session:
        while time.monotonic() < until or rounds > 0:
            rounds -= 1
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
    with system(folder, cache_timeout="10") as metrion:
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
            asyncio.run(traffic(metrion))
            for _ in range(3):
                urllib.request.urlopen(f"http://127.0.0.1:{page}/", timeout=servers.DEADLINE).close()
            asyncio.run(traffic(metrion))
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
    scraped.wait_for("up", lambda values: values == [1.0] * 4)
    assert panels().keys() >= NOTHING, "a panel was renamed"
    for title, expressions in panels().items():
        if title not in NOTHING:
            for expression in expressions:
                scraped.wait_for(expression, what=title)
    rules = [rule for group in scraped.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]

    def alerts() -> set[str]:
        """Those that are firing, or about to."""
        return {alert["labels"]["alertname"] for alert in scraped.ask("alerts")["alerts"]}

    servers.wait_for(lambda: alerts() <= ABOUT_THE_MACHINE, "no alert", explain=lambda: str(alerts()))


def test_scraped_metrics_match_the_traffic_sent(scraped: Prometheus) -> None:
    scraped.wait_for(
        'sum(metrion_gateway_requests_total{source="gateway",status="400"})', lambda found: sum(found) > 10
    )
    scraped.wait_for('sum(metrion_gateway_requests_total{source="cache"})', lambda found: sum(found) > 10)
    scraped.wait_for("metrion:gateway_cache_hits:ratio5m", lambda found: 0.5 < sum(found) <= 1.0)
    scraped.wait_for("sum(metrion_logger_cost_usd_total)", lambda found: sum(found) > 0)
    responses = 'sum by (provider) (metrion_logger_responses_total{provider="anthropic"})'
    scraped.wait_for(responses, lambda found: sum(found) > 10)
    scraped.wait_for("max(metrion_gateway_accounts_age_seconds)", lambda found: len(found) == 1 and found[0] < 10)
    scraped.wait_for("sum(metrion_ready)", lambda found: found == [4.0])
    scraped.wait_for("max(metrion_logger_stream_max_bytes)", lambda found: found == [float(4 << 30)])
