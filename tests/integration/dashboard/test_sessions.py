"""Sessions of coding agents: the list, the page of one and SQL say the same, and nobody sees another account's."""

import contextlib
import html
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.dashboard import app_context
from services.dashboard.app_context import AppContext, User
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.charts import formats
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.pages import sessions
from services.dashboard.queries import panels
from services.dashboard.queries.runner import QueryRunner
from services.logger import insert, schema
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from tests.support import sample_rows, servers
from tests.support.definitions import cost, is_error
from tests.support.expected_usage import request
from tests.support.page_markup import Page

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAYS = {"from": "2026-11-03", "to": "2026-11-05"}
ALL = {"from": "2026-10-19", "to": "2026-11-12"}
NAMES = (
    "<script>alert(1)</script>",
    "a/b/../c",
    "..",
    "a&b=c?d#e%00",
    "nul\0nul",
    "日本" * 42,
    '"><img src=x onerror=alert(1)>',
)
VIEWER = web.AppKey("viewer", User)


@contextlib.asynccontextmanager
async def browser(url: str, viewer: User | None = None) -> AsyncIterator[TestClient[Any, Any]]:
    runner = QueryRunner(url, seconds=30)
    nats = NatsConnection()
    nobody = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    app = application(AppContext(runner=runner, clock=lambda: NOON + timedelta(days=30)), nobody)
    app[VIEWER] = viewer or User(name="admin")
    try:
        async with TestClient(TestServer(app)) as client:
            yield client
    finally:
        await runner.close()


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_context, "user", lambda asked: asked.app[VIEWER])


@pytest.fixture
async def store(clickhouse: servers.ClickHouseServer | servers.External) -> AsyncIterator[Any]:
    client = await client_module.connect(clickhouse.url("logger"), service="test")
    await schema.apply(client)

    async def stored(*rows: ResponseRow) -> str:
        assert not await insert.insert(client, list(rows))
        return clickhouse.url("logger")

    yield stored
    await client.close()


async def get(client: TestClient[Any, Any], path: str, /, **query: str) -> Page:
    async with client.get(f"{path}?{urlencode(query)}") as response:
        text = await response.text()
        assert response.status == 200, text
        return Page(text)


async def status(client: TestClient[Any, Any], path: str, /, **query: str) -> int:
    async with client.get(f"{path}?{urlencode(query)}") as response:
        return response.status


async def ask(url: str, **values: Any) -> list[dict[str, Any]]:
    client = await client_module.connect(url, service="test")
    try:
        return await client_module.ask(client, "sessions", **values)
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
            cost_reason="broken_stream", cache_read_tokens=500,
        ),
        request(evening + timedelta(minutes=6), account=account, session="other", cost=Decimal(8)),
        request(evening + timedelta(minutes=6), account=account, cost=Decimal(16)),
    ]  # fmt: skip


async def test_a_session_over_midnight_adds_up_in_the_list_on_its_page_and_in_sql(store: Any) -> None:
    account = uuid.uuid4().hex
    rows = night(account)
    url = await store(*rows)
    async with browser(url) as client:
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
    async with browser(url) as client:
        listed = await get(client, "/sessions", account=account, **DAYS)
        only = await get(client, "/sessions", account=account, billing="usage", **DAYS)
        page = await get(client, "/session", account=account, session="plan")
        panel = await get(client, f"/logs/{covered.id}")
        reason = await get(client, f"/logs/{unknown.id}")
    assert listed.tiles["cost"] == "$1.00", "money that is owed, and nothing else"
    assert [(name, row[2:4]) for name, row in listed.rows("sessions").items()] == [
        ("api", ["$1.00", "–"]),
        ("plan", ["$0", "$2.50"]),
    ]
    assert list(only.rows("sessions")) == ["api"] and "By API prices" not in only.html
    assert page.tiles["cost"] == "$0" and "By API prices its requests would have cost $2.50" in page.html
    assert "Covered by a subscription. By API prices: $2.50000" in panel.html
    assert "Covered by a subscription (unknown_model). By API prices: unknown" in reason.html


async def test_the_list_has_every_session_of_the_period_in_each_order(store: Any) -> None:
    account = uuid.uuid4().hex
    made = sample_rows.generate(20261103, account=account, count=1500)
    url = await store(*made)
    groups: dict[str, list[ResponseRow]] = {}
    for row in sample_rows.newest(made):
        if row.session and row.provider == "openai":
            groups.setdefault(row.session, []).append(row)
    assert len(groups) > panels.PAGE
    async with browser(url) as client:
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


async def test_a_long_session_has_pages_in_order(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "REQUESTS", 7)
    account = uuid.uuid4().hex
    rows = [request(NOON + timedelta(seconds=n), account=account, session="long", latency_ms=n) for n in range(20)]
    url = await store(*rows)
    async with browser(url) as client:
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
    async with browser(url, User(name="ann", account=own)) as client:
        listed = await get(client, "/sessions", **DAYS)
        assert list(listed.rows("sessions")) == ["shared"]
        for more in ({}, {"of": foreign}, {"of": own}):
            page = await get(client, "/session", session="shared", **more)
            assert page.tiles["cost"] == "$1.00" and "stranger" not in page.html
        assert await status(client, "/session", session="secret") == 404
        assert await status(client, "/session", session="secret", of=foreign) == 404
        assert await status(client, "/session", session="secret", account=foreign) == 400
        assert await status(client, "/sessions", account=foreign) == 400
    async with browser(url) as client:
        listed = await get(client, "/sessions", requester="stranger", **DAYS)
        assert "secret" in listed.rows("sessions")
        assert (await get(client, "/session", session="shared", of=own)).tiles["cost"] == "$1.00"
        assert (await get(client, "/session", session="shared", of=foreign)).tiles["cost"] == "$2.00"
        assert (await get(client, "/session", session="shared")).tiles["cost"] == "$2.00", "the dearest, never a sum"


async def test_a_session_of_any_name_is_linked_from_the_list_and_from_its_requests(store: Any) -> None:
    account = uuid.uuid4().hex
    rows = [request(NOON + timedelta(seconds=n), account=account, session=name) for n, name in enumerate(NAMES)]
    url = await store(*rows)
    async with browser(url) as client:
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
    async with browser(url) as client:
        assert await status(client, "/session") == 400
        assert await status(client, "/session", session="nobody-had-it") == 404


async def test_when_clickhouse_is_down_both_pages_say_so() -> None:
    async with browser("http://reader:x@127.0.0.1:1") as client:
        page = await get(client, "/sessions")
        assert page.alerts["sessions"] == "ClickHouse is unreachable."
        assert await status(client, "/session", session="x") == 503
