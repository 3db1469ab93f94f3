"""The analytics pages over a real ClickHouse: every number is what plain Python counts, whatever the zone, name or failure."""

import asyncio
import itertools
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp.test_utils import TestClient

from services.dashboard.charts import formats
from services.dashboard.queries import runner as asking
from services.dashboard.queries.runner import Query, QueryResult
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from shared import rollup
from tests.support import expected_usage, history, ports, sample_rows, servers
from tests.support.analytics_app import dashboard
from tests.support.definitions import cost, is_answered, is_cache_hit, is_error, is_estimated, model_name
from tests.support.page_markup import Page
from tests.support.query_runners import SparingRunner

ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York")
PAGES = ("/", "/cost", "/latency", "/errors", "/requesters")
COST_PAGES = ("/explore", "/changes", "/savings")
NEW_YORK_AUTUMN = {"from": "2026-10-28", "to": "2026-11-05"}  # the day of 25 hours is among them
AFTER = datetime(2026, 12, 1, tzinfo=UTC)
HEAVIEST = 150_000  # bytes of a page
HOSTILE = (
    "<b>bold</b>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202eevil\u202c",
    "nul\0nul",
    "日本" * 42,  # 252 bytes
    "a&b=c?d#e%00",
)
FILTERED = {  # page → its queries that the test of the filters looks at, besides the sums
    "/": (),
    "/cost": ("dashboard_unpriced",),
    "/errors": ("dashboard_series_by", "dashboard_errors_latest", "dashboard_logs_hours"),
    "/requesters": ("dashboard_requesters",),
}
SUMS = ("dashboard_settled", "dashboard_sums")
Rows = list[ResponseRow]
Known = tuple[str, str, Rows]  # ClickHouse's address, account, what it holds


@pytest.fixture(scope="module")
def known(database: servers.ClickHouseServer | servers.External) -> Known:
    """Some thousand made-up requests of one account, some of them recent, and a stranger's."""
    account, url = f"d{uuid.uuid4().hex[:12]}", database.url("logger")
    made = sample_rows.generate(20261102, account=account, count=2500)
    recent = [row for row in made if row.started_at.day in (2, 11)]
    summed = [row for row in made if row not in recent]
    asyncio.run(_store(url, [*summed, *sample_rows.generate(1, account=f"{account}-other", count=60)], recent))
    return url, account, sample_rows.newest(made)


async def _store(url: str, summed: Rows, recent: Rows) -> None:
    client = await client_module.connect(url, service="test")
    if summed:
        await history.store(client, summed)
    if recent:
        assert not await insert.insert(client, recent)
    await client.close()


async def get(client: TestClient[Any, Any], path: str, /, **query: Any) -> Page:
    async with client.get(f"{path}?{urlencode(query, doseq=True)}") as response:
        text = await response.text()
        assert response.status == 200, text
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert len(text.encode()) < HEAVIEST
    page = Page(text)
    assert all(source.startswith("/static/") for source in page.sources)
    return page


def tokens(rows: Iterable[ResponseRow]) -> int:
    return sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in rows)


def hits(rows: Rows) -> Rows:
    return [row for row in rows if is_cache_hit(row)]


def grouped(rows: Rows, key: Callable[[ResponseRow], str]) -> dict[str, Rows]:
    return {name: [row for row in rows if key(row) == name] for name in {key(row) for row in rows}}


def days(zone: ZoneInfo, first: str, last: str) -> list[datetime]:
    start, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return [(start + timedelta(days=day)).replace(tzinfo=zone) for day in range((end - start).days + 1)]


def charted(page: Page, name: str) -> dict[str, list[float]]:
    return {series: [value or 0 for value in values] for series, _, values in page.charts[name]["series"]}


def close(seen: Sequence[float], expected: Sequence[Any]) -> None:
    assert seen == pytest.approx([float(value or 0) for value in expected], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("tz", ZONES)
async def test_every_number_of_the_overview_is_the_sum_of_the_requests_in_the_viewers_days(
    known: Known, tz: str
) -> None:
    url, account, everything = known
    edges = days(ZoneInfo(tz), *NEW_YORK_AUTUMN.values())
    rows = sample_rows.within(everything, edges[0], edges[-1])
    before = sample_rows.within(everything, edges[0] - (edges[-1] - edges[0]), edges[0])
    if tz == "America/New_York":
        before = sample_rows.within(everything, *days(ZoneInfo(tz), "2026-10-20", "2026-10-28")[::8])
    async with dashboard(url) as client:
        page = await get(client, "/", account=account, tz=tz, **NEW_YORK_AUTUMN)
    errors = [row for row in rows if is_error(row)]
    saved = sum((row.cost_saved or Decimal(0) for row in hits(rows)), Decimal(0))
    assert page.tiles == page.tiles | {
        "requests": formats.count(len(rows)),
        "cost": formats.money(cost(rows)),
        "requesters": str(len({row.requester for row in rows})),
        "error-rate": formats.percent(len(errors) / len(rows) * 100),
        "tokens-sum": formats.count(tokens(rows)),
        "hits": formats.percent(len(hits(rows)) / len(rows) * 100),
        "saved": formats.money(saved),
    }
    unpriced = sum(row.cost is None for row in rows)
    estimated = sum(map(is_estimated, rows))
    assert f'data-unpriced="{unpriced}"' in page.html and f'data-estimated="{estimated}"' in page.html
    change = (len(rows) - len(before)) / len(before) * 100
    assert f"{abs(change):.1f}%" in page.html
    daily = [sample_rows.within(rows, *edge) for edge in itertools.pairwise(edges)]
    assert page.charts["cost"]["times"] == [edge.timestamp() for edge in edges[:-1]]
    for name, values in charted(page, "cost").items():
        close(values, [cost(row for row in day if model_name(row) == name) for day in daily])
    close(charted(page, "tokens")["Input"], [sum(row.input_tokens or 0 for row in day) for day in daily])
    close(charted(page, "tokens")["Output"], [sum(row.output_tokens or 0 for row in day) for day in daily])


async def test_costs_by_requester_match_the_requests(known: Known) -> None:
    url, account, everything = known
    zone = ZoneInfo("Asia/Kathmandu")
    start, end = days(zone, "2026-10-30", "2026-11-05")[::6]
    rows, before = (
        sample_rows.within(everything, start, end),
        sample_rows.within(everything, start - (end - start), start),
    )
    async with dashboard(url) as client:
        page = await get(
            client, "/requesters", account=account, tz=zone.key, **{"from": "2026-10-30", "to": "2026-11-05"}
        )
    found = page.rows("requesters")
    people, earlier = grouped(rows, lambda row: row.requester), grouped(before, lambda row: row.requester)
    assert set(found) == {name or "(not set)" for name in people}
    assert list(found) == sorted(found, key=lambda name: -(cost(people["" if name == "(not set)" else name]) or 0))
    for name, theirs in people.items():
        seen = found[name or "(not set)"]
        unpriced = sum(row.cost is None for row in theirs)
        estimated = any(map(is_estimated, theirs))
        money = f"{'≈ ' if estimated else ''}{formats.money(cost(theirs))}{f' +{unpriced}?' if unpriced else ''}"
        change = formats.change(cost(theirs), cost(earlier[name]) or Decimal(0))
        assert seen[1:] == [
            money,
            f"{'↑ up' if change > 0 else '↓ down'} {abs(change):.1f}%" if change is not None else "–",
            formats.percent(float(cost(theirs) or 0) / float(cost(rows) or 1) * 100),
            formats.count(len(theirs)),
            formats.count(tokens(theirs)),
            str(len({model_name(row) for row in theirs})),
            formats.percent(sum(map(is_error, theirs)) / len(theirs) * 100),
            formats.percent(len(hits(theirs)) / len(theirs) * 100),
            formats.money(sum((row.cost_saved or Decimal(0) for row in theirs), Decimal(0))),
            seen[10],
            formats.day_and_minute(max(row.started_at for row in theirs), zone),
            "Logs →",
        ]  # fmt: skip
    logs = f"/logs?account={account}&tz=Asia%2FKathmandu&from=2026-10-30&to=2026-11-05&requester=bob"
    assert logs in page.links


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (
            {"requester": ["ann", "bob"], "provider": ["openai", "grok"], "exclude": "provider"},
            lambda row: row.requester in ("ann", "bob") and row.provider not in ("openai", "grok"),
        ),
        ({"client": ["codex_exec", "claude-cli"]}, lambda row: row.client in ("codex_exec", "claude-cli")),
        ({"requester": "ann"}, lambda row: row.requester == "ann"),
        ({"without": "requester"}, lambda row: row.requester == ""),
        ({"model": "gpt-4o"}, lambda row: model_name(row) == "gpt-4o"),
        ({"provider": "grok", "token": "ci"}, lambda row: (row.provider, row.token) == ("grok", "ci")),
        ({"status": "ok"}, lambda row: 200 <= row.status < 400 and not is_error(row)),
        ({"status": "failed"}, is_error),
        ({"outcome": "upstream_closed"}, lambda row: row.outcome == "upstream_closed"),
        ({"status": "429"}, lambda row: row.status == 429),
        ({"status": "interrupted"}, lambda row: row.status == 0),
        ({"cache": "yes"}, lambda row: row.cache == "HIT"),
        ({"cache": "no", "requester": "bob"}, lambda row: row.cache != "HIT" and row.requester == "bob"),
        ({"cost": "unknown"}, lambda row: row.cost is None),
        ({"cost": "estimated"}, is_estimated),
        ({"meta": "project=apollo"}, lambda row: row.metadata.get("project") == "apollo"),
        (
            {"meta": "env=prod", "requester": "=eve"},
            lambda row: row.metadata.get("env") == "prod" and row.requester == "=eve",
        ),
        ({"client": "codex_exec"}, lambda row: row.client == "codex_exec"),
        ({"agent": "cli", "session": "Zoë-11-01"}, lambda row: (row.agent, row.session) == ("cli", "Zoë-11-01")),
        ({"connection": "bob-11-01"}, lambda row: row.connection == "bob-11-01"),
        ({"billing": "subscription", "agent": "cli"}, lambda row: (row.billing, row.agent) == ("subscription", "cli")),
        ({"meta": "project="}, lambda row: row.metadata.get("project") == ""),
        ({"provider": "openai", "exclude": "provider"}, lambda row: row.provider != "openai"),
        ({"without": "requester", "exclude": "requester"}, lambda row: row.requester != ""),
        (
            {"meta": "project=apollo", "outcome": "complete", "exclude": "meta,outcome"},
            lambda row: row.metadata.get("project") != "apollo" and row.outcome != "complete",
        ),
        (
            {"client": "codex_exec", "requester": "bob", "model": "no model", "exclude": "client,model"},
            lambda row: row.client != "codex_exec" and row.requester == "bob",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "rows",  # a function's address differs by process
)
async def test_every_filter_keeps_its_rows_on_every_page(
    known: Known, query: dict[str, Any], kept: Callable[[ResponseRow], bool]
) -> None:
    url, account, everything = known
    start, end = days(ZoneInfo("UTC"), *NEW_YORK_AUTUMN.values())[::8]
    rows = [row for row in sample_rows.within(everything, start, end) if kept(row)]
    pages, asked = dict[str, Page](), SparingRunner(url, results={})
    async with dashboard(url, asked=asked) as client:
        for path, more in FILTERED.items():
            asked.only = {*SUMS, *more}
            pages[path] = await get(client, path, account=account, **NEW_YORK_AUTUMN, **query)
    errors = [row for row in rows if is_error(row)]
    assert pages["/"].tiles["requests"] == pages["/errors"].tiles["requests"] == formats.count(len(rows))
    assert pages["/cost"].tiles["cost"] == formats.money(cost(rows) if rows else 0)
    assert pages["/errors"].tiles["errors"] == formats.count(len(errors))
    if rows:
        assert sum(map(sum, charted(pages["/errors"], "errors-over-time").values())) == len(errors)
    else:
        assert "No requests in this period." in pages["/errors"].html
    assert len(pages["/errors"].tables.get("latest", [])[1:]) == min(50, len(errors))
    unpriced = sum(int(row[3].replace(",", "")) for row in pages["/cost"].tables.get("unpriced", [])[1:])
    assert unpriced == sum(row.cost is None for row in rows)
    people = pages["/requesters"].tables.get("requesters", [])[1:]
    assert {row[0] for row in people} == {row.requester or "(not set)" for row in rows}


async def test_latency_is_that_of_complete_responses_from_the_provider(known: Known) -> None:
    url, account, everything = known
    start, end = days(ZoneInfo("UTC"), *NEW_YORK_AUTUMN.values())[::8]
    answered = [row for row in sample_rows.within(everything, start, end) if is_answered(row)]
    times = sorted(row.latency_ms for row in answered)
    async with dashboard(url) as client:
        page = await get(client, "/latency", account=account, **NEW_YORK_AUTUMN)
    assert page.tiles["mean"] == formats.duration(sum(times) / len(times))
    for number, share in enumerate((0.5, 0.95, 0.99)):  # a digest: within 2 % of the exact value
        seen = float(page.tiles[f"latency-{number}"].removesuffix(" s"))
        assert seen * 1000 == pytest.approx(times[int(len(times) * share)], rel=0.02)
    bytes_ = [row.ttfb_ms for row in answered if row.ttfb_ms is not None]
    assert page.tiles["first-byte-mean"] == formats.duration(sum(bytes_) / len(bytes_))


async def test_a_period_that_still_runs_is_compared_with_as_much_of_the_one_before(known: Known) -> None:
    url, account, everything = known
    week = timedelta(days=7)
    recent = [row.started_at for row in everything if row.started_at < datetime(2026, 10, 29, tzinfo=UTC)]
    now = max(at for at in recent if at.minute % 15).replace(microsecond=0) + week + timedelta(seconds=1)
    start = now.replace(hour=0, minute=0, second=0) - timedelta(days=6)
    passed = sample_rows.within(everything, start, start + week)  # all that has come
    before = sample_rows.within(
        everything, start - week, now - week
    )  # with a request of the quarter hour that it ends in
    async with dashboard(url, now=now) as client:
        page = await get(client, "/", account=account, period="7d")
    assert page.tiles["requests"] == formats.count(len(passed))
    change = (len(passed) - len(before)) / len(before) * 100
    tile = page.html[page.html.index('id="tile-requests"') : page.html.index('id="tile-cost"')]
    assert (
        f"from {formats.count(len(before))}" in tile
        and f"{abs(change):.1f}%" in tile
        and ("↑" if change > 0 else "↓") in tile
    )
    assert 'class="now"' in page.html and 'data-live="1"' in page.html


async def test_a_comparison_that_ends_within_a_quarter_hour_without_late_requests_is_exact(known: Known) -> None:
    url, _, _ = known
    account, now = uuid.uuid4().hex, datetime(2026, 3, 17, 12, 8, tzinfo=UTC)
    end = now - timedelta(days=7)
    moments = {end - timedelta(seconds=30): 2, end + timedelta(seconds=30): 100, now - timedelta(hours=1): 7}
    client = await client_module.connect(url, service="test")
    await history.store(
        client, [expected_usage.request(at, account=account, cost=Decimal(spent)) for at, spent in moments.items()]
    )
    await client.close()
    async with dashboard(url, now=now) as browser:
        overview = await get(browser, "/", account=account, period="7d")
        changes = await get(browser, "/changes", account=account, period="7d")
    tile = overview.html[overview.html.index('id="tile-requests"') : overview.html.index('id="tile-cost"')]
    assert "from 1 " in tile.replace("<", " ")
    assert changes.rows("split")["All"][0] == "+$5.00"
    assert [row[3:5] for row in changes.tables["movers"][1:]] == [["$2.00", "$7.00"]]


async def test_costs_can_be_seen_in_euros_and_the_rate_is_shown(known: Known) -> None:
    url, account, everything = known
    start, end = days(ZoneInfo("UTC"), *NEW_YORK_AUTUMN.values())[::8]
    async with dashboard(url) as client:
        page = await get(client, "/cost", account=account, currency="EUR", **NEW_YORK_AUTUMN)
        async with client.get("/cost?currency=CHF") as response:
            assert response.status == 400
    total = cost(sample_rows.within(everything, start, end))
    assert total and page.tiles["cost"] == formats.money(total * Decimal("0.92"), "€")
    assert "1 USD = 0.92 EUR" in page.html


async def test_names_from_clients_are_text_on_every_page_and_can_be_filtered_by(
    database: servers.ClickHouseServer | servers.External,
) -> None:
    account = f"d{uuid.uuid4().hex[:12]}"
    plain = sample_rows.newest(sample_rows.generate(7, account=account, count=len(HOSTILE)))[: len(HOSTILE)]
    made = [
        msgspec.structs.replace(
            row,
            requester=name,
            model=name,
            token=name,
            error_type=name,
            error_message=name,
            status=500,
            outcome="complete",
        )
        for row, name in zip(plain, HOSTILE, strict=True)
    ]
    await _store(database.url("logger"), made, [])
    query = {"account": account, "from": "2026-10-20", "to": "2026-11-12"}
    async with dashboard(database.url("logger")) as client:
        for path in (*PAGES, *COST_PAGES):
            page = await get(client, path, **query)
            for name in HOSTILE[:3]:
                assert name not in page.html
        page = await get(client, "/requesters", **query)
        shown = {name: " ".join(name.replace("\0", "\N{REPLACEMENT CHARACTER}").split()) for name in HOSTILE}
        assert set(page.rows("requesters")) == set(shown.values())
    listing = SparingRunner(database.url("logger"), only={*SUMS, "dashboard_requesters"})
    async with dashboard(database.url("logger"), asked=listing) as client:
        for name in HOSTILE:
            one = await get(client, "/requesters", **query, requester=name)
            assert list(one.rows("requesters")) == [shown[name]], ascii(name)
            assert any(f"requester={quote(name, safe='')}" in link.replace("+", "%20") for link in page.links)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_without_any_request_says_so(known: Known, path: str) -> None:
    async with dashboard(known[0]) as client:
        page = await get(client, path, account="nobody")
    assert "No requests in this period." in page.html
    assert not page.alerts


async def test_filters_are_the_same_fields_before_and_after_the_rollup_knows_the_names(known: Known) -> None:
    account = f"d{uuid.uuid4().hex[:12]}"
    client = await client_module.connect(known[0], service="test")
    assert not await insert.insert(client, sample_rows.generate(3, account=account, count=50))
    async with dashboard(known[0]) as served:
        page = await get(served, "/", account=account, **NEW_YORK_AUTUMN)
        before = re.findall(r'<(?:input|select) name="(?:provider|model|token)"', page.html)
        assert len(before) == 3 and '<datalist id="models"></datalist>' in page.html
        await rollup.refresh(client)
        async with asyncio.timeout(servers.DEADLINE):  # a page waits for names only briefly
            while '<datalist id="models"></datalist>' in page.html:
                page = await get(served, "/", account=account, **NEW_YORK_AUTUMN)
        assert re.findall(r'<(?:input|select) name="(?:provider|model|token)"', page.html) == before
    await client.close()


async def test_a_requester_was_last_seen_at_the_last_request_also_when_only_sums_of_days_are_read(known: Known) -> None:
    account = f"d{uuid.uuid4().hex[:12]}"
    last = datetime(2026, 10, 29, 17, 42, 11, tzinfo=UTC)
    batch = [
        expected_usage.request(at, account=account, token="bot", requester=name, cost_by_class={})
        for name, at in (("ann", last), ("ann", last - timedelta(hours=9)), ("bob", last - timedelta(days=1)))
    ]
    client = await client_module.connect(known[0], service="test")
    await expected_usage.insert(client, batch, ingested_at=datetime(2026, 1, 1, tzinfo=UTC))
    await rollup.backfill(client, since=last - timedelta(days=2), until=last + timedelta(days=1))
    if (await rollup.state(client)).narrowed == rollup.NEVER:
        await rollup.refresh(client)
    async with dashboard(known[0]) as served:
        page = await get(served, "/requesters", account=account, tz="America/New_York", **NEW_YORK_AUTUMN)
    head, *lines = next(table for table in page.tables.values() if "Last seen" in table[0])
    seen = {line[0]: line[head.index("Last seen")] for line in lines}
    zone = ZoneInfo("America/New_York")
    assert seen == {
        "ann": formats.day_and_minute(last, zone),
        "bob": formats.day_and_minute(last - timedelta(days=1), zone),
    }
    await client.close()


class Failing(SparingRunner):
    """Runs all queries but one, which fails."""

    def __init__(self, url: str, broken: str, results: dict[str, QueryResult]) -> None:
        super().__init__(url, results=results)
        self.broken = broken
        self.asked: list[str] = []

    async def run(self, query: Query) -> QueryResult:
        self.asked.append(query.name)
        return QueryResult([], "Too slow.") if query.name == self.broken else await super().run(query)


@pytest.mark.parametrize("path", PAGES)
async def test_a_panel_that_fails_says_so_alone(known: Known, path: str) -> None:
    url, account, _ = known
    results: dict[str, QueryResult] = {}
    listening = Failing(url, "", results)
    async with dashboard(url, asked=listening) as client:
        whole = await get(client, path, account=account, **NEW_YORK_AUTUMN)
    for broken in sorted(set(listening.asked)):
        async with dashboard(url, asked=Failing(url, broken, results)) as client:
            page = await get(client, path, account=account, **NEW_YORK_AUTUMN)
        if broken in ("dashboard_options", "dashboard_logs_hours", "dashboard_settled"):  # there is another way
            assert not page.alerts
            exact = whole.tables.keys() - {"p95-by"}  # a digest of digests: near the one of the requests
            assert broken == "dashboard_options" or all(page.tables[name] == whole.tables[name] for name in exact)
            continue
        assert "Too slow." in page.html
        still = [name for name in whole.charts if name in page.charts and page.charts[name] == whole.charts[name]]
        tables = [name for name in whole.tables if page.tables.get(name)]
        assert still or tables or path == "/latency"


@pytest.mark.parametrize("path", (*PAGES, *COST_PAGES))
async def test_with_clickhouse_down_every_page_is_there_and_says_why_it_is_empty(path: str) -> None:
    async with dashboard(f"http://reader:x@127.0.0.1:{ports.free_port()}") as client:
        page = await get(client, path)
        assert page.alerts and set(page.alerts.values()) == {"ClickHouse is unreachable."}
        assert not page.charts
        async with client.get("/poll") as response:
            assert response.status == 503


async def test_invalid_url_gets_a_page_that_states_the_error(known: Known) -> None:
    async with dashboard(known[0]) as client:
        for path, status, words in (
            ("/?period=3x", 400, "Invalid period. Use"),
            ("/nowhere", 404, "Page not found"),
        ):
            async with client.get(path) as response:
                assert response.status == status and words in await response.text()
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_page_loads_only_files_that_the_dashboard_serves(known: Known) -> None:
    async with dashboard(known[0]) as client:
        page = await get(client, "/", account="nobody")
        for source in page.sources:
            async with client.get(source) as response:
                assert response.status == 200
        async with client.get("/poll") as response:
            assert re.fullmatch(r"\d+", await response.text())


def test_every_dashboard_query_has_parameters() -> None:
    files = sorted(path.stem for path in Path(client_module.QUERIES).glob("dashboard_*.sql"))
    assert len(files) >= 10
    assert [name for name in files if not asking.names(client_module.text(name))] == ["dashboard_settled"]


async def test_long_table_says_that_it_is_cut(known: Known) -> None:
    url, account = known[0], f"m{uuid.uuid4().hex[:12]}"
    made = [
        msgspec.structs.replace(row, model=f"model-{number:03}", model_requested=f"model-{number:03}")
        for number, row in enumerate(sample_rows.newest(sample_rows.generate(2, account=account, count=60))[:60])
    ]
    await _store(url, [], made)
    async with dashboard(url) as client:
        query = {"account": account, "from": "2026-01-01", "to": "2026-11-30"}
        async with client.get(f"/cost?{urlencode(query)}") as response:
            text = await response.text()
        async with client.get(f"/cost?{urlencode(query | {'model': 'model-001'})}") as response:
            short = await response.text()
    assert "50 of 60, by cost; totals include all." in text
    assert "totals include all" not in short


async def test_headings_sort_the_tables_of_latency_cost_and_errors(known: Known) -> None:
    url, account, everything = known
    start, end = days(ZoneInfo("UTC"), *NEW_YORK_AUTUMN.values())[::8]
    rows = sample_rows.within(everything, start, end)
    failed = grouped([row for row in rows if is_error(row)], model_name)
    rates = {model: len(errors) / sum(model_name(row) == model for row in rows) for model, errors in failed.items()}
    answered = grouped([row for row in rows if is_answered(row)], model_name)
    async with dashboard(url) as client:
        query = {"account": account, **NEW_YORK_AUTUMN}
        latency = await get(client, "/latency", sort="models.mean", **query)
        errors = await get(client, "/errors", sort="models.rate", **query)
        cost_page = await get(client, "/cost", sort="models.output", **query)
        kinds = {link for link in errors.links if link.startswith("/logs?") and "&q=" in link}
        async with client.get(sorted(kinds)[0]) as response:
            logs = await response.text()
    means = {model: sum(row.latency_ms for row in answers) / len(answers) for model, answers in answered.items()}
    shown = [row[0] for row in latency.tables["models"][1:] if row[3] != "–"]
    assert [means[model] for model in shown] == sorted(means.values(), reverse=True)
    assert [rates[row[0]] for row in errors.tables["models"][1:9]] == sorted(rates.values(), reverse=True)[:8]
    outputs = [
        sum(row.output_tokens or 0 for row in rows if model_name(row) == line[0])
        for line in cost_page.tables["models"][1:]
    ]
    assert outputs == sorted(outputs, reverse=True)
    for page in (latency, errors, cost_page):
        assert page.html.count('aria-sort="descending"') >= 2  # each table says how it is sorted
    assert 'id="log"' in logs and 'class="code s' in logs
    charted_models = charted(latency, "p95-by")
    assert set(charted_models) <= set(means) and len(charted_models) == min(8, len(means))
