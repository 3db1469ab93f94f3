"""The pages of requests over a real ClickHouse: every row once, exactly the filtered ones, nobody else's, and safely shown."""

import asyncio
import csv
import functools
import html
import io
import itertools
import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.dashboard import app_context, application, page_params
from services.dashboard.app_context import AppContext, User
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.pages import logs
from services.dashboard.queries import log_pages, sorted_logs
from services.dashboard.queries.log_pages import Key
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner
from services.logger.rows import ResponseRow
from shared import clickhouse, spreadsheet
from tests.support import history, servers
from tests.support import sample_rows as made_up
from tests.support.definitions import is_error, is_estimated
from tests.support.expected_usage import insert, request
from tests.support.query_runners import SparingRunner

ALL = {"from": "2026-10-19T00:00+00:00", "to": "2026-11-12T00:00+00:00"}
HOSTILE = (
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "=1+1", "@SUM(A1)", "\u202egnp.exe", "x" * 10_000,
    "a\0b", "100%", "1_0", "a\\b", "tab\there", "line\nbreak", "o'red", "{since:String}", "<" * 2000,
)  # fmt: skip
VIEWER = web.AppKey("viewer", User)
Browser = TestClient[web.Request, web.Application]
Server = servers.ClickHouseServer | servers.External
Known = tuple[str, list[ResponseRow]]  # an account and its requests
LIST = {"dashboard_settled", "dashboard_logs_hours", log_pages.PAGE}  # queries of the list
TOTALS = {"dashboard_logs_histogram", "dashboard_logs_histogram_search"}


@pytest.fixture
async def client(database: Server) -> AsyncIterator[AsyncClient]:
    client = await clickhouse.connect(database.url("logger"), service="test")
    yield client
    await client.close()


def stored(database: Server, store: Callable[[AsyncClient], Awaitable[Known]]) -> Known:
    """What `store` stores over a connection, for tests that only read it."""

    async def connected() -> Known:
        client = await clickhouse.connect(database.url("logger"), service="test")
        try:
            return await store(client)
        finally:
            await client.close()

    return asyncio.run(connected())


@pytest.fixture(scope="module")
def known(database: Server) -> Known:
    """An account and its requests, with others' beside them."""
    return stored(database, functools.partial(store, seed=3, count=300))


@pytest.fixture(scope="module")
def named(database: Server) -> Known:
    """An account and its requests, by requesters of odd names."""
    account, at = uuid.uuid4().hex, datetime(2026, 11, 6, 12, tzinfo=UTC)
    names = [*(name for name in HOSTILE if "\0" not in name), "zoë", "plain", "1x0", "100 per cent"]
    rows = [request(at + timedelta(seconds=n), account=account, requester=name, model="m", model_requested="m", error_type="") for n, name in enumerate(names)]  # fmt: skip

    async def inserted(client: AsyncClient) -> Known:
        await insert(client, rows, ingested_at=datetime.now(UTC))
        return account, rows

    return stored(database, inserted)


@pytest.fixture
async def browse(
    database: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Callable[[User], Any]]:
    """A browser of a viewer."""
    monkeypatch.setattr(app_context, "user", lambda request: request.app[VIEWER])
    opened: list[Browser] = []
    default_runner = QueryRunner(database.url("logger"), seconds=servers.DEADLINE)
    runners = {default_runner}

    async def of(viewer: User, asked: QueryRunner = default_runner) -> Browser:
        runners.add(asked)
        nats = NatsConnection()
        nobody = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
        app = application.application(AppContext(runner=asked), nobody)
        app[VIEWER] = viewer
        browser = TestClient(TestServer(app))
        await browser.start_server()
        opened.append(browser)
        return browser

    yield of
    for browser in opened:
        await browser.close()
    for runner in runners:
        await runner.close()
    assert "dashboard_logs_hours" not in caplog.text  # there is another way, so no page would say that it failed


async def get(browser: Browser, path: str, **query: str) -> str:
    answer = await browser.get(f"{path}?{urlencode(query, doseq=True)}" if query else path)
    text = await answer.text()
    assert answer.status == 200, text[:500]
    return text


def ids(page: str) -> list[str]:
    return re.findall(r'<tr id="r([0-9a-f-]{36})"', page)


def link(page: str, rel: str) -> str:
    found = re.search(rf'href="([^"]*)" data-nav rel="{rel}"', page)
    return html.unescape(found[1]) if found else ""


def in_order(rows: list[ResponseRow]) -> list[str]:
    ordered = sorted(rows, key=lambda row: (row.started_at, uuid.UUID(row.id).int), reverse=True)
    return [row.id for row in ordered]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def store(client: AsyncClient, *, seed: int, count: int) -> Known:
    """An account and its requests, with others' beside them."""
    account = uuid.uuid4().hex
    made = made_up.generate(seed, account=account, count=count)
    await history.store(client, [*made, *made_up.generate(seed + 1, account="other", count=40)])
    return account, made_up.newest(made)


async def test_paging_there_and_back_shows_every_request_once_while_others_arrive(
    client: AsyncClient, database: Server, browse: Any
) -> None:
    account, rows = await store(client, seed=1, count=400)
    crowd = [request(datetime(2026, 11, 1, 12, tzinfo=UTC), account=account) for _ in range(120)]  # one moment
    await insert(client, crowd, ingested_at=datetime.now(UTC))
    browser = await browse(User(account=account), SparingRunner(database.url("logger"), only=LIST))
    page, there = await get(browser, "/logs", **ALL), list[str]()
    there += ids(page)
    while following := link(page, "next"):
        late = request(datetime(2026, 11, 11, 23, 59, tzinfo=UTC), account=account)
        await insert(client, [late], ingested_at=datetime.now(UTC))
        page = await get(browser, following)
        assert len(ids(page)) <= log_pages.SIZE
        there += ids(page)
    moments = {row.id: row.started_at for row in [*rows, *crowd]}
    assert sorted(there) == sorted(moments)
    assert [moments[name] for name in there] == sorted(moments.values(), reverse=True)
    back = [ids(page)]
    while before := link(page, "prev"):
        page = await get(browser, before)
        back.append(ids(page))
    seen = list(itertools.chain.from_iterable(reversed(back)))
    assert len(seen) == len(set(seen))
    assert seen[-len(there) :] == there


class Counting(QueryRunner):
    """Remembers what it is asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url, seconds=servers.DEADLINE)
        self.asked: list[Query] = []

    async def run(self, query: Query) -> QueryResult:
        self.asked.append(query)
        return await super().run(query)


@pytest.mark.parametrize("measure", ["requests", "errors"])
async def test_rare_requests_are_found_without_reading_the_hours_between(
    client: AsyncClient, database: Server, measure: str
) -> None:
    account = uuid.uuid4().hex
    moments = [datetime(2026, 10, 20, 7, 15, tzinfo=UTC) + number * timedelta(days=7) for number in range(3)]
    rare = [request(moment, account=account, requester="rare", status=500) for moment in moments]
    common = [
        request(datetime(2026, 10, 20, tzinfo=UTC) + number * timedelta(hours=2), account=account)
        for number in range(250)
    ]
    await insert(client, [*rare, *common], ingested_at=datetime.now(UTC))
    shown = page_params.parse(
        "/logs", ALL | {"account": account, "requester": "rare"}, now=datetime(2026, 11, 12, tzinfo=UTC)
    )
    runner = Counting(database.url("logger"))
    name = {"requests": log_pages.PAGE, "errors": "dashboard_errors_latest"}[measure]
    page = await log_pages.older(runner, shown, None, seconds=servers.DEADLINE, name=name, measure=measure)
    assert [str(row["id"]) for row in page.rows] == in_order(rare) and not page.more
    read = [question.parameters["hours"] for question in runner.asked if question.name == name]
    assert read[0] == [] and read[1:] == [
        [at.replace(minute=0) for at in reversed(moments)]
    ]  # the newest hour, then the three
    above = await log_pages.newer(runner, shown, Key(moments[0], uuid.UUID(int=0)), seconds=servers.DEADLINE)
    assert [str(row["id"]) for row in above.rows] == in_order(rare)
    await runner.close()


def listed_tokens(row: ResponseRow) -> int | None:
    """Total tokens as the list shows them; None if unknown."""
    if row.cache == "HIT":
        return row.saved_input_tokens + row.saved_output_tokens
    return None if row.input_tokens is None or row.output_tokens is None else row.input_tokens + row.output_tokens


FILTERS: dict[str, tuple[dict[str, Any], Callable[[ResponseRow], bool]]] = {
    "several providers": ({"provider": ["openai", "grok", "openai"]}, lambda row: row.provider in ("openai", "grok")),
    "none of several": ({"requester": ["Zoë", "=eve"], "endpoint": ["nothing", "else"], "exclude": "requester,endpoint"}, lambda row: row.requester not in ("Zoë", "=eve")),
    "provider": ({"provider": "openai"}, lambda row: row.provider == "openai"),
    "model": ({"model": "gpt-4o"}, lambda row: (row.model or row.model_requested) == "gpt-4o"),
    "requester": ({"requester": "Zoë"}, lambda row: row.requester == "Zoë"),
    "no requester": ({"without": "requester"}, lambda row: row.requester == ""),
    "token": ({"token": "ci"}, lambda row: row.token == "ci"),
    "ok": ({"status": "ok"}, lambda row: 200 <= row.status < 400 and not is_error(row)),
    "failed": ({"status": "failed"}, lambda row: is_error(row)),
    "cut off": ({"outcome": "upstream_closed"}, lambda row: row.outcome == "upstream_closed"),
    "4xx": ({"status": "4xx"}, lambda row: 400 <= row.status < 500),
    "502": ({"status": "502"}, lambda row: row.status == 502),
    "interrupted": ({"status": "interrupted"}, lambda row: row.status == 0),
    "cached": ({"cache": "yes"}, lambda row: row.cache == "HIT"),
    "not cached": ({"cache": "no"}, lambda row: row.cache != "HIT"),
    "unknown": ({"cost": "unknown"}, lambda row: row.cost is None),
    "estimated": ({"cost": "estimated"}, is_estimated),
    "metadata": ({"meta": "project=gemini"}, lambda row: row.metadata.get("project") == "gemini"),
    "all but a provider": ({"provider": "openai", "exclude": "provider"}, lambda row: row.provider != "openai"),
    "all but a model": ({"model": "gpt-4o", "exclude": "model"}, lambda row: (row.model or row.model_requested) != "gpt-4o"),
    "any requester": ({"without": "requester", "exclude": "requester"}, lambda row: row.requester != ""),
    "all but these": ({"token": "ci", "outcome": "complete", "meta": "project=gemini", "exclude": "token,outcome,meta"}, lambda row: row.token != "ci" and row.outcome != "complete" and row.metadata.get("project") != "gemini"),
    "all but a client": ({"client": "claude-cli", "agent": "reviewer", "session": "Zoë-10-28", "endpoint": "nothing", "exclude": "client,agent,session,endpoint"}, lambda row: row.client != "claude-cli" and row.agent != "reviewer" and row.session != "Zoë-10-28"),
    "client": ({"client": "claude-cli"}, lambda row: row.client == "claude-cli"),
    "agent": ({"agent": "reviewer"}, lambda row: row.agent == "reviewer"),
    "session": ({"session": "Zoë-10-28"}, lambda row: row.session == "Zoë-10-28"),
    "connection": ({"connection": "bob-10-28"}, lambda row: row.connection == "bob-10-28"),
    "subscription": ({"billing": "subscription"}, lambda row: row.billing == "subscription"),
    "billed by usage": ({"billing": "usage"}, lambda row: row.billing == ""),
    "imported": ({"source": "imported"}, lambda row: row.usage_source == "imported"),
    "through the gateway": ({"source": "gateway"}, lambda row: row.usage_source != "imported"),
    "min cost": ({"min_cost": "0.05"}, lambda row: row.cost is not None and row.cost >= Decimal("0.05")),
    "min tokens": ({"min_tokens": "500000"}, lambda row: (listed_tokens(row) or 0) >= 500_000),
    "min latency": ({"min_latency": "45.5"}, lambda row: row.outcome != "interrupted" and row.latency_ms >= 45_500),
    "search": ({"q": "GPT-4O-MINI"}, lambda row: "gpt-4o-mini" in f"{row.model}\n{row.model_requested}"),
    "search in errors": ({"q": "rate_limit"}, lambda row: "rate_limit" in row.error_type),
    "search in requesters": ({"q": "=EV"}, lambda row: row.requester == "=eve"),
    "quarter hours": ({"from": "2026-10-25T03:07+00:00", "to": "2026-11-02T17:31+00:00"}, lambda row: datetime(2026, 10, 25, 3, tzinfo=UTC) <= row.started_at < datetime(2026, 11, 2, 17, 45, tzinfo=UTC)),
    "period": ({"from": "2026-10-25T03:00+00:00", "to": "2026-11-02T00:00+00:00"}, lambda row: datetime(2026, 10, 25, 3, tzinfo=UTC) <= row.started_at < datetime(2026, 11, 2, tzinfo=UTC)),
}  # fmt: skip


async def test_every_filter_alone_and_with_another_finds_what_plain_python_finds(
    known: Known, database: Server, browse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "FIRST_SPAN", timedelta(days=12))  # half of it: two spans instead of ten
    account, rows = known
    only = {*LIST, *TOTALS, log_pages.EXPORT}
    browser = await browse(User(account=account), SparingRunner(database.url("logger"), only=only, results={}))
    pairs = [(one,) for one in FILTERS] + random.Random(5).sample(list(itertools.combinations(FILTERS, 2)), 12)
    found_any = 0
    for names in pairs:
        query, wanted = dict(ALL), rows
        for name in names:
            if set(FILTERS[name][0]) & (set(query) - set(ALL)):
                break
            query |= FILTERS[name][0]
            wanted = [row for row in wanted if FILTERS[name][1](row)]
        else:
            expected = in_order(wanted)
            page = await get(browser, "/logs", **query)
            assert ids(page) == expected[: log_pages.SIZE], names
            totals = re.search(r"<b>([\d,]+)</b> requests", page)
            assert totals and int(totals[1].replace(",", "")) == len(expected), names
            if len(names) == 1:
                assert [line["id"] for line in lines(await get(browser, "/logs.jsonl", **query))] == expected, names
            found_any += bool(expected)
    assert found_any > 20


MEASURES: dict[str, Callable[[ResponseRow], Any]] = {
    "cost": lambda row: row.cost,
    "tokens": listed_tokens,
    "latency": lambda row: None if row.outcome == "interrupted" else row.latency_ms,
}


@pytest.mark.parametrize("sort", MEASURES)
async def test_a_sorted_list_shows_the_highest_first_page_by_page(
    known: Known, browse: Any, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    account, rows = known
    browser = await browse(User(account=account))

    def place(row: ResponseRow) -> tuple[bool, Any, datetime, int]:
        value = MEASURES[sort](row)
        return value is not None, value or 0, row.started_at, uuid.UUID(row.id).int

    wanted = [row.id for row in sorted(rows, key=place, reverse=True)]
    first = page = await get(browser, "/logs", **ALL, sort=sort)
    found = ids(page)
    while following := link(page, "next"):
        page = await get(browser, following)
        found += ids(page)
    assert found == wanted
    assert ids(await get(browser, link(page, "prev"))) == wanted[-log_pages.SIZE - len(ids(page)) : -len(ids(page))]
    assert re.findall(r'aria-sort="descending"><a href="[^"]*" data-nav title="[^"]*">(\w+)', first) == [
        {"tokens": "Total"}.get(sort, sort.title())
    ]
    few = {"sort": sort, "min_latency": "30", "model": "gpt-4o", "q": "gpt"}
    chosen = [row for row in rows if (row.model or row.model_requested) == "gpt-4o" and row.latency_ms >= 30_000]
    expected = [row.id for row in sorted(chosen, key=place, reverse=True)]
    assert expected and ids(await get(browser, "/logs", **ALL, **few)) == expected[: log_pages.SIZE]
    monkeypatch.setattr(sorted_logs, "PAGES", 2)  # nobody pages through all requests by offset
    last = await get(browser, "/logs", **ALL, sort=sort, page="99")
    assert ids(last) == wanted[log_pages.SIZE : 2 * log_pages.SIZE] and not link(last, "next")


@pytest.mark.parametrize("superseded", [1, log_pages.SIZE + 20, 150], ids=["one", "more than spare", "all"])
async def test_a_sorted_list_ranks_requests_by_their_current_cost(
    client: AsyncClient, browse: Any, superseded: int
) -> None:
    account = uuid.uuid4().hex
    moment = datetime(2026, 11, 1, 12, tzinfo=UTC)
    rows = [
        request(moment + timedelta(hours=number % 30), account=account, version=3, cost=Decimal(number // 2 + 1))
        for number in range(150)
    ]
    before = [
        msgspec.structs.replace(row, version=2, cost=Decimal(1000 + number) if number % 3 else None)
        for number, row in enumerate(rows[:superseded])
    ]
    for stored in (rows, before):  # an older version may come later
        await insert(client, stored, ingested_at=datetime.now(UTC))
    wanted = [
        row.id for row in sorted(rows, key=lambda row: (row.cost, row.started_at, uuid.UUID(row.id).int), reverse=True)
    ]
    browser = await browse(User(account=account))
    page = await get(browser, "/logs", **ALL, sort="cost")
    found = ids(page)
    while following := link(page, "next"):
        page = await get(browser, following)
        found += ids(page)
    assert found == wanted
    dear = ids(await get(browser, "/logs", **ALL, sort="cost", min_cost="74"))
    assert dear == wanted[:4]
    assert not ids(await get(browser, "/logs", **ALL, sort="cost", cost="unknown"))


async def test_a_sorted_list_has_no_live_tail_and_a_wrong_sort_or_minimum_is_refused(browse: Any) -> None:
    browser = await browse(User(account="nobody"))
    assert "data-tail" in await get(browser, "/logs") and "data-tail" not in await get(browser, "/logs", sort="cost")
    page = await get(browser, "/logs", sort="tokens", min_cost="0.05", min_latency="2")
    chips = [html.unescape(href) for href in re.findall(r'class="chip" href="([^"]*)"', page)]
    assert chips == ["/logs?sort=tokens&min_latency=2", "/logs?sort=tokens&min_cost=0.05"]
    for query in ("sort=model", "min_cost=-1", "min_cost=0", "min_cost=1e9", "min_tokens=1.5", "min_latency=NaN"):
        for path in ("/logs", "/logs.csv", "/logs/tail"):
            answer = await browser.get(f"{path}?{query}")
            assert answer.status == 400, (path, query)
            assert f"Invalid {query.partition('=')[0]}. Use" in await answer.text()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Chatham"])
async def test_exports_hold_the_zones_days_on_its_clock(known: Known, browse: Any, zone: str) -> None:
    account, rows = known
    browser = await browse(User(account=account))
    query = {"from": "2026-10-31T00:00", "to": "2026-11-03T00:00", "tz": zone}
    low, high = (datetime(2026, *day, tzinfo=ZoneInfo(zone)) for day in ((10, 31), (11, 3)))
    wanted = [row for row in rows if low <= row.started_at < high]
    table = list(csv.DictReader(io.StringIO((await get(browser, "/logs.csv", **query)).lstrip("\ufeff"), newline="")))
    assert [line["id"] for line in table] == in_order(wanted)
    by_id = {row.id: row for row in wanted}
    for line in table:
        row, at = by_id[line["id"]], datetime.fromisoformat(line[f"started_at ({zone})"])
        assert at == row.started_at
        assert at.utcoffset() == row.started_at.astimezone(ZoneInfo(zone)).utcoffset()
        assert line["cost_usd"] == ("" if row.cost is None else f"{row.cost:f}")
        assert (line["connection"], line["turn"]) == tuple(map(spreadsheet.text, (row.connection, row.turn)))
    page = await get(browser, "/logs", **query)
    newest = max(wanted, key=lambda row: row.started_at).started_at.astimezone(ZoneInfo(zone))
    assert f"{newest:%H:%M:%S}" in page


async def test_an_export_longer_than_a_block_is_whole(
    known: Known, browse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dashboard.queries.export.BLOCK", 73)
    account, rows = known
    browser = await browse(User(account=account))
    assert [line["id"] for line in lines(await get(browser, "/logs.jsonl", **ALL))] == in_order(rows)


async def test_an_export_that_cannot_go_on_breaks_off(
    known: Known, browse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dashboard.queries.export.BLOCK", 5)
    account, _ = known
    browser, older, blocks = await browse(User(account=account)), log_pages.older, itertools.count()

    async def slow(*given: Any, seconds: float, **more: Any) -> log_pages.Page:
        return await older(*given, seconds=seconds if next(blocks) < 2 else -1, **more)

    monkeypatch.setattr(log_pages, "older", slow)
    with pytest.raises(aiohttp.ClientError):
        await (await browser.get(f"/logs.csv?{urlencode(ALL)}")).read()
    assert (await browser.get(f"/logs.csv?{urlencode(ALL)}")).status == 503  # nothing was sent yet


async def test_request_of_another_account_is_not_found(known: Known, browse: Any) -> None:
    account, rows = known
    stranger, owner, admin = await browse(User(account="somebody")), await browse(User(account=account)), await browse(User(admin=True))  # fmt: skip
    name = rows[0].id
    for headers in ({}, {"X-Partial": "1"}):
        assert (await stranger.get(f"/logs/{name}", headers=headers)).status == 404
        assert (await owner.get(f"/logs/{name}", headers=headers)).status == 200
        assert (await admin.get(f"/logs/{name}", headers=headers)).status == 200
    assert (await stranger.get(f"/logs/{name}?account={account}")).status == 400
    assert (await admin.get(f"/logs/{name}?account=somebody")).status == 404
    for path in ("/logs", "/logs.csv", "/logs.jsonl", "/logs/tail"):
        query = ALL | {"arrived": "2026-01-01 00:00:00"}
        assert not {row.id for row in rows} & set(re.findall(r"[0-9a-f-]{36}", await get(stranger, path, **query)))
        assert (await stranger.get(f"{path}?{urlencode(query | {'account': account})}")).status == 400


async def test_one_request_is_found_by_an_id_with_and_without_its_time(client: AsyncClient, browse: Any) -> None:
    account, at = uuid.uuid4().hex, datetime(2026, 11, 3, 4, 5, 6, 789000, UTC)
    timed = uuid.UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | random.Random(account).getrandbits(60))
    rows = [request(at, account=account, id=str(timed)), request(at, account=account)]
    await insert(client, rows, ingested_at=datetime.now(UTC))
    browser = await browse(User(account=account))
    for row in rows:
        page = await get(browser, f"/logs/{row.id}")
        assert f'data-request="{row.id}"' in page
        assert "not stored" in page
        found = await browser.get(f"/logs?{urlencode({'q': f' {row.id.upper()} '})}", allow_redirects=False)
        assert (found.status, found.headers["Location"]) == (303, f"/logs/{row.id}")
    for nothing in (uuid.uuid4(), "x", "%00", "ffffffff-ffff-7fff-bfff-ffffffffffff"):
        assert (await browser.get(f"/logs/{nothing}")).status == 404


async def test_a_request_over_a_websocket_links_to_all_of_its_connection(client: AsyncClient, browse: Any) -> None:
    account, at = uuid.uuid4().hex, datetime(2026, 11, 3, 23, 59, tzinfo=UTC)
    connection = str(uuid.UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | 1))
    rows = [
        request(at + timedelta(minutes=minutes), account=account, connection=name)
        for minutes, name in ((0, connection), (90, connection), (1, "other"), (2, ""))
    ]
    await insert(client, rows, ingested_at=datetime.now(UTC))
    browser = await browse(User(account=account))
    detail = await get(browser, f"/logs/{rows[1].id}", requester="somebody", period="1h")
    url = html.unescape(next(one for one in re.findall(r'href="([^"]+)"', detail) if f"connection={connection}" in one))
    assert ids(await get(browser, url)) == [rows[1].id, rows[0].id], "whatever was filtered by, and whenever"
    assert "connection=other" in await get(browser, f"/logs/{rows[2].id}")
    assert "connection=" not in await get(browser, f"/logs/{rows[3].id}")


async def test_hostile_names_are_text_everywhere(
    client: AsyncClient, database: Server, browse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, at = uuid.uuid4().hex, datetime(2026, 11, 5, 12, tzinfo=UTC)
    rows = [
        request(at + timedelta(seconds=number), account=account, requester=text, model=text, error_type=text,
                error_message=text, status=400, metadata={text[:200]: text}, provider_request_id=text, input_tokens=None,
                output_tokens=None, usage_raw=json.dumps({"x": text}))
        for number, text in enumerate(HOSTILE)
    ]  # fmt: skip
    await insert(client, rows, ingested_at=datetime.now(UTC))
    browser = await browse(User(account=account))
    listing = await browse(User(account=account), SparingRunner(database.url("logger"), only=LIST))
    page = await get(browser, "/logs", **ALL)
    assert set(ids(page)) == {row.id for row in rows}
    assert len(page.encode()) < 150_000
    for row in rows:
        detail = await get(browser, f"/logs/{row.id}")
        for shown in (page, detail):
            assert "<script>alert" not in shown
            assert "<img" not in shown
            assert "\0" not in shown
        if "\0" not in row.requester and len(row.requester) < 600:
            query = ALL | {"requester": row.requester}
            assert ids(await get(listing, "/logs", **query)) == [row.id]
    exported = {line["id"]: line for line in lines(await get(browser, "/logs.jsonl", **ALL))}
    for row in rows:
        assert exported[row.id]["error_message"] == row.error_message
        assert exported[row.id]["metadata"] == row.metadata
    for line in csv.DictReader(io.StringIO((await get(browser, "/logs.csv", **ALL)).lstrip("\ufeff"), newline="")):
        assert not line["requester"].startswith(("=", "@", "+", "-"))


@pytest.mark.parametrize("text", ["%", "_", "\\", "100%", "1_0", "'", "a\\b", "{since:String}", "tab\there", "ZOË"])
async def test_wildcards_in_a_search_text_match_literally(
    named: Known, database: Server, browse: Any, text: str
) -> None:
    account, rows = named
    browser = await browse(User(account=account), SparingRunner(database.url("logger"), only=LIST))
    wanted = [row for row in rows if text.lower() in row.requester.lower()]
    day = {"from": "2026-11-06T00:00+00:00", "to": "2026-11-06T13:00+00:00"}
    assert ids(await get(browser, "/logs", **day, q=text)) == in_order(wanted)


async def test_tail_returns_only_rows_stored_since_the_last_poll(client: AsyncClient, browse: Any) -> None:
    account, now = uuid.uuid4().hex, datetime.now(UTC)
    old = [request(now - timedelta(minutes=n), account=account) for n in range(1, 20)]
    await insert(client, old, ingested_at=now - timedelta(minutes=1))
    browser = await browse(User(account=account))
    page = await get(browser, "/logs", period="6h")
    found = re.search(r'data-tail="([^"]*)" data-arrived="([^"]*)"', page)
    assert found
    path, arrived = html.unescape(found[1]), found[2]
    assert ids(await get(browser, f"{path}&arrived={arrived}".replace(" ", "%20"))) == []
    slow = request(now - timedelta(minutes=10), account=account)  # began long before, and ended just now
    await insert(client, [slow, request(now, account="other")], ingested_at=now + timedelta(seconds=1))
    text = await get(browser, f"{path}&arrived={arrived}".replace(" ", "%20"))
    assert ids(text) == [slow.id]
    following = re.search(r'data-arrived="([^"]*)"', text)
    assert following and following[1] >= arrived


async def test_a_row_of_unknown_cost_says_why_and_a_hit_what_it_saved(client: AsyncClient, browse: Any) -> None:
    account, at = uuid.uuid4().hex, datetime(2026, 11, 7, 12, tzinfo=UTC)
    unknown = request(
        at, account=account, cost=None, cost_by_class={}, cost_reason="unpriced_unit:audio_mtok", cost_source="none"
    )
    await insert(client, [unknown], ingested_at=datetime.now(UTC))
    browser = await browse(User(account=account))
    page, detail = await get(browser, "/logs", **ALL), await get(browser, f"/logs/{unknown.id}")
    assert 'title="No price for a unit (audio_mtok)"><span class="unknown">unknown' in page
    assert "Cost: No price for a unit (audio_mtok)" in detail


async def test_chosen_columns_are_shown_in_every_kind_of_list(client: AsyncClient, browse: Any) -> None:
    account, now = uuid.uuid4().hex, datetime.now(UTC)
    named = request(now, account=account, token="<b>ci", endpoint="POST /v1/x", ttfb_ms=1234, client="", session="s-1")
    await insert(client, [named], ingested_at=now)
    browser = await browse(User(account=account))
    chosen = {"show": "ttfb_ms,token,nothing,client"}
    for more in ({}, {"sort": "cost"}):
        page = await get(browser, "/logs", **chosen, **more)
        assert re.findall(r">(API token|Endpoint|Client|TTFT)</th>", page) == ["API token", "Client", "TTFT"]
        row = page.partition(f'<tr id="r{named.id}"')[2].partition("</tr>")[0]
        cells = [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
        assert cells[-4:-1] == ["&lt;b&gt;ci", "–", "1.23 s"], cells
    assert "show=token%2Cendpoint%2Cclient%2Cttfb_ms" in page, "a link that adds one"
    tail = await get(browser, "/logs/tail", arrived="2026-01-01 00:00:00.000", **chosen)
    assert "1.23 s" in tail and "POST /v1/x" not in tail


async def test_a_status_is_green_only_where_nothing_failed(client: AsyncClient, browse: Any) -> None:
    account, at = uuid.uuid4().hex, datetime(2026, 11, 8, 12, tzinfo=UTC)
    ends = {"code s2": ("complete", 200, ""), "code s2 broken": ("timeout", 200, ""), "code s5": ("complete", 500, "x")}
    await insert(
        client,
        [
            request(at, account=account, outcome=outcome, status=status, error_type=error)
            for outcome, status, error in ends.values()
        ],
        ingested_at=datetime.now(UTC),
    )
    page = await get(await browse(User(account=account)), "/logs", **ALL)
    assert sorted(re.findall(r'class="(code [^"]*)"', page)) == sorted(ends)


async def test_full_log_page_stays_below_150_kb(known: Known, browse: Any) -> None:
    account, _ = known
    browser = await browse(User(account=account))
    assert len((await get(browser, "/logs", **ALL)).encode()) < 150_000


async def test_a_panel_that_fails_says_so_alone(known: Known, browse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    account, rows = known
    browser = await browse(User(account=account))
    whole = logs._histogram
    monkeypatch.setattr(
        logs,
        "_histogram",
        lambda shown: whole(shown)._replace(settings={"max_rows_to_read": 1, "max_bytes_to_read": 1}),
    )
    page = await get(browser, "/logs", **ALL)
    assert ids(page) == in_order(rows)[: log_pages.SIZE]
    assert 'class="empty failure"' in page
