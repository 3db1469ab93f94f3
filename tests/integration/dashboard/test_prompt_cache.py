"""The prompt cache's figures on its page and in SQL, against plain Python."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.dashboard import app_context
from services.dashboard.app_context import User
from services.logger import insert, schema
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from tests.support import report_pages, servers
from tests.support.expected_usage import request
from tests.support.page_markup import Page
from tests.support.report_pages import get

START = datetime(2026, 11, 3, 10, tzinfo=UTC)
Stored = tuple[str, str, list[ResponseRow]]
DAYS = {"from": "2026-11-03", "to": "2026-11-04"}
FRESH, READ, WRITE = Decimal(5), Decimal("0.5"), Decimal("6.25")  # USD per million tokens


def sent(
    account: str, session: str, minute: int, *, fresh: int = 0, read: int = 0, write: int = 0, **more: Any
) -> ResponseRow:
    """A request whose input consists of these tokens."""
    amounts = {"input": (fresh, FRESH), "cache_read": (read, READ), "cache_write": (write, WRITE)}
    by_class = {name: price * tokens / 1_000_000 for name, (tokens, price) in amounts.items() if tokens}
    prices = {f"{name}_mtok": price for name, (tokens, price) in amounts.items() if tokens}
    values: dict[str, Any] = {
        "account": account, "session": session, "provider": "anthropic", "model": "claude-opus-4-8", "client": "claude-cli",
        "requester": "ann", "input_tokens": fresh + read + write, "cache_read_tokens": read, "cache_write_tokens": write,
        "cost_by_class": by_class, "unit_prices": prices, "cost": sum(by_class.values(), Decimal(0)),
    }  # fmt: skip
    return request(START + timedelta(minutes=minute), **(values | more))


def day(account: str) -> list[ResponseRow]:
    """A session that gains, one that pays for nothing, one that could use the cache, and what counts in no figure."""
    return [
        sent(account, "gains", 0, fresh=100, write=40_000),
        sent(account, "gains", 1, fresh=200, read=40_000, write=5_000),
        sent(account, "gains", 2, fresh=300, read=45_000, requester="bob"),
        sent(account, "pays", 0, fresh=50, write=60_000),
        sent(account, "pays", 9, fresh=50, write=60_000, model="claude-haiku-4-5"),
        *(sent(account, "fresh", minute, fresh=9_000) for minute in range(5)),
        *(sent(account, "small", minute, fresh=90) for minute in range(5)),
        sent(account, "once", 0, fresh=10, write=30_000),
        sent(account, "", 0, fresh=10, write=20_000),
        sent(account, "whole", 0, read=70_000),
        sent(account, "plan", 0, fresh=10, read=1_000_000, cost=Decimal(0), cost_reason="subscription", cost_by_class={}, unit_prices={}),
        sent(account, "gains", 3, fresh=10, read=5_000, cache="HIT", cost=Decimal(0), cost_reason="cache_hit"),
        sent(account, "gains", 4, input_tokens=None, cost=None, cost_reason="broken_stream"),
    ]  # fmt: skip


def saved(rows: list[ResponseRow]) -> Decimal:
    return (
        sum((row.cache_read_tokens * (FRESH - READ) for row in rows if row.unit_prices.get("input_mtok")), Decimal(0))
        / 1_000_000
    )


def extra(rows: list[ResponseRow]) -> Decimal:
    return sum((row.cache_write_tokens * (WRITE - FRESH) for row in rows), Decimal(0)) / 1_000_000


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_context, "user", lambda asked: asked.app[report_pages.VIEWER])


@pytest.fixture(scope="module")
def stored(clickhouse: servers.ClickHouseServer | servers.External) -> Stored:
    """ClickHouse's address, an account and its requests."""
    account = f"prompt-{uuid.uuid4().hex[:8]}"
    rows = day(account)
    asyncio.run(_store(clickhouse.url("logger"), [*rows, *day(f"{account}-other")]))
    return clickhouse.url("logger"), account, rows


async def _store(url: str, rows: list[ResponseRow]) -> None:
    client = await client_module.connect(url, service="test")
    await schema.apply(client)
    assert not await insert.insert(client, rows)
    await client.close()


def counted(rows: list[ResponseRow], **of: str) -> list[ResponseRow]:
    """The rows that count, of a session, requester and so on."""
    return [
        row
        for row in rows
        if row.cache != "HIT" and row.input_tokens and all(getattr(row, name) == value for name, value in of.items())
    ]


async def test_the_query_adds_up_what_the_cache_saved_and_what_it_cost_beyond(
    stored: Stored,
) -> None:
    url, account, rows = stored
    client = await client_module.connect(url, service="test")
    period = {"since": START - timedelta(hours=1), "until": START + timedelta(hours=1)}
    lines = await client_module.run_query(client, "prompt_cache", **period, account=account, limit=100)
    await client.close()
    assert sum(line["saved_usd"] for line in lines) == saved(counted(rows)) == Decimal("0.3825")
    assert sum(line["extra_usd"] for line in lines) == extra(counted(rows)) == Decimal("0.26875")
    assert sum(line["input_tokens"] for line in lines) == sum(row.input_tokens or 0 for row in counted(rows))
    of = {(line["session"], line["requester"], line["model"]): line for line in lines}
    assert lines[0]["session"] == "pays" and lines[0]["net_usd"] == Decimal("-0.075"), (
        "what costs most for nothing is first"
    )
    assert of["gains", "bob", "claude-opus-4-8"]["read_percent"] == pytest.approx(99.3)
    assert of["gains", "ann", "claude-opus-4-8"]["saved_usd"] == Decimal("0.18")
    assert (
        of["whole", "ann", "claude-opus-4-8"]["unknown"] == 1
        and of["whole", "ann", "claude-opus-4-8"]["saved_usd"] == 0
    )
    assert of["plan", "ann", "claude-opus-4-8"]["saved_usd"] == 0, "a subscription saves no money"
    uses = {line["session"]: line["cache_use"] for line in lines if line["cache_use"]}
    assert uses == {"fresh": "not used"}, "one request of each model is no reason for a remark"


async def test_the_page_shows_sessions_that_gain_and_those_that_pay_for_nothing(
    stored: Stored,
) -> None:
    url, account, rows = stored
    async with report_pages.browser(url, now=START + timedelta(days=2)) as client:
        page = await get(client, "/prompt-cache", account=account, **DAYS)
        wasted = await get(client, "/prompt-cache", account=account, only="wasted", **DAYS)
        requesters = await get(client, "/prompt-cache", account=account, by="requester", sort="cache_net", **DAYS)
        invalid = await get(client, "/prompt-cache", account=account, by="secret", sort="drop", page="-1", **DAYS)
        models = await get(client, "/prompt-cache", account=account, by="model", model="claude-haiku-4-5", **DAYS)
    share = (
        100 * sum(row.cache_read_tokens for row in counted(rows)) / sum(row.input_tokens or 0 for row in counted(rows))
    )
    assert page.tiles["cache-read"] == f"{share:.1f}%"
    assert (page.tiles["cache-saved"], page.tiles["cache-extra"], page.tiles["cache-net"]) == (
        "$0.38",
        "$0.27",
        "$0.11",
    )
    assert "without 1 requests of unknown input price" in page.html
    sessions = {"gains", "pays", "fresh", "small", "once", "whole", "plan"}
    assert set(names(page)) == sessions | {"(requests without a session)"}
    assert set(names(wasted)) == {"pays", "fresh"}
    assert "Never read" in wasted.html and "Not used" in wasted.html and "-$0.15" in wasted.html
    assert wasted.tiles["cache-net"] == "-$0.15", "the tiles are of what is listed"
    assert names(requesters) == ["bob", "ann"]
    assert len(rows_of(invalid)) == len(rows_of(page))
    assert names(models) == ["claude-haiku-4-5"]


async def test_a_user_of_one_account_sees_only_its_prompt_caches(stored: Stored) -> None:
    url, account, _ = stored
    viewer = User(name="eve", account=f"{account}-other")
    async with report_pages.browser(url, viewer, now=START + timedelta(days=2)) as client:
        page = await get(client, "/prompt-cache", **DAYS)
        assert await report_pages.status(client, "/prompt-cache", account=account, **DAYS) == 400
    assert page.tiles["cache-saved"] == "$0.38", "one account's, not the sum of two"


async def test_a_period_without_requests_is_an_empty_page(stored: Stored) -> None:
    url, account, _ = stored
    async with report_pages.browser(url, now=START + timedelta(days=2)) as client:
        page = await get(client, "/prompt-cache", account=account, **{"from": "2026-10-01", "to": "2026-10-02"})
    assert "No requests in this period." in page.html and page.tiles["cache-read"] == "–"


def rows_of(page: Page) -> list[list[str]]:
    """The rows of the page's table, without its heading."""
    return page.tables["prompt-cache"][1:]


def names(page: Page) -> list[str]:
    return [row[0] for row in rows_of(page)]
