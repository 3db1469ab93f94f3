"""Sessions of coding agents: the list, the page of one and SQL say the same, and nobody sees another account's."""

import asyncio
import html
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
import pytest

from services.dashboard import app_context
from services.dashboard.app_context import User
from services.dashboard.charts import formats
from services.dashboard.pages import sessions
from services.dashboard.queries import log_pages, panels
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner
from services.logger import insert, schema
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from shared.events import ANTHROPIC
from tests.support import history, report_pages, sample_rows, servers
from tests.support.definitions import cost, is_error, is_estimated, model_name
from tests.support.expected_usage import request
from tests.support.page_markup import Page
from tests.support.priced_rows import CHAT, OPENAI, chat, priced_row
from tests.support.query_runners import SparingRunner
from tests.support.report_pages import get, status

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=30)
DAYS = {"from": "2026-11-03", "to": "2026-11-05"}
ALL = {"from": "2026-10-19", "to": "2026-11-12"}
OF_SESSIONS = {  # queries of sessions, of one, and of a request
    "dashboard_settled", "dashboard_sessions", "dashboard_session_names", "dashboard_session", "dashboard_session_requests",
    "dashboard_session_turns",
    "dashboard_logs_find", "dashboard_logs_request",
}  # fmt: skip
NAMES = (
    "<script>alert(1)</script>",
    "a/b/../c",
    "..",
    "a&b=c?d#e%00",
    "nul\0nul",
    "日本" * 42,
    '"><img src=x onerror=alert(1)>',
)


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_context, "user", lambda asked: asked.app[report_pages.VIEWER])


@pytest.fixture
async def store(clickhouse: servers.ClickHouseServer | servers.External) -> AsyncIterator[Any]:
    client = await client_module.connect(clickhouse.url("logger"), service="test")
    await schema.apply(client)

    async def stored(*rows: ResponseRow) -> str:
        assert not await insert.insert(client, list(rows))
        return clickhouse.url("logger")

    yield stored
    await client.close()


async def ask(url: str, **values: Any) -> list[dict[str, Any]]:
    client = await client_module.connect(url, service="test")
    try:
        return await client_module.run_query(client, "sessions", **values)
    finally:
        await client.close()


def night(account: str) -> list[ResponseRow]:
    """A session from before to after midnight: two models, a cached answer, an error, a stream of unknown cost."""
    evening = datetime(2026, 11, 3, 23, 58, tzinfo=UTC)
    common: dict[str, Any] = {
        "account": account, "session": "night", "client": "claude-cli", "client_version": "2.1.332", "agent": "cli",
        "provider": "anthropic", "latency_ms": 4000,
    }  # fmt: skip
    opus, haiku = "claude-opus-4-8", "claude-haiku-4-5"
    return [
        request(evening, **common, model=opus, input_tokens=1000, output_tokens=50, cost=Decimal("0.25")),
        request(
            evening + timedelta(minutes=1), **common, model=opus, input_tokens=3000, output_tokens=70,
            cache_read_tokens=2000, cost=Decimal("0.5"),
        ),
        request(
            evening + timedelta(minutes=3), **common, model=haiku, input_tokens=0, output_tokens=0, cache="HIT",
            cost=Decimal(0), cost_reason="cache_hit", cost_saved=Decimal("0.125"), saved_input_tokens=900,
            saved_output_tokens=9,
        ),
        request(
            evening + timedelta(minutes=4), **common, model=haiku, input_tokens=0, output_tokens=0, status=529,
            error_type="overloaded_error", cost=Decimal(0), cost_reason="error",
        ),
        request(
            evening + timedelta(minutes=5), **common, model=haiku, input_tokens=None, output_tokens=None, cost=None,
            cost_reason="broken_stream", cache_read_tokens=500, request_bytes=777,
        ),
        request(evening + timedelta(minutes=6), account=account, session="other", cost=Decimal(8)),
        request(evening + timedelta(minutes=6), account=account, cost=Decimal(16)),
    ]  # fmt: skip


async def test_a_session_over_midnight_adds_up_in_the_list_on_its_page_and_in_sql(store: Any) -> None:
    account = uuid.uuid4().hex
    rows = night(account)
    url = await store(*rows)
    async with report_pages.browser(url, now=NOW) as client:
        listed = await get(client, "/sessions", account=account, **DAYS)
        page = await get(client, "/session", account=account, session="night", period="24h")
        first_day = await get(client, "/sessions", account=account, **{"from": "2026-11-03", "to": "2026-11-04"})
    assert list(listed.rows("sessions")) == ["other", "night"], "the dearest first, and none for requests without one"
    row = listed.rows("sessions")["night"]
    assert row[:9] == ["ann", "claude-cli", "$0.75 +1?", "5", "4.1K", "50.0%", "2", "1", "5 min"]
    assert (listed.tiles["sessions"], listed.tiles["cost"]) == ("2", "$8.75")
    assert "6 requests, 1 failed" in listed.html
    assert first_day.rows("sessions")["night"][2:4] == ["$0.75", "2"], "what lies in the period"
    # the page of the session: all of it, whatever the period
    assert (page.tiles["cost"], page.tiles["requests"], page.tiles["tokens-sum"]) == ("$0.75", "5", "4.1K")
    assert page.tiles["cache-share"] == "50.0%"
    assert "3 Nov 23:58:00 – 4 Nov 00:03:04, 5 min" in page.html
    models = page.rows("models")
    assert models["claude-opus-4-8"] == ["anthropic", "$0.75", "2", "0", "4,000", "50.0%", "120"]
    assert models["claude-haiku-4-5"] == ["anthropic", "$0 +1?", "3", "1", "0", "–", "0"]
    requests = page.tables["requests"][1:]
    assert [one[0] for one in requests] == [
        f"{day} Nov {time}"
        for day, time in ((3, "23:58:00"), (3, "23:59:00"), (4, "00:01:00"), (4, "00:02:00"), (4, "00:03:00"))
    ]
    assert [one[1] for one in requests] == ["200", "200", "200 Cached", "529", "200"]
    assert [one[7] for one in requests] == ["$0.25000", "$0.50000", "$0.00000", "$0.00000", "unknown"]
    assert [one[5] for one in requests] == ["0.0%", "66.7%", "–", "–", "–"]
    # SQL
    bounds = {"since": datetime(2026, 11, 3, tzinfo=UTC), "until": datetime(2026, 11, 5, tzinfo=UTC)}
    found = {one["session"]: one for one in await ask(url, account=account, limit=10, **bounds)}
    night_sums = found["night"]
    assert (night_sums["requests"], night_sums["cost_usd"], night_sums["unpriced"]) == (5, Decimal("0.75"), 1)
    assert (night_sums["input_tokens"], night_sums["output_tokens"], night_sums["errors"]) == (4000, 120, 1)
    assert (night_sums["cache_read_percent"], night_sums["duration_s"]) == (50.0, 304)
    assert night_sums["models"] == "claude-haiku-4-5, claude-opus-4-8"


def turn(account: str) -> list[ResponseRow]:
    """A request that its client tries three times, alike ones that are no repetition, and a subagent."""
    common: dict[str, Any] = {
        "account": account,
        "session": "turn",
        "agent": "main",
        "model": "gpt-5",
        "request_bytes": 1000,
    }
    overloaded: dict[str, Any] = {
        "status": 529,
        "error_type": "overloaded_error",
        "cost": Decimal(0),
        "latency_ms": 1000,
    }
    return [
        request(NOON, **common, **overloaded),
        request(NOON + timedelta(seconds=2), **common, **overloaded | {"error_type": "<i>busy</i>"}),
        request(NOON + timedelta(seconds=3), **common | {"agent": "search"}, cost=Decimal("0.5")),
        request(NOON + timedelta(seconds=5), **common, cost=Decimal("0.25")),
        request(NOON + timedelta(seconds=9), **common, cost=Decimal("0.25")),
        request(NOON + timedelta(minutes=1), **common, **overloaded),
        request(NOON + timedelta(minutes=12), **common, cost=Decimal("0.125")),
        request(NOON + timedelta(minutes=13), **common, **overloaded),
        request(NOON + timedelta(minutes=13, seconds=2), **common | {"request_bytes": 1001}, cost=Decimal("0.125")),
    ]  # fmt: skip


async def test_tries_of_one_request_are_one_row_and_subagents_are_added_up(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = uuid.uuid4().hex
    url = await store(*turn(account))
    async with report_pages.browser(url, now=NOW) as client:
        page = await get(client, "/session", account=account, session="turn")
        monkeypatch.setattr(sessions, "REQUESTS", 3)
        third = await get(client, "/session", account=account, session="turn", page="3")
    rows = page.tables["requests"][1:]
    assert [row[0].split()[-1] for row in rows] == [
        "12:00:03", "12:00:05", "12:00:09", "12:01:00", "12:12:00", "12:13:00", "12:13:02",
    ]  # fmt: skip
    assert rows[1][1] == "200 3 tries 12:00:00 529 overloaded_error 12:00:02 529 <i>busy</i>"
    assert all("tries" not in row[1] for row in rows if row is not rows[1]), (
        "too late, another size, another agent, no failure"
    )
    assert page.rows("agents")["main"][:3] == ["$0.75", "8", "4"] and page.rows("agents")["search"][:3] == [
        "$0.50",
        "1",
        "0",
    ]
    assert any("agent=main" in link and link.startswith("/logs?") for link in page.links)
    assert "Page 3 of 3" in third.html and len(third.tables["requests"]) == 2, (
        "a row is a request, however often it was tried"
    )
    assert page.tiles["requests"] == "9" and page.tiles["cost"] == "$1.25"


async def test_a_subscriptions_requests_cost_nothing_and_show_what_the_api_would_have_charged(store: Any) -> None:
    account = uuid.uuid4().hex
    free: dict[str, Any] = {"billing": "subscription", "cost": Decimal(0), "cost_source": "free"}
    covered = request(
        NOON, account=account, session="plan", **free, cost_reason="subscription", cost_equivalent=Decimal("2.5")
    )
    unknown = request(
        NOON, account=account, session="plan", **free, cost_reason="subscription:unknown_model", cost_equivalent=None
    )
    paid = request(NOON, account=account, session="api", cost=Decimal(1))
    url = await store(covered, unknown, paid)
    asked = SparingRunner(url, only={*OF_SESSIONS, "dashboard_sums", "dashboard_equivalent"})
    async with report_pages.browser(url, now=NOW, asked=asked) as client:
        listed = await get(client, "/sessions", account=account, **DAYS)
        only = await get(client, "/sessions", account=account, billing="usage", **DAYS)
        page = await get(client, "/session", account=account, session="plan")
        panel = await get(client, f"/logs/{covered.id}")
        reason = await get(client, f"/logs/{unknown.id}")
        overview, cost_page = [await get(client, path, account=account, **DAYS) for path in ("/", "/cost")]
        billed = await get(client, "/", account=account, billing="usage", **DAYS)
    assert listed.tiles["cost"] == "$1.00", "money that is owed, and nothing else"
    for shown in (overview, cost_page):
        assert (shown.tiles["cost"], shown.tiles["equivalent"]) == ("$1.00", "$2.50"), "apart from what is owed"
        assert "2 subscription requests" in shown.html and "the price of 1 is unknown" in shown.html
    assert "equivalent" not in billed.tiles
    assert [(name, row[2:4]) for name, row in listed.rows("sessions").items()] == [
        ("api", ["$1.00", "–"]),
        ("plan", ["$0", "$2.50"]),
    ]
    assert list(only.rows("sessions")) == ["api"] and "At API prices" not in only.html
    assert page.tiles["cost"] == "$0" and "At API prices, its requests would have cost $2.50" in page.html
    assert "Covered by a subscription. At API prices: $2.50000" in panel.html
    assert "Covered by a subscription (unknown_model). At API prices: unknown" in reason.html


async def test_the_list_has_every_session_of_the_period_in_each_order(store: Any) -> None:
    account = uuid.uuid4().hex
    made = sample_rows.generate(20261103, account=account, count=1500)
    url = await store(*made)
    groups: dict[str, list[ResponseRow]] = {}
    for row in sample_rows.newest(made):
        if row.session and row.provider == "openai":
            groups.setdefault(row.session, []).append(row)
    assert len(groups) > panels.PAGE
    async with report_pages.browser(url, now=NOW) as client:
        for sort in sessions.SORTS:
            found: dict[str, list[str]] = {}
            for number in range(1, -(-len(groups) // panels.PAGE) + 1):
                page = await get(
                    client, "/sessions", account=account, provider="openai", sort=sort, page=str(number), **ALL
                )
                found |= page.rows("sessions")
            assert found.keys() == groups.keys(), sort
            if sort == "requests":
                counts = [len(groups[name]) for name in found]
                assert counts == sorted(counts, reverse=True)
    for name, cells in found.items():
        rows = groups[name]
        worth = sum((one.cost_equivalent or Decimal(0) for one in rows), Decimal(0))
        assert cells[3] == (formats.money(worth) if worth else "–"), name
        assert cells[4] == formats.count(len(rows)), name
        assert cells[8] == formats.count(sum(map(is_error, rows))), name
        if not any(one.cost is None for one in rows):
            assert cells[2].removeprefix("≈").strip() == formats.money(cost(rows)), name
    everything = [row for rows in groups.values() for row in rows]
    assert page.tiles["cost"] == formats.money(cost(everything))
    assert f"{formats.whole(len(everything))} requests" in page.html


class Watching(QueryRunner):
    """Remembers the SQL of the list of sessions."""

    def __init__(self, url: str) -> None:
        super().__init__(url, seconds=servers.DEADLINE)
        self.sql: list[str] = []

    async def run(self, query: Query) -> QueryResult:
        """Run a query."""
        if query.name in ("dashboard_sessions", "dashboard_session_names"):
            self.sql.append(query.sql)
        return await super().run(query)


@pytest.fixture(scope="module")
def summed(database: servers.ClickHouseServer | servers.External) -> tuple[str, str, list[ResponseRow]]:
    """An account with requests in sums by day, and some that came after the pass."""
    account, url = uuid.uuid4().hex, database.url("logger")
    made = sample_rows.generate(20261104, account=account, count=900)
    late = [row for row in made if row.started_at.day in (2, 11)]
    asyncio.run(_store_early_and_late(url, [row for row in made if row not in late], late))
    return url, account, sample_rows.newest(made)


async def _store_early_and_late(url: str, early: list[ResponseRow], late: list[ResponseRow]) -> None:
    client = await client_module.connect(url, service="test")
    await history.store(client, early)
    assert not await insert.insert(client, late)
    await client.close()


FILTERS: Mapping[str, tuple[dict[str, str], bool]] = {  # whether sums by day can be filtered so
    "none": ({}, True),
    "client": ({"client": "codex_exec", "exclude": "client"}, True),
    "agent and billing": ({"agent": "reviewer", "billing": "usage"}, True),
    "requester": ({"requester": "bob"}, True),
    "model": ({"model": "gpt-4o"}, False),
}
KEPT: Mapping[str, Callable[[ResponseRow], bool]] = {
    "none": lambda row: True,
    "client": lambda row: row.client != "codex_exec",
    "agent and billing": lambda row: row.agent == "reviewer" and not row.billing,
    "requester": lambda row: row.requester == "bob",
    "model": lambda row: model_name(row) == "gpt-4o",
}


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu", "Pacific/Chatham", "America/Havana"])
async def test_the_list_from_sums_by_day_is_what_counting_requests_says(
    summed: tuple[str, str, list[ResponseRow]], tz: str
) -> None:
    url, account, known = summed
    period = {"from": "2026-10-28", "to": "2026-11-05"}
    zone = ZoneInfo(tz)
    start, end = (datetime.fromisoformat(period[name]).replace(tzinfo=zone) for name in ("from", "to"))
    asked = Watching(url)
    async with report_pages.browser(url, now=NOW, asked=asked) as client:
        for name, (filters, is_summed) in FILTERS.items():
            asked.sql.clear()
            rows = [row for row in sample_rows.within(known, start, end) if row.session and KEPT[name](row)]
            groups: dict[str, list[ResponseRow]] = {}
            for row in rows:
                groups.setdefault(row.session, []).append(row)
            found: dict[str, list[str]] = {}
            for number in range(1, -(-len(groups) // panels.PAGE) + 1):
                view = {"account": account, "tz": tz, **period, **filters, "page": str(number)}
                page = await get(client, "/sessions", **view)
                found |= page.rows("sessions")
            assert all(("usage_session_days" in sql) == is_summed for sql in asked.sql) and asked.sql, name
            is_subscribed = any(row.billing and row.cost_equivalent for row in rows)
            assert found == {session: _cells(ours, zone, is_subscribed) for session, ours in groups.items()}, name
            assert f"{formats.whole(len(rows))} requests, {formats.whole(sum(map(is_error, rows)))} failed" in page.html


def _cells(rows: list[ResponseRow], zone: ZoneInfo, is_subscribed: bool) -> list[str]:
    """What a row of the list says of these requests of a session."""
    known = [row for row in rows if row.input_tokens is not None]
    worth = sum((row.cost_equivalent or Decimal(0) for row in rows), Decimal(0))
    tokens = sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in rows)
    share = formats.ratio(sum(row.cache_read_tokens for row in known), sum(row.input_tokens or 0 for row in known))
    ended = max(row.started_at + timedelta(milliseconds=row.latency_ms) for row in rows)
    length = (ended - min(row.started_at for row in rows)) / timedelta(milliseconds=1)
    models = len({model_name(row) for row in rows})
    unknown = sum(row.cost is None for row in rows)
    amount = "unknown" if unknown == len(rows) else formats.money(cost(rows))
    amount += f" +{unknown}?" if unknown else ""
    if any(map(is_estimated, rows)):
        amount = f"≈ {amount}"
    return [
        " , ".join(sorted({row.requester for row in rows if row.requester})) or "(not set)",
        " , ".join(sorted({row.client for row in rows if row.client})) or "(not set)",
        amount,
        *([formats.money(worth) if worth else "–"] if is_subscribed else []),
        formats.count(len(rows)),
        formats.count(tokens),
        formats.percent(share),
        str(models) if models < 9 else "9+",
        formats.count(sum(map(is_error, rows))),
        formats.length(length),
        formats.day_and_minute(ended, zone),
        "Logs →",
    ]


async def test_a_long_session_has_pages_in_order(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "REQUESTS", 7)
    account = uuid.uuid4().hex
    rows = [request(NOON + timedelta(seconds=n), account=account, session="long", latency_ms=n) for n in range(20)]
    url = await store(*rows)
    async with report_pages.browser(url, now=NOW) as client:
        pages = [await get(client, "/session", account=account, session="long", page=str(n)) for n in (1, 2, 3)]
    assert [len(page.tables["requests"]) - 1 for page in pages] == [7, 7, 6]
    assert [row[8] for page in pages for row in page.tables["requests"][1:]] == [f"{n} ms" for n in range(20)]
    assert {page.tiles["requests"] for page in pages} == {"20"}


async def test_user_of_one_account_sees_only_sessions_of_that_account(store: Any) -> None:
    own, foreign = uuid.uuid4().hex, uuid.uuid4().hex
    await store(request(NOON, account=own, session="shared", cost=Decimal(1)))
    url = await store(
        request(NOON, account=foreign, session="shared", cost=Decimal(2), requester="stranger"),
        request(NOON, account=foreign, session="secret", requester="stranger"),
    )
    async with report_pages.browser(url, User(name="ann", account=own), now=NOW) as client:
        listed = await get(client, "/sessions", **DAYS)
        assert list(listed.rows("sessions")) == ["shared"]
        for more in ({}, {"of": foreign}, {"of": own}):
            page = await get(client, "/session", session="shared", **more)
            assert page.tiles["cost"] == "$1.00" and "stranger" not in page.html
        assert await status(client, "/session", session="secret") == 404
        assert await status(client, "/session", session="secret", of=foreign) == 404
        assert await status(client, "/session", session="secret", account=foreign) == 400
        assert await status(client, "/sessions", account=foreign) == 400
    async with report_pages.browser(url, now=NOW) as client:
        listed = await get(client, "/sessions", requester="stranger", **DAYS)
        assert "secret" in listed.rows("sessions")
        assert (await get(client, "/session", session="shared", of=own)).tiles["cost"] == "$1.00"
        assert (await get(client, "/session", session="shared", of=foreign)).tiles["cost"] == "$2.00"
        assert (await get(client, "/session", session="shared")).tiles["cost"] == "$2.00", "the dearest, never a sum"


async def test_a_session_of_any_name_is_linked_from_the_list_and_from_its_requests(store: Any) -> None:
    account = uuid.uuid4().hex
    rows = [request(NOON + timedelta(seconds=n), account=account, session=name) for n, name in enumerate(NAMES)]
    url = await store(*rows)
    asked = SparingRunner(url, only={*OF_SESSIONS, "dashboard_logs_hours", log_pages.PAGE})
    async with report_pages.browser(url, now=NOW, asked=asked) as client:
        async with client.get(f"/sessions?{urlencode({'account': account, **DAYS})}") as response:
            text = await response.text()
        links = [html.unescape(link) for link in re.findall(r'<th scope="row"><a href="([^"]+)"', text)]
        assert len(links) == len(NAMES)
        shown = set()
        for link in links:
            async with client.get(link) as response:
                assert response.status == 200, link
                page = Page(await response.text())
            (only,) = page.tables["requests"][1:]
            shown.add(only[0])
            detail = next(one for one in page.links if one.startswith("/logs/"))
            async with client.get(detail) as response:
                panel = Page(await response.text())
            assert any(one.startswith("/session?") for one in panel.links), "and back"
            in_logs = next(one for one in page.links if one.startswith("/logs?"))
            async with client.get(in_logs) as response:
                logs = await response.text()
            assert logs.count("<tr id=") == 1, in_logs
        assert len(shown) == len(NAMES)


async def test_a_session_without_a_name_and_an_unknown_one_are_no_page(store: Any) -> None:
    url = await store()
    async with report_pages.browser(url, now=NOW) as client:
        assert await status(client, "/session") == 400
        assert await status(client, "/session", session="nobody-had-it") == 404


async def test_when_clickhouse_is_down_both_pages_say_so() -> None:
    async with report_pages.browser("http://reader:x@127.0.0.1:1", now=NOW) as client:
        page = await get(client, "/sessions")
        assert page.alerts["sessions"] == "ClickHouse is unreachable."
        assert await status(client, "/session", session="x") == 503


def turns(account: str) -> list[ResponseRow]:
    """Sessions whose client names its turns, and whose client only begins them."""

    def row(session: str, seconds: float, agent: str, cost: str, **more: Any) -> ResponseRow:
        given: dict[str, Any] = {"session": session, "agent": agent, "latency_ms": 1000, "input_tokens": 10}
        return request(NOON + timedelta(seconds=seconds), account=account, cost=Decimal(cost), **(given | more))

    codex = [
        row("codex", 0, "/root", "0.5"),  # to warm up
        row("codex", 2, "/root", "1", turn="one"),
        row("codex", 4, "searcher", "2", turn="one"),
        row("codex", 9, "/root", "4", turn="two"),
        row("codex", 10, "searcher", "8", turn="one", latency_ms=20_000),  # it outlives its turn
        row("codex", 12, "/root", "16", turn="two", status=500, error_type="server_error"),
    ]
    first, again, title, second, foreign = (str(uuid.uuid4()) for _ in range(5))
    claude = [
        row("claude", 0, "cli", "1", id=first, turn=first, status=529, error_type="overloaded_error", request_bytes=7),
        row("claude", 3, "cli", "2", id=again, turn=again, request_bytes=7),  # repeats it
        row("claude", 3.5, "cli", "4", id=title, turn=title, request_bytes=3),  # beside it
        row("claude", 5, "cli", "8"),
        row("claude", 6, "a1", "16", id=foreign, turn=foreign),  # a subagent was asked
        row("claude", 60, "cli", "32", id=second, turn=second),
        row("claude", 70, "cli", "64", cost_reason="broken_stream"),
        row("claude", 80, "a1", "128"),
    ]
    return [*codex, *claude]


async def test_a_turn_is_all_that_followed_from_a_message_of_the_user(store: Any) -> None:
    account = uuid.uuid4().hex
    url = await store(*turns(account), request(NOON, account=account, session="silent", cost=Decimal(1)))
    async with report_pages.browser(url, now=NOW) as client:
        codex, claude, silent = [
            await get(client, "/session", account=account, session=name) for name in ("codex", "claude", "silent")
        ]
    assert [row[:4] for row in codex.tables["turns"][1:]] == [
        ["before the first", "3 Nov 12:00:00", "$0.50", "1"],
        ["1", "3 Nov 12:00:02", "$11.00", "3"],
        ["2", "3 Nov 12:00:09", "$20.00", "2"],
    ]
    assert [(row[3], row[4], row[8]) for row in claude.tables["turns"][1:]] == [("5", "1", "7 s"), ("3", "0", "21 s")]
    assert [row[2] for row in claude.tables["turns"][1:]] == ["$31.00", "$224.00"]
    assert "turns" not in silent.tables, "its client does not tell"
    assert any("from=2026-11-03T12" in link and "session=codex" in link for link in codex.links)


def tokens_of(model: str, fresh: int, read: int, written: int, made: int) -> ResponseRow:
    """The row of an answer with these tokens, priced as the logger does."""
    if model.startswith("gpt"):
        body = chat(model, fresh + read, made, prompt={"cached_tokens": read})
        return priced_row(body, at=NOON, **OPENAI, **CHAT)
    usage = {"input_tokens": fresh, "cache_read_input_tokens": read, "cache_creation_input_tokens": written,
             "output_tokens": made}  # fmt: skip
    body = {"type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    return priced_row(body, at=NOON, provider="anthropic", dialect=ANTHROPIC, endpoint="POST /v1/messages")


def ten_sessions() -> dict[str, tuple[str, list[tuple[float, str, ResponseRow]]]]:
    """By name: cost, computed by hand, and the requests: (seconds after 23:59, agent, row).

    In dollars a million: Sonnet 3, read 0.30, written 3.75, made 15; Haiku 1 and 5; GPT-4o 2.50, read 1.25, made 10;
    its mini 0.15 and 0.60.
    """
    sonnet, haiku = (tokens_of(model, 1000, 0, 0, 100) for model in ("claude-sonnet-4-5", "claude-haiku-4-5"))
    cached = tokens_of("claude-sonnet-4-5", 1000, 10_000, 2000, 100)
    gpt = tokens_of("gpt-4o", 600, 400, 0, 100)
    mini = tokens_of("gpt-4o-mini", 10_000, 0, 0, 1000)
    busy = request(NOON, cost=Decimal(0), cost_reason="error", status=529, error_type="overloaded_error")
    hit = request(NOON, cache="HIT", cost=Decimal(0), cost_reason="cache_hit", cost_saved=Decimal("0.0045"))
    free: dict[str, Any] = {"cost": Decimal(0), "cost_source": "free", "cost_reason": "subscription"}
    plan = request(NOON, billing="subscription", cost_equivalent=Decimal("0.0045"), **free)
    return {
        "one request": ("0.0045", [(0, "cli", sonnet)]),  # 1000*3 + 100*15
        "the provider's cache": ("0.015", [(0, "cli", cached)]),  # 1000*3 + 10000*0.30 + 2000*3.75 + 100*15
        "two models": ("0.006", [(0, "cli", sonnet), (1, "cli", haiku)]),  # and 1000*1 + 100*5
        "midnight": ("0.009", [(0, "cli", sonnet), (120, "cli", sonnet)]),
        "subagents": ("0.0075", [(0, "cli", sonnet), (1, "a1", haiku), (2, "a2", haiku)]),
        "a cached answer": ("0.0045", [(0, "cli", sonnet), (5, "cli", hit)]),
        "cached input": ("0.003", [(0, "/root", gpt)]),  # 600*2.50 + 400*1.25 + 100*10
        "a retry": ("0.0045", [(0, "cli", busy), (2, "cli", sonnet)]),
        "many tokens": ("0.0042", [(0, "", mini), (1, "", mini)]),  # 2 * (10000*0.15 + 1000*0.60)
        "a subscription": ("0", [(0, "cli", plan)]),
    }


async def test_ten_sessions_cost_what_was_computed_by_hand_on_page_api_and_in_sql(store: Any) -> None:
    account, evening = uuid.uuid4().hex, datetime(2026, 11, 3, 23, 59, tzinfo=UTC)
    sessions_by_hand = ten_sessions()
    rows = [
        msgspec.structs.replace(
            row, id=str(uuid.uuid4()), account=account, session=name, agent=agent,
            started_at=evening + timedelta(seconds=seconds),
        )
        for name, (_, asked) in sessions_by_hand.items() for seconds, agent, row in asked
    ]  # fmt: skip
    url = await store(*rows)
    by_hand = {name: Decimal(total) for name, (total, _) in sessions_by_hand.items()}
    async with report_pages.browser(url, now=NOW) as client:
        listed = await get(client, "/sessions", account=account, **DAYS)
        pages = {name: await get(client, "/session", account=account, session=name) for name in by_hand}
        parameters = {"account": account, "group_by": "session", **DAYS}
        async with client.get("/api/v1/usage", params=parameters) as response:
            answer = await response.json()
    bounds = {"since": datetime(2026, 11, 3, tzinfo=UTC), "until": datetime(2026, 11, 5, tzinfo=UTC)}
    in_sql = {one["session"]: one["cost_usd"] for one in await ask(url, account=account, limit=20, **bounds)}
    assert in_sql == by_hand
    assert {one["group"]["session"]: Decimal(one["cost"]) for one in answer["rows"]} == by_hand
    assert {name: cells[2] for name, cells in listed.rows("sessions").items()} == {
        name: formats.money(total) for name, total in by_hand.items()
    }
    assert {name: page.tiles["cost"] for name, page in pages.items()} == {
        name: formats.money(total) for name, total in by_hand.items()
    }
    assert Decimal(answer["total"]["cost"]) == sum(by_hand.values()) == Decimal("0.0582")
    assert [row[1] for row in pages["subagents"].rows("agents").values()] == ["1", "1", "1"]
