"""Errors, cache hits, estimates, cost and mean latency: every page, report, query, export and the demo show the same figures."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient, TestServer
from clickhouse_connect.driver.asyncclient import AsyncClient

from deploy.demo import stored
from services.dashboard.app_context import AppContext
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.charts import formats
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.queries.runner import QueryRunner
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from shared import rollup
from tests.support import cli, expected_usage, sample_rows, schema_template, servers
from tests.support.definitions import cost, is_answered, is_cache_hit, is_error, is_estimated, mean_latency, model_name
from tests.support.page_markup import Page

ACCOUNT = "acme"
SINCE, UNTIL = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
NOVEMBER = {"from": "2026-11-01", "to": "2026-11-30", "account": ACCOUNT}
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)  # of storing: no pass of the rollup looks back so far
MONEY = ("cost", "estimated_cost")


class Known(NamedTuple):
    """A data set, and the newest version of each request of November."""

    server: servers.ClickHouseServer
    client: AsyncClient
    rows: list[ResponseRow]

    def command(self, *arguments: str) -> Any:
        """The command line's JSON."""
        environment = {"METRION_CLICKHOUSE_URL": self.server.url("reader"), "HOME": "/nonexistent"}
        done = cli.run(*arguments, "--account", ACCOUNT, "--json", env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def query(self, name: str) -> list[dict[str, Any]]:
        """The rows of `metrion query`."""
        answer = self.command("query", name, "--since", "2026-11-01", "--until", "2026-11-30")
        return list(answer["rows"] if isinstance(answer, dict) else answer)


def figures(rows: Iterable[ResponseRow], *names: str) -> dict[str, Any]:
    """The figures of requests by plain Python; all, or those of these names."""
    known = list(rows)
    found = {
        "requests": len(known),
        "errors": sum(map(is_error, known)),
        "hits": sum(map(is_cache_hit, known)),
        "unpriced": sum(row.cost is None for row in known),
        "estimated": sum(map(is_estimated, known)),
        "cost": cost(known),
        "estimated_cost": cost(filter(is_estimated, known)) or Decimal(0),
    }
    return {name: found[name] for name in names or found}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="module", params=["requests alone", "rolled up"])
def stored_rows(server: servers.ClickHouseServer, request: pytest.FixtureRequest) -> list[ResponseRow]:
    """Every version of every request, stored once for all tests, which only read."""
    made = sample_rows.generate(20261114, account=ACCOUNT, count=1200)
    asyncio.run(_store(server.url(), made, rolled_up=request.param == "rolled up"))
    return made


async def _store(url: str, made: list[ResponseRow], *, rolled_up: bool) -> None:
    client = await client_module.connect(url, service="test")
    await schema_template.reset(client)
    await expected_usage.insert(client, made, ingested_at=LONG_AGO if rolled_up else datetime.now(UTC))
    if rolled_up:
        await rollup.refresh(client)
        await rollup.refresh(client)
    await client.close()


@pytest.fixture
async def known(server: servers.ClickHouseServer, stored_rows: list[ResponseRow]) -> AsyncIterator[Known]:
    client = await client_module.connect(server.url(), service="test")
    within = sample_rows.within(sample_rows.newest(stored_rows), SINCE, UNTIL)
    # what the surfaces once disagreed on is there
    assert {row.usage_source for row in within if is_estimated(row)} == {"estimated", "reported"}
    assert any(row.status == 499 for row in within)
    assert any(is_error(row) and row.status == 200 and row.outcome == "complete" for row in within)
    yield Known(server, client, within)
    await client.close()


def test_reports_queries_and_statements_show_the_figures_of_plain_python(known: Known) -> None:
    report = known.command("report", "--since", "2026-11-01", "--until", "2026-11-30")["total"]
    assert _of(report, figures(known.rows), errors="errors", hits="cache_hits", estimated="estimated_requests",
               unpriced="unpriced_requests", cost="cost_usd", estimated_cost="estimated_usd") == figures(known.rows)  # fmt: skip
    (latency,) = [value for name, value in report.items() if "latency" in name]
    assert latency == pytest.approx(mean_latency(known.rows))
    names: tuple[str, ...] = ("requests", "hits", "unpriced", "cost", "estimated_cost")
    statement = known.command("statement", "--month", "2026-11")["total"]
    assert _of(statement, names) == figures(known.rows, *names)
    for query in ("cost_by_requester_day", "cost_by_requester_model"):
        assert _of(_added(known.query(query)), names) == figures(known.rows, *names), query
    names = ("requests", "unpriced", "cost", "estimated_cost")
    for query in ("usage_by_hour", "cost_of_failures"):
        assert _of(_added(known.query(query)), names) == figures(known.rows, *names), query
    assert {row["model"] for row in known.query("cost_by_requester_model")} == set(map(model_name, known.rows))
    ends = {row["ended"]: row["requests"] for row in known.query("cost_of_failures")}
    assert ends["aborted"] == sum(row.outcome == "client_closed" for row in known.rows)
    assert sum(ends.values()) - ends["complete"] - ends["aborted"] == figures(known.rows)["errors"]
    assert sum(row["answers"] for row in known.query("latency_by_model")) == sum(map(is_answered, known.rows))
    assert sum(row["hits"] for row in known.query("cache_savings")) == figures(known.rows)["hits"]


async def test_a_reconciliation_shows_the_figures_of_plain_python(known: Known) -> None:
    names = ("requests", "unpriced", "cost", "estimated_cost")
    period = {"since": SINCE, "until": UNTIL, "account": ACCOUNT}
    for provider in {row.provider for row in known.rows}:
        days = await client_module.run_query(known.client, "reconcile", provider=provider, **period)
        of_provider = [row for row in known.rows if row.provider == provider]
        theirs = [row for row in of_provider if not is_cache_hit(row) and row.billing != "subscription"]
        assert _of(_added(days), names) == figures(theirs, *names), provider
        assert {row["model"] for row in days} == set(map(model_name, theirs))


async def test_the_dashboard_and_its_export_show_the_figures_of_plain_python(known: Known) -> None:
    expected, nats = figures(known.rows), NatsConnection()
    asking = QueryRunner(known.server.url("reader"), seconds=60)
    door = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    async with TestClient(TestServer(application(AppContext(runner=asking, clock=lambda: UNTIL), door))) as client:
        pages = {path: Page(await _text(client, path)) for path in ("/", "/cost", "/latency", "/errors")}
        exported = [json.loads(line) for line in (await _text(client, "/logs.jsonl")).splitlines()]
        kept = [json.loads(line) for line in (await _text(client, "/logs.jsonl", cost="estimated")).splitlines()]
    await asking.close()
    assert pages["/"].tiles["requests"] == formats.count(expected["requests"])
    assert pages["/errors"].tiles["errors"] == formats.count(expected["errors"])
    assert pages["/cost"].tiles["cost"] == formats.money(expected["cost"])
    assert pages["/cost"].tiles["estimated"] == formats.money(expected["estimated_cost"])
    assert pages["/latency"].tiles["mean"] == formats.duration(mean_latency(known.rows))
    for name in ("unpriced", "estimated"):
        assert f'data-{name}="{expected[name]}"' in pages["/cost"].html
    hit_rate = re.search(r"([\d,]+) of ([\d,]+) requests", pages["/"].html)
    assert hit_rate and [int(one.replace(",", "")) for one in hit_rate.groups()] == [
        expected["hits"],
        expected["requests"],
    ]
    assert {row["id"] for row in kept} == {row.id for row in known.rows if is_estimated(row)}
    named = {row.id: row for row in known.rows}
    assert len(exported) == len(named)
    for line in exported:
        row = named[line["id"]]
        told = [line[name] for name in ("model_name", "is_error", "is_cache_hit", "is_estimated", "is_answered")]
        assert told == [model_name(row), is_error(row), is_cache_hit(row), is_estimated(row), is_answered(row)]
    assert sum(Decimal(line["cost_usd"]) for line in exported if line["cost_usd"] is not None) == expected["cost"]


async def test_the_demos_live_line_counts_the_errors_that_the_dashboard_counts(known: Known) -> None:
    everything = await client_module.run_query(known.client, "report_totals", since=SINCE, until=datetime(2030, 1, 1, tzinfo=UTC),
                                         account="", by="day", also="", tz="UTC")  # fmt: skip
    shown = await stored.totals(known.client, since=SINCE)
    assert (shown["requests"], shown["errors"]) == (everything[0]["requests"], everything[0]["errors"])
    assert shown["errors"] >= figures(known.rows)["errors"]


async def _text(client: TestClient[Any, Any], path: str, **query: str) -> str:
    async with client.get(path, params=NOVEMBER | query) as response:
        assert response.status == 200
        return str(await response.text())


def _added(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sum of each column that has numbers; money may be text."""
    found: dict[str, Any] = {}
    for row in rows:
        for name, value in row.items():
            if name.endswith("_usd") and value is not None:
                found[name] = found.get(name, Decimal(0)) + Decimal(value)
            elif isinstance(value, int):
                found[name] = found.get(name, 0) + value
    return found


def _of(row: dict[str, Any], names: Iterable[str], **columns: str) -> dict[str, Any]:
    """Figures of a row under their common names."""
    known = {"cost": "cost_usd", "estimated_cost": "estimated_usd"} | columns
    found = {name: row[known.get(name, name)] for name in names}
    return {name: Decimal(value) if name in MONEY else value for name, value in found.items()}
