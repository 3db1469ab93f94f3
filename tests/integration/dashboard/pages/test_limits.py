"""The Limits page over real servers: what is used, what was refused, and who may change what."""

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from nats.aio.client import Client

from services.dashboard.pages import limits as limits_page
from services.gateway.limits import default
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import accounts_admin, audit, clickhouse, nats_client, rollup
from shared.limits import admin as limit_admin
from shared.limits import periods, scopes
from shared.limits.model import RATE_SUBJECT, Limit, Scope
from shared.limits.spend import BILLION
from tests.support import dashboard_app, expected_usage, noon, published_use, servers
from tests.support.dashboard_app import A, B, DashboardApp
from tests.support.page_markup import Page

House = tuple[servers.NatsServer, servers.ClickHouseServer]
FORM = {"account": A, "measure": "cost", "amount": "25", "period": "month", "mode": "refuse", "currency": "USD"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse,
    ):
        asyncio.run(dashboard_app.create_data(nats, clickhouse.url("logger")))
        yield nats, clickhouse


@pytest.fixture
async def dashboard(house: House) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(
        house[0].url("dashboard"), house[1].url("reader"), currency_rates=("EUR=0.92",)
    ) as found:
        yield found
        for limit in (await accounts_admin.read(found.control.js)).limits.values():
            await limit_admin.delete(found.control.js, account=limit.account, name=limit.name)


@contextlib.asynccontextmanager
async def logger(house: House) -> AsyncIterator[Client]:
    """The connection of a logger, which publishes what is used."""
    nc = await nats_client.connect(house[0].url("logger"), service="logger")
    try:
        yield nc
    finally:
        await nc.close()


def limit(name: str, account: str = A, **fields: Any) -> Limit:
    given: dict[str, Any] = {
        "created_at": datetime.now(UTC), "amount": Decimal(25), "measure": "cost", "period": "month",
        "timezone": noon.zone(),
    }  # fmt: skip
    return Limit(account=account, name=name, **given | fields)


async def page(browser: dashboard_app.Browser, path: str = "/limits", *, status: int = 200) -> Page:
    answer = await browser.get(path)
    assert answer.status == status, answer.text
    assert len(answer.text.encode()) < 150_000
    return Page(answer.text)


def card(found: Page, name: str) -> str:
    """The text of one limit on the page, without its form."""
    start = found.html.index(f'id="limit-{name}"')
    text = re.sub(r"<form.*?</form>", "", found.html[start : found.html.index("</article>", start)], flags=re.DOTALL)
    return " ".join(re.sub("<[^>]+>", " ", text).split())


def field(found: Page, name: str) -> str:
    match = re.search(rf'<input name="{name}"[^>]*? value="([^"]*)"', found.html)
    assert match, name
    return match[1]


async def stored(dashboard: DashboardApp) -> dict[str, Limit]:
    return (await accounts_admin.read(dashboard.control.js)).limits


# ---------- what is used


async def test_use_of_a_budget_is_shown_with_its_amount_and_reset(dashboard: DashboardApp, house: House) -> None:
    budget = limit("team", currency="EUR", rate=Decimal("0.5"), timezone="Europe/Vienna")
    await limit_admin.put(dashboard.control.js, budget)
    browser = await dashboard.browser("viewer-a")
    assert "Not computed yet." in card(await page(browser), f"{A}-team")
    async with logger(house) as nc:
        await published_use.publish(nc, budget, [published_use.used(budget, 24 * BILLION, unpriced=2)])
    text = card(await page(browser), f"{A}-team")
    assert "EUR 25.00 a month · all requests" in text
    assert "EUR 12.00 of EUR 25.00 · 48%" in text
    end = periods.span("month", "Europe/Vienna", datetime.now(UTC)).end
    assert end is not None
    assert f"resets {end.day} {end:%b %Y, %H:%M}" in text
    assert "an estimate for 2 requests of unknown cost" in text
    assert "used up" not in text and "nearly" not in text


@pytest.mark.parametrize(
    ("mode", "used", "state", "colour"),
    [
        ("refuse", "22.49", "", "accent"),
        ("refuse", "22.5", "nearly used up", "warn"),
        ("refuse", "24.99", "nearly used up", "warn"),
        ("refuse", "25", "used up", "bad"),
        ("strict", "26", "used up", "bad"),
        ("warn", "30", "exceeded", "bad"),
    ],
)
async def test_budget_that_is_nearly_used_up_says_so_in_words_and_colour(
    dashboard: DashboardApp, house: House, mode: Any, used: str, state: str, colour: str
) -> None:
    budget = limit("team", mode=mode)
    await limit_admin.put(dashboard.control.js, budget)
    async with logger(house) as nc:
        await published_use.publish(nc, budget, [published_use.used(budget, int(Decimal(used) * BILLION))])
    found = await page(await dashboard.browser("viewer"))
    text = card(found, f"{A}-team")
    words = {word for word in ("nearly used up", "used up", "exceeded") if word in text}
    assert words - ({"used up"} if state == "nearly used up" else set()) == ({state} if state else set())
    assert f"--c:var(--{colour})" in found.html


class Noon(datetime):
    """A clock that stands still, half a second before a minute ends."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Noon":
        return cls(2026, 11, 7, 12, 0, 59, 500_000, tz)


async def test_use_of_limits_per_minute_is_that_of_the_last_60_seconds(
    dashboard: DashboardApp, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the counters of the gateways, in which only tokens can be named."""
    monkeypatch.setattr(limits_page, "datetime", Noon)
    await accounts_admin.create_token(dashboard.control.js, account=A, name="busy")
    per_minute: dict[str, Any] = {"measure": "requests", "period": "minute", "amount": Decimal(100)}
    everybody, tokens = limit("everybody", **per_minute), limit("tokens", scope=Scope(token="*"), **per_minute)
    people = limit("people", scope=Scope(requester="*"), **per_minute)
    for one in (everybody, tokens, people):
        await limit_admin.put(dashboard.control.js, one)
    browser = await dashboard.browser("viewer-a")
    assert "no requests yet" in card(await page(browser), f"{A}-tokens")
    gateway = await nats_client.connect(house[0].url("gateway"), service="gateway")
    minute = int(Noon.now(UTC).timestamp()) // 60
    for one, each in ((everybody, ()), (tokens, ("busy",)), (tokens, ("other",)), (people, ("ann",))):
        for at, count in ((minute, 2 if "other" in each else 57), (minute - 2, 40)):
            subject = f"{RATE_SUBJECT}{scopes.counter(one, each)}.{at}"
            await gateway.jetstream().publish(subject, b"", headers={"Nats-Incr": str(count)})
    await gateway.close()
    found = await page(browser)
    for name, suffix in (
        ("everybody", ""),
        ("tokens", " · the most used of 2: busy"),
        ("people", " · the most used of 1"),
    ):
        text = card(found, f"{A}-{name}")
        assert text.endswith(f"57 requests of 100 requests in the last minute · 57%{suffix}"), text


async def test_use_of_a_past_period_or_of_another_limit_of_that_name_counts_nothing(
    dashboard: DashboardApp, house: House
) -> None:
    monthly = limit("team")
    rolling = limit("rolling", period="30d")
    past = datetime.now(UTC) - timedelta(days=40)
    former = limit("team", scope=Scope(token="gone"))
    for one in (monthly, rolling):
        await limit_admin.put(dashboard.control.js, one)
    async with logger(house) as nc:
        await published_use.publish(nc, monthly, [published_use.used(monthly, 20 * BILLION, start=past)])
        await published_use.publish(nc, former, [published_use.used(former, 23 * BILLION)])
        await published_use.publish(nc, rolling, [published_use.used(rolling, 10 * BILLION, start=past)])
    found = await page(await dashboard.browser("viewer"))
    assert "USD 0.00 of USD 25.00 · 0%" in card(found, f"{A}-team")
    text = card(found, f"{A}-rolling")
    assert "USD 10.00 of USD 25.00 · 40%" in text
    assert "rolling" in text


async def test_of_a_limit_of_each_value_the_ten_most_used_are_listed(dashboard: DashboardApp, house: House) -> None:
    each = limit("people", measure="tokens", amount=Decimal(1000), period="day", scope=Scope(requester="*"))
    await limit_admin.put(dashboard.control.js, each)
    hostile = "<script>alert(1)</script>"
    async with logger(house) as nc:
        records = [published_use.used(each, 10 * number, f"person-{number:02}") for number in range(1, 13)]
        await published_use.publish(nc, each, [*records, published_use.used(each, 1500, hostile)])
    found = await page(await dashboard.browser("viewer-a"))
    names = re.findall(r'<span class="nm"><bdi>([^<]*)</bdi>', found.html)
    assert names == ["&lt;script&gt;alert(1)&lt;/script&gt;", *(f"person-{number:02}" for number in range(12, 3, -1))]
    text = card(found, f"{A}-people")
    assert "13 with requests in this period, the 10 most used" in text
    assert "used up 1,500 tokens 150%" in text
    assert "person-12 120 tokens 12%" in text
    link = next(one for one in found.links if "person-12" in one)
    query = parse_qs(urlsplit(link).query)
    start = periods.span("day", each.timezone, datetime.now(UTC)).start
    assert (urlsplit(link).path, query["requester"], query["from"]) == (
        "/cost",
        ["person-12"],
        [str(int(start.timestamp()))],
    )
    assert (await (await dashboard.browser("viewer-a")).get(link)).status == 200


async def test_records_that_cannot_be_read_do_not_break_the_page(dashboard: DashboardApp, house: House) -> None:
    await limit_admin.put(dashboard.control.js, limit("odd"))
    async with logger(house) as nc:
        await nc.jetstream().publish(f"metrion.spend.{A}.odd.{'0' * 32}", b"\xc1", stream="SPEND")
    assert "Not computed yet." in card(await page(await dashboard.browser("viewer")), f"{A}-odd")


async def test_page_states_the_default_limit(dashboard: DashboardApp) -> None:
    text = (await page(await dashboard.browser("viewer"))).html
    assert f"requests per minute may make {default.REQUESTS_PER_MINUTE}, unless" in text
    assert "No limits." in text


async def test_many_limits_are_shown_a_page_at_a_time(dashboard: DashboardApp) -> None:
    for number in range(25):
        await limit_admin.put(dashboard.control.js, limit(f"n{number:02}", measure="requests", period="minute"))
    browser = await dashboard.browser("admin")
    first = await page(browser)
    assert first.html.count('<article class="limit"') == 20
    assert "Page 1 of 2" in first.html
    second = await page(browser, next(link for link in first.links if "page=2" in link))
    assert second.html.count('<article class="limit"') == 5
    assert "No limits on this page." in (await page(browser, "/limits?page=7")).html
    for odd in ("0", "-1", "x", "9" * 30, "²"):
        assert (await page(browser, f"/limits?page={odd}")).html.count('<article class="limit"') == 20


async def test_a_full_page_stays_light(dashboard: DashboardApp, house: House) -> None:
    async with logger(house) as nc:
        for number in range(20):
            each = limit(f"full-{number:02}", measure="requests", period="day", scope=Scope(requester="*", token="*"))
            await limit_admin.put(dashboard.control.js, each)
            names = [f"some.rather.long.name-{person}@department.example.com" for person in range(12)]
            records = [published_use.used(each, 9, "a-token-of-an-app", name) for name in names]
            await published_use.publish(nc, each, records)
    found = await page(await dashboard.browser("admin"))  # which checks its size
    assert found.html.count('<span class="nm">') == 200


# ---------- what was refused


async def test_refused_requests_are_listed_with_links_to_their_logs(dashboard: DashboardApp, house: House) -> None:
    now = datetime.now(UTC)
    account = A
    common = {"account": account, "token": "app", "requester": "ann", "model": "", "model_requested": "gpt-4o",
              "status": 429, "outcome": "complete", "cost": Decimal(0), "cost_reason": "refused"}  # fmt: skip
    refused = [
        _row(now, **common, error_type="budget_exceeded"),
        _row(now, **common, error_type="budget_exceeded"),
        _row(now, **common | {"requester": ""}, error_type="rate_limit_exceeded"),
        _row(now, **common | {"cost_reason": "error"}, error_type="rate_limit_exceeded"),  # by the provider
        _row(now, **common | {"account": B, "token": "secret-b"}, error_type="budget_exceeded"),
    ]
    client = await clickhouse.connect(house[1].url("logger"), service="logger")
    try:
        assert not await insert.insert(client, refused)
        await rollup.refresh(client)
    finally:
        await client.close()
    browser = await dashboard.browser("viewer-a")
    for path in ("/limits", "/limits?period=7d"):
        found = await page(browser, path)
        rows = [row[:-2] for row in found.tables["refused"][1:]]
        assert rows == [["budget", "app", "ann", "gpt-4o", "2"], ["rate limit", "app", "(not set)", "gpt-4o", "1"]]
        for link, count in zip([one for one in found.links if "status=429" in one], (2, 1), strict=True):
            logs = await browser.get(link)
            assert logs.status == 200
            assert logs.text.count("<tr id=") == count, link
    everybody = await page(await dashboard.browser("viewer"))
    assert ["budget", B, "secret-b"] in [row[:3] for row in everybody.tables["refused"]]


def _row(at: datetime, **fields: Any) -> ResponseRow:
    return expected_usage.request(at, id=str(uuid.uuid4()), **fields)


# ---------- changes


async def test_a_limit_is_set_changed_and_deleted_with_a_record_of_each(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("admin-a")
    made = await browser.post(
        "/limits",
        FORM | {"name": "people", "amount": "1000.50", "currency": "eur", "requester": "*", "metadata": "team=blue",
                "period": "rolling", "days": "45", "mode": "strict", "provider": "openai", "model": "gpt-*"},
    )  # fmt: skip
    assert made.status == 200, made.text
    assert "Limit people of account team-a: EUR 1,000.50 in 45 days, strict" in made.text
    found = (await stored(dashboard))[f"{A}.people"]
    assert (found.amount, found.currency, found.rate, found.period, found.mode, found.timezone) == (
        Decimal("1000.50"), "EUR", Decimal("0.92"), "45d", "strict", "UTC",
    )  # fmt: skip
    assert found.scope == Scope(
        requester="*", provider="openai", model="gpt-*", metadata_key="team", metadata_value="blue"
    )
    form = await page(browser, f"/limits?edit=people&account={A}")
    assert [field(form, name) for name in ("name", "amount", "days", "rate", "metadata")] == [
        "people", "1000.5", "45", "0.92", "team=blue",
    ]  # fmt: skip
    assert '<option value="rolling" selected>' in form.html and "Change limit people" in form.html
    twice = await browser.post("/limits", FORM | {"name": "people"})
    assert twice.status == 422 and "already has a limit" in twice.text
    changed = await browser.post(
        "/limits", FORM | {"name": "people", "change": "people", "period": "week", "timezone": "Europe/Vienna"}
    )
    assert changed.status == 200
    assert msgspec.structs.asdict((await stored(dashboard))[f"{A}.people"])["timezone"] == "Europe/Vienna"
    assert (await browser.post("/limits/delete", {"account": A, "name": "people"})).status == 200
    assert await stored(dashboard) == {}
    assert (await browser.post("/limits/delete", {"account": A, "name": "people"})).status == 422
    records = [record for record in await audit.read(dashboard.control.js) if record.area == "limit"][:3]
    assert [(record.action, record.subject, record.account, record.by) for record in records] == [
        ("delete", "people", A, "admin-a"), ("set", "people", A, "admin-a"), ("set", "people", A, "admin-a"),
    ]  # fmt: skip
    assert records[2].details == {
        "limit": "EUR 1,000.50 in 45 days, strict",
        "covers": "each requester, provider openai, model gpt-*, team=blue",
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "Limit name"),
        ({"amount": "lots"}, "is not an amount"),
        ({"amount": "1,5"}, "is not an amount"),
        ({"amount": "0"}, "more than 0"),
        ({"measure": "euros"}, "is not one of"),
        ({"mode": "beg"}, "is not one of"),
        ({"period": "minute"}, "a budget has a period"),
        ({"period": "rolling", "days": "x"}, "unknown period"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"currency": "CHF"}, "no rate for CHF"),
        ({"currency": "CHF", "rate": "cheap"}, "is not a rate"),
        ({"metadata": "team"}, "metadata is KEY=VALUE"),
        ({"provider": "nobody"}, "unknown provider"),
        ({"token": "nobody"}, "no active token"),
    ],
)
async def test_an_invalid_limit_says_why_and_keeps_what_was_typed(
    dashboard: DashboardApp, fields: dict[str, str], reason: str
) -> None:
    browser = await dashboard.browser("admin")
    form = FORM | {"name": "kept-name", "requester": "kept <requester>", "amount": "12.5"} | fields
    answer = await browser.post("/limits", form)
    assert answer.status == 422
    found = Page(answer.text)
    (problem,) = (text for text in found.alerts.values())
    assert reason.casefold() in problem.casefold()
    assert "metrion " not in problem and "--" not in problem
    for name in ("name", "requester", "amount", "timezone", "days", "rate", "token", "metadata"):
        if form.get(name):
            assert field(found, name) == form[name].replace("<", "&lt;").replace(">", "&gt;"), name
    assert f'<option value="{form["period"]}" selected>' in answer.text
    assert '<details class="card one fold" id="set-limit" open>' in answer.text
    assert await stored(dashboard) == {}


# ---------- on Cost


async def test_cost_of_one_account_shows_its_budgets(dashboard: DashboardApp, house: House) -> None:
    budget = limit("team", currency="EUR", rate=Decimal("0.5"))
    daily = limit("daily", period="day", amount=Decimal(10))
    others = [limit("people", scope=Scope(requester="*")), limit("calls", measure="requests")]
    theirs = limit("theirs", B)
    for one in (budget, daily, *others, theirs):
        await limit_admin.put(dashboard.control.js, one)
    async with logger(house) as nc:
        await published_use.publish(nc, budget, [published_use.used(budget, 24 * BILLION)])
        await published_use.publish(nc, daily, [published_use.used(daily, 9 * BILLION)])
        await published_use.publish(nc, theirs, [published_use.used(theirs, 3 * BILLION)])
    confined = await dashboard.browser("viewer-a")
    found = re.findall(r'<p data-budget="(\w+)">(.*?)</p>', (await page(confined, "/cost?period=7d")).html)
    texts = [(name, " ".join(re.sub("<[^>]+>", " ", text).split())) for name, text in found]
    assert [name for name, _ in texts] == ["daily", "team"]
    assert texts[0][1].startswith("USD 9.00 of USD 10.00 a day · 90% nearly used up · daily · resets ")
    assert texts[1][1].startswith("EUR 12.00 of EUR 25.00 a month · 48% · team · resets ")
    everybody = await dashboard.browser("viewer")
    assert 'data-budget="theirs"' in (await page(everybody, f"/cost?period=30d&account={B}")).html
    for query in ("period=7d", f"account={A}&model=gpt-4o", f"account={A}&from=2026-10-20&to=2026-11-12"):
        assert "data-budget" not in (await page(everybody, f"/cost?{query}")).html, query


# ---------- on Keys


async def test_each_token_shows_the_limits_that_cover_it(dashboard: DashboardApp) -> None:
    each: dict[str, Any] = {"measure": "requests", "amount": Decimal(100), "period": "minute"}
    for one in (
        limit("each", **each, scope=Scope(token="*")),
        limit("own", **each | {"amount": Decimal(7)}, scope=Scope(token=f"token-of-{A}")),
        limit("people", scope=Scope(requester="*", model="gpt-*")),
        limit("team"),
        limit("theirs", B, amount=Decimal(333)),
    ):
        await limit_admin.put(dashboard.control.js, one)
    await accounts_admin.create_token(dashboard.control.js, account=A, name="second")
    browser = await dashboard.browser("viewer-a")
    answer = await browser.get("/keys")
    shown = {
        token: re.findall(r'class="line" href="([^"]*)">([^<]*)<', row)
        for token, row in re.findall(r'<tr><th scope="row">([^<]*)(.*?)</tr>', answer.text, re.DOTALL)
    }
    team = [("people", "USD 25.00 a month, each requester, model gpt-*"), ("team", "USD 25.00 a month, whole account")]
    expected = {
        f"token-of-{A}": [("own", "7 requests per minute"), *team],
        "second": [("each", "100 requests per minute"), *team],
    }
    for token, limits in expected.items():
        assert shown[token] == [(f"/limits?account={A}&amp;page=1#limit-{A}-{name}", text) for name, text in limits]
        for name, _ in limits:
            assert f'id="limit-{A}-{name}"' in (await browser.get(f"/limits?account={A}&page=1")).text
    assert "USD 333" not in answer.text


# ---------- who may


async def test_viewers_see_limits_and_no_form(dashboard: DashboardApp) -> None:
    await limit_admin.put(dashboard.control.js, limit("team"))
    for name in ("viewer", "viewer-a"):
        browser = await dashboard.browser(name)
        found = await page(browser)
        assert "USD 25.00 a month" in found.html
        assert 'method="post" action="/limits' not in found.html
        assert (await browser.post("/limits", FORM | {"name": "x"})).status == 403
        assert (await browser.post("/limits/delete", {"account": A, "name": "team"})).status == 403
    assert list(await stored(dashboard)) == [f"{A}.team"]


@pytest.mark.parametrize("name", ["viewer-a", "admin-a"])
async def test_user_of_one_account_cannot_see_or_change_limits_of_another_account(
    dashboard: DashboardApp, name: str
) -> None:
    await limit_admin.put(dashboard.control.js, limit("own"))
    await limit_admin.put(dashboard.control.js, limit("theirs", B))
    browser = await dashboard.browser(name)
    found = await page(browser)
    assert "limit-team-a-own" in found.html
    assert B not in found.html and "theirs" not in found.html
    for query in (f"account={B}", f"account={B}&edit=theirs"):
        answer = await browser.get(f"/limits?{query}")
        assert answer.status == 400 and "theirs" not in answer.text
    assert "Change limit" not in (await page(browser, "/limits?edit=theirs")).html
    for path, form in (
        ("/limits", FORM | {"account": B, "name": "planted"}),
        ("/limits", FORM | {"account": B, "name": "theirs", "change": "theirs", "amount": "1"}),
        ("/limits/delete", {"account": B, "name": "theirs"}),
    ):
        assert (await browser.post(path, form)).status == 403, path
    assert set(await stored(dashboard)) == {f"{A}.own", f"{B}.theirs"}
    assert (await stored(dashboard))[f"{B}.theirs"].amount == 25


async def test_another_site_sets_no_limit(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("admin")
    browser.origin = {"Origin": "http://evil.example"}
    assert (await browser.post("/limits", FORM | {"name": "planted"})).status == 403
    assert await stored(dashboard) == {}


async def test_with_nats_away_the_page_says_so_and_still_shows_what_was_refused(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with servers.nats_server(tmp_path_factory.mktemp("own")) as own:
        await dashboard_app.create_accounts(own)
        async with dashboard_app.running_dashboard(own.url("dashboard"), house[1].url("reader")) as alone:
            browser = await alone.browser("admin")
            assert (await browser.get("/limits")).status == 200
            own.kill()
            await alone.until_connected(is_connected=False)
            answer = await browser.get("/limits")
            assert answer.status == 503
            assert "unreachable" in answer.text
            assert "Refused requests" in answer.text
            assert (await browser.get(f"/cost?account={A}")).status == 200
            assert (await browser.post("/limits", FORM | {"name": "late"})).status == 503
