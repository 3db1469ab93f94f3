"""The API's figures: those of the requests, of the pages and of the command line, in four time zones."""

import asyncio
import csv
import io
import itertools
import json
import os
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from services.dashboard import app_context, currency
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.charts import formats
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.queries.runner import QueryRunner
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from tests.support import cli, history, sample_rows, servers
from tests.support.definitions import cost, is_answered, is_cache_hit, is_error, is_estimated, mean_latency, model_name
from tests.support.page_markup import Page

ZONES = ("UTC", "Asia/Kathmandu", "Pacific/Chatham", "America/Havana")
PERIOD = {"from": "2026-10-28", "to": "2026-11-05"}  # with New York's day of 25 hours
AFTER = datetime(2026, 12, 1, tzinfo=UTC)
Rows = list[ResponseRow]
Known = tuple[str, str, Rows]  # ClickHouse's URL for readers, account, what it holds
Client = TestClient[Any, Any]


@pytest.fixture(scope="module")
def known(database: servers.ClickHouseServer | servers.External) -> Known:
    """Some requests of one account, most of them in the rollup, and a stranger's."""
    account, url = f"f{uuid.uuid4().hex[:12]}", database.url("logger")
    made = [_with_price(row) for row in sample_rows.generate(20261103, account=account, count=1500)]
    late = [row for row in made if row.started_at.day in (2, 11)]
    early = [row for row in made if row not in late]
    asyncio.run(_store(url, [*early, *sample_rows.generate(1, account=f"{account}-other", count=60)], late))
    return url, account, sample_rows.newest(made)


def _with_price(row: ResponseRow) -> ResponseRow:
    """Most requests of known cost state the prices that it was computed by."""
    price = Decimal(int(row.id[-3:], 16)) / 1000
    return msgspec.structs.replace(row, unit_prices={"input_mtok": price}) if row.cost and price else row


async def _store(url: str, early: Rows, late: Rows) -> None:
    client = await client_module.connect(url, service="test")
    await history.store(client, early)
    assert not await insert.insert(client, late)
    await client.close()


@pytest.fixture
async def client(known: Known) -> AsyncIterator[Client]:
    runner = QueryRunner(known[0], seconds=servers.DEADLINE)
    nats = NatsConnection()
    nobody = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    context = app_context.AppContext(runner=runner, currencies=currency.parse_rates(("EUR=0.92",)), clock=lambda: AFTER)
    try:
        async with TestClient(TestServer(application(context, nobody))) as found:
            yield found
    finally:
        await runner.close()


async def ask(client: Client, path: str, query: Mapping[str, str], /, **more: str) -> Any:
    async with client.get(f"/api/v1{path}", params={**query, **more}) as answer:
        text = await answer.text()
        assert answer.status == 200, text
        return json.loads(text)


def within(known: Known, tz: str) -> Rows:
    start, end = (datetime.fromisoformat(PERIOD[name]).replace(tzinfo=ZoneInfo(tz)) for name in ("from", "to"))
    return sample_rows.within(known[2], start, end)


def expected(rows: Iterable[ResponseRow]) -> dict[str, Any]:
    """The figures of requests as plain Python counts them."""
    rows = list(rows)

    def tokens(name: str) -> int:
        return sum(getattr(row, name) or 0 for row in rows)

    answered = [row for row in rows if is_answered(row)]
    return {
        "requests": len(rows),
        "errors": sum(map(is_error, rows)),
        "hits": sum(map(is_cache_hit, rows)),
        "tokens": tokens("input_tokens") + tokens("output_tokens"),
        "cost": cost(rows),
        "unpriced": sum(row.cost is None for row in rows),
        "estimated": sum(map(is_estimated, rows)),
        "saved": sum((row.cost_saved or Decimal(0) for row in rows if is_cache_hit(row)), Decimal(0)),
        "latency_mean": pytest.approx(mean_latency(answered), abs=0.001) if answered else None,
    }


def shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same figures of a row of the API."""
    amounts = {name: None if figures[name] is None else Decimal(figures[name]) for name in ("cost", "saved")}
    amounts["saved"] = amounts["saved"] or Decimal(0)
    names = ("requests", "errors", "hits", "tokens", "unpriced", "estimated", "latency_mean")
    return {name: figures[name] for name in names} | amounts


def grouped(rows: Rows, *keys: Callable[[ResponseRow], str]) -> dict[tuple[str, ...], Rows]:
    found = defaultdict[tuple[str, ...], Rows](list)
    for row in rows:
        found[tuple(key(row) for key in keys)].append(row)
    return found


def keys_of(zone: ZoneInfo) -> dict[str, Callable[[ResponseRow], str]]:
    def hour(row: ResponseRow) -> str:
        local = row.started_at.astimezone(zone)
        return (
            (row.started_at - timedelta(minutes=local.minute))
            .astimezone(zone)
            .replace(second=0, microsecond=0)
            .isoformat()
        )

    return {
        "account": lambda row: row.account,
        "token": lambda row: row.token,
        "requester": lambda row: row.requester,
        "provider": lambda row: row.provider,
        "model": model_name,
        "endpoint": lambda row: row.endpoint,
        "status": lambda row: str(row.status),
        "outcome": lambda row: row.outcome,
        "cache": lambda row: "yes" if is_cache_hit(row) else "no",
        "client": lambda row: row.client,
        "agent": lambda row: row.agent,
        "session": lambda row: row.session,
        "day": lambda row: row.started_at.astimezone(zone).date().isoformat(),
        "hour": hour,
        "meta:project": lambda row: row.metadata.get("project", ""),
        "meta:env": lambda row: row.metadata.get("env", ""),
    }


@pytest.mark.parametrize("tz", ZONES)
async def test_usage_is_the_sum_of_the_requests_the_pages_figure_and_the_reports(
    client: Client, known: Known, tz: str, tmp_path: Path
) -> None:
    rows = within(known, tz)
    view = {**PERIOD, "account": known[1], "tz": tz}
    answer = await ask(client, "/usage", view, group_by="day,model")
    names = keys_of(ZoneInfo(tz))
    found = {tuple(row["group"].values()): shown(row) for row in answer["rows"]}
    assert found == {key: expected(ours) for key, ours in grouped(rows, names["day"], names["model"]).items()}
    assert list(found) == sorted(found, key=lambda key: key[0]), "in order of time"
    assert shown(answer["total"]) == expected(rows) and answer["groups"] == len(found)

    async with client.get("/", params=view) as page:
        tiles = Page(await page.text()).tiles
    total = answer["total"]
    assert tiles["requests"] == formats.count(total["requests"])
    assert tiles["cost"] == formats.money(Decimal(total["cost"]))
    assert tiles["tokens-sum"] == formats.count(total["tokens"])
    assert tiles["mean"] == formats.duration(total["latency_mean"])
    (latency,) = (await ask(client, "/latency", view))["rows"]
    errors = await ask(client, "/errors", view)
    assert (errors["requests"], errors["errors"]) == (total["requests"], total["errors"])
    assert latency["requests"] == total["requests"] and latency["latency_mean"] == total["latency_mean"]

    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    told = {"METRION_DATA_DIR": str(tmp_path), "METRION_CLICKHOUSE_URL": known[0]}
    span = ("--since", f"{PERIOD['from']}T00:00", "--until", f"{PERIOD['to']}T00:00", "--tz", tz)
    run = await asyncio.to_thread(
        cli.run, "report", "--by", "model", *span, "--account", known[1], "--json", env=kept | told
    )
    report = json.loads(run.stdout)
    models = await ask(client, "/usage", view, group_by="model")
    for ours, theirs in itertools.zip_longest([*models["rows"], models["total"]], [*report["rows"], report["total"]]):
        for name, other in (
            ("requests", "requests"),
            ("errors", "errors"),
            ("cost", "cost_usd"),
            ("unpriced", "unpriced_requests"),
            ("estimated", "estimated_requests"),
            ("input_tokens", "input_tokens"),
        ):
            assert ours[name] == theirs[other], (name, theirs)
        assert ours["latency_mean"] == pytest.approx(theirs["avg_latency_ms"], abs=0.001)


@pytest.mark.parametrize("tz", ["Asia/Kathmandu", "America/New_York"])
async def test_any_dimensions_group_requests_as_counting_does(client: Client, known: Known, tz: str) -> None:
    names = keys_of(ZoneInfo(tz))
    for group_by in (
        "account", "requester", "requester,day", "provider,model,token", "status,outcome", "cache,provider",
        "endpoint", "client,agent", "client,session", "session,agent,requester", "session,day", "meta:project,meta:env,hour", "requester,hour",
    ):  # fmt: skip
        keys = [names[name] for name in group_by.split(",")]
        answer = await ask(client, "/usage", PERIOD, account=known[1], tz=tz, group_by=group_by, limit="10000")
        found = {tuple(row["group"].values()): shown(row) for row in answer["rows"]}
        assert found == {key: expected(ours) for key, ours in grouped(within(known, tz), *keys).items()}, group_by
        assert answer["groups"] == len(answer["rows"]) == len(found)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ({"status": "failed"}, is_error),
        ({"provider": ["openai", "grok"], "requester": "bob", "exclude": "requester"}, lambda row: row.provider in ("openai", "grok") and row.requester != "bob"),
        ({"without": "requester", "cache": "no"}, lambda row: not row.requester and not is_cache_hit(row)),
        ({"meta": "project=apollo", "provider": "openai"}, lambda row: row.metadata.get("project") == "apollo" and row.provider == "openai"),
        ({"client": "codex_exec", "billing": "subscription"}, lambda row: row.client == "codex_exec" and row.billing == "subscription"),
    ],
)  # fmt: skip
async def test_filters_of_a_page_s_address_work_on_every_route(
    client: Client,
    known: Known,
    query: dict[str, Any],
    kept: Callable[[ResponseRow], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row for row in within(known, "UTC") if kept(row)]
    of_a_page = {"hide": "x", "sort": "cost", "compare": "week", "currency": "USD"}
    view = {**PERIOD, "account": known[1], **query}
    assert shown((await ask(client, "/usage", view | of_a_page))["total"]) == expected(rows)
    series = await ask(client, "/series", view | of_a_page | {"measure": "requests", "by": "model"})
    assert sum(value or 0 for one in series["series"] for value in one["values"]) == len(rows)
    total = await ask(client, "/series", view, measure="requests")
    assert [sum(value or 0 for value in one["values"]) for one in total["series"]] == [len(rows)]
    errors = await ask(client, "/errors", view)
    assert errors["errors"] == sum(row["errors"] for row in errors["rows"]) == sum(map(is_error, rows))
    listed = await ask(client, "/requests", view, limit="1000")
    assert {row["id"] for row in listed["rows"]} == {row.id for row in rows} and listed["next"] is None


async def test_pages_of_requests_are_the_whole_list_as_the_exports_stream_it(client: Client, known: Known) -> None:
    view = {**PERIOD, "account": known[1], "tz": "Asia/Kolkata"}
    rows, after = [], ""
    while True:
        page = await ask(client, "/requests", view, limit="97", after=after)
        rows += page["rows"]
        if page["next"] is None:
            break
        after = page["next"]
    ours = {row.id: row for row in within(known, "Asia/Kolkata")}
    assert len(rows) == len(ours) and {row["id"] for row in rows} == set(ours)
    assert sum(Decimal(row["cost_usd"]) for row in rows if row["cost_usd"]) == cost(ours.values())
    named = ("session", "connection", "turn")
    assert all(row[name] == getattr(ours[row["id"]], name) for row in rows for name in named)
    before = await ask(client, "/requests", view, limit="50", before=after)
    assert [row["id"] for row in before["rows"]] == [
        row["id"] for row in rows[97 * ((len(rows) - 1) // 97) - 51 :][:50]
    ]
    async with client.get("/api/v1/requests.ndjson", params=view) as stream:
        assert stream.headers["Content-Type"].startswith("application/x-ndjson")
        assert [json.loads(line)["id"] for line in (await stream.text()).splitlines()] == [row["id"] for row in rows]
    async with client.get("/api/v1/requests", params=view, headers={"Accept": "text/csv"}) as stream:
        lines = list(csv.reader(io.StringIO((await stream.text()).removeprefix("\ufeff"))))
    assert [line[0] for line in lines[1:]] == [row["id"] for row in rows] and lines[0][1] == "started_at (Asia/Kolkata)"
    detail = await ask(client, f"/requests/{rows[0]['id']}", {"tz": "Asia/Kolkata", "account": known[1]})
    assert detail == detail | rows[0] and isinstance(detail["cost_by_class_usd"], dict)


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu"])
async def test_a_change_of_cost_is_the_difference_of_two_periods(client: Client, known: Known, tz: str) -> None:
    view = {"account": known[1], "tz": tz}
    after, before = ({"from": "2026-11-01", "to": "2026-11-05"}, {"from": "2026-10-28", "to": "2026-11-01"})
    totals = [(await ask(client, "/usage", view | span))["total"] for span in (before, after)]
    found = await ask(client, "/changes", view | after, limit="1000")
    costs = [Decimal(one["cost"]) for one in totals]
    assert [Decimal(found["cost_before"]), Decimal(found["cost_now"])] == costs
    change = costs[1] - costs[0]
    assert Decimal(found["change"]) == change == sum(map(Decimal, found["parts"].values()))
    assert found["unpriced"] == sum(one["unpriced"] for one in totals)
    assert found["before_since"].startswith("2026-10-28T00:00") and found["groups"] == len(found["rows"])
    assert sum(Decimal(row["change"]) for row in found["rows"]) == change
    assert sum(row["requests_now"] for row in found["rows"]) == totals[1]["requests"]
    async with client.get("/changes", params=view | after) as page:
        assert formats.money(costs[1]) in await page.text()


async def test_prices_are_those_of_the_latest_request_of_each_model(client: Client, known: Known) -> None:
    rows = (await ask(client, "/prices", PERIOD, account=known[1]))["rows"]
    expected_rows = grouped(within(known, "UTC"), lambda row: row.provider, model_name, lambda row: row.service_tier)
    found: dict[Any, Any] = {(row["provider"], row["model"], row["service_tier"]): row for row in rows}
    assert found.keys() == expected_rows.keys()
    for key, ours in expected_rows.items():
        priced = [row for row in ours if row.unit_prices]
        latest = max(priced, key=lambda row: row.started_at, default=None)
        prices = {unit: Decimal(price) for unit, price in found[key]["unit_prices_usd"].items()}
        assert prices == (latest.unit_prices if latest else {})
        counted = (found[key]["requests"], found[key]["unpriced"])
        assert counted == (len(ours), sum(row.cost is None for row in ours))


async def test_formats_agree_and_an_etag_saves_sending_them_again(client: Client, known: Known) -> None:
    view = {**PERIOD, "account": known[1], "group_by": "provider,meta:project"}
    document = await ask(client, "/usage", view)
    async with client.get("/api/v1/usage.ndjson", params=view) as answer:
        assert [json.loads(line) for line in (await answer.text()).splitlines()] == document["rows"]
    async with client.get("/api/v1/usage.csv", params=view) as answer:
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        lines = list(csv.DictReader(io.StringIO((await answer.text()).removeprefix("\ufeff"))))
        tag = answer.headers["ETag"]
    for line, row in zip(lines, document["rows"], strict=True):
        assert {**row["group"], "cost": row["cost"]} == {name: line[name] for name in (*row["group"], "cost")}
    for known_tag, status in ((tag, 304), (f'W/{tag}, "x"', 304), ('"x"', 200)):
        async with client.get("/api/v1/usage.csv", params=view, headers={"If-None-Match": known_tag}) as answer:
            assert (answer.status, bool(await answer.read())) == (status, status == 200)
    for accept, media in (
        ("text/html,*/*;q=0.8", "application/json"),
        ("text/csv;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/json;q=0, text/*", "text/csv"),
    ):
        async with client.get("/api/v1/usage", params=view, headers={"Accept": accept}) as answer:
            assert answer.content_type == media, accept
    euros = await ask(client, "/usage", view, currency="EUR")
    assert Decimal(euros["total"]["cost"]) == Decimal(document["total"]["cost"]) * Decimal("0.92")


async def test_what_cannot_be_grouped_is_refused_by_name(client: Client) -> None:
    for query, words in (
        ("/usage?group_by=colour", "Unknown dimension 'colour'"),
        ("/usage?group_by=model,model", "twice"),
        ("/usage?group_by=model,token,status,cache", "at most 3"),
        ("/usage?group_by=day,hour", "not both"),
        ("/usage?group_by=hour&period=90d", "at most 32 days"),
        ("/usage?group_by=meta:a,meta:b,meta:c", "at most 2 keys"),
        ("/usage?sort=colour", "Invalid sort"),
        ("/usage?currency=XXX", "currency"),
        ("/latency?group_by=status", "one or two"),
        ("/series?by=colour", "Invalid by"),
    ):
        async with client.get(f"/api/v1{query}") as answer:
            assert answer.status == 400 and words in (await answer.json(content_type=None))["detail"]
