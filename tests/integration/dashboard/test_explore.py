"""Explore over a real ClickHouse: every figure of page and file is what plain Python counts, in any zone and from any source."""

import asyncio
import csv
import io
import itertools
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp.test_utils import TestClient

from services.dashboard.pages import explore
from services.dashboard.queries import joint_source
from services.dashboard.queries.runner import QueryRunner
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse, rollup_days
from tests.support import history, page_markup, sample_rows, servers
from tests.support.analytics_app import dashboard
from tests.support.definitions import cost, is_answered, is_cache_hit, is_error, model_name
from tests.support.expected_usage import request
from tests.support.query_runners import SparingRunner

ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York")
PERIOD = {"from": "2026-10-28", "to": "2026-11-05"}  # New York's day of 25 hours is among them
TOP = 5
COLUMNS = 8
COUNTING = {  # queries of the pivot and of the number of requests in Logs
    "dashboard_settled", "dashboard_days", "dashboard_metadata_keys", "dashboard_pivot", "dashboard_logs_histogram",
}  # fmt: skip
Rows = list[ResponseRow]
Known = tuple[str, str, Rows]  # ClickHouse's address, account, its requests

NAMES: dict[str, Callable[[ResponseRow], str]] = {
    "requester": lambda row: row.requester,
    "model": model_name,
    "provider": lambda row: row.provider,
    "account": lambda row: row.account,
    "token": lambda row: row.token,
    "endpoint": lambda row: row.endpoint,
    "status": lambda row: str(row.status),
    "outcome": lambda row: row.outcome,
    "cache": lambda row: "yes" if is_cache_hit(row) else "no",
    "client": lambda row: row.client,
    "agent": lambda row: row.agent,
    "session": lambda row: row.session,
    "meta:project": lambda row: row.metadata.get("project", ""),
    "meta:env": lambda row: row.metadata.get("env", ""),
}


@pytest.fixture(scope="module")
def known(database: servers.ClickHouseServer | servers.External) -> Known:
    """Requests of one account, days among them that were summed up, some of them with later requests; and a stranger's."""
    account, url = f"x{uuid.uuid4().hex[:12]}", database.url("logger")
    made = sample_rows.generate(20261129, account=account, count=1500)
    late = [row for row in made if row.started_at.day in (30, 2)][::3]
    asyncio.run(_store(url, [row for row in made if row not in late], late, account))
    return url, account, sample_rows.newest([*(row for row in made if row not in late), *late])


async def _store(url: str, early: Rows, late: Rows, account: str) -> None:
    client = await clickhouse.connect(url, service="test")
    others = sample_rows.generate(int(account[1:8], 16), account=f"{account}-other", count=60)
    await history.store(client, [*early, *others])
    assert not await insert.insert(client, late)
    await client.close()


async def pivoted(client: TestClient[Any, Any], /, **query: str) -> tuple[list[str], dict[str, list[str]]]:
    """The head of a pivot's file, and its lines by their name."""
    async with client.get(f"/explore.csv?{urlencode(query)}") as response:
        text = await response.text()
        assert response.status == 200, text
    head, *lines = csv.reader(io.StringIO(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")))
    return head, {line[0].removeprefix("'"): line[1:] for line in lines}


def tokens(rows: Iterable[ResponseRow]) -> int:
    return sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in rows)


def ranked(rows: Rows, name: Callable[[ResponseRow], str], weight: Callable[[Rows], Any], most: int) -> list[str]:
    groups: dict[str, Rows] = defaultdict(list)
    for row in rows:
        groups[name(row)].append(row)
    return sorted(groups, key=lambda one: (-(weight(groups[one]) or 0), one))[:most]


def placed(name: Callable[[ResponseRow], str], listed: list[str]) -> Callable[[ResponseRow], str]:
    return lambda row: found if (found := name(row)) in listed else "Other"


async def check(known: Known, tz: str, rows: str, columns: str, measure: str, **more: str) -> None:
    url, account, everything = known
    zone = ZoneInfo(tz)
    since, until = (datetime.fromisoformat(PERIOD[edge]).replace(tzinfo=zone) for edge in ("from", "to"))
    kept = sample_rows.within(everything, since, until)
    for filtered, wanted in more.items():
        kept = [row for row in kept if NAMES[filtered](row) == wanted]
    query = {"account": account, "tz": tz, "rows": rows, "columns": columns, "measure": measure, "top": str(TOP)}
    async with dashboard(url) as client:
        head, lines = await pivoted(client, **query, **PERIOD, **more)
    value, weight = FIGURES[measure]
    of_row, of_column = NAMES[rows], NAMES.get(columns, lambda _: "")
    counted = [row for row in kept if measure not in OF_ANSWERED or is_answered(row)]
    row_names, column_names = ranked(counted, of_row, weight, TOP), ranked(counted, of_column, weight, COLUMNS)
    row_place, column_place = placed(of_row, row_names), placed(of_column, column_names)
    cells: dict[tuple[str, str], Rows] = defaultdict(list)
    for row in counted:
        for key in itertools.product((row_place(row), "Total"), (column_place(row), "Total")):
            cells[key].append(row)
    assert set(lines) == {name for name, _ in cells}
    assert list(lines)[: len(row_names)] == row_names
    shown = [one.removeprefix("'") for one in head[1:]]
    if columns:
        assert shown[: len(column_names)] == column_names
    places = [*([name for name in shown if name in {*column_names, "Other"}] if columns else []), "Total"]
    for name, figures in lines.items():
        for place, figure in zip(places, figures, strict=False):
            found = cells.get((name, place))
            assert_same(figure, value(found) if found else None, measure)


OF_ANSWERED = {"latency_mean", "latency_p95", "first_byte_p95"}


def percentile(values: list[int], share: float) -> tuple[int, int] | None:
    """The values between which a digest must find it."""
    if not values:
        return None
    ordered, at = sorted(values), int(share * len(values))
    return ordered[max(0, at - 2)], ordered[min(len(ordered) - 1, at + 2)]


FIGURES: dict[str, tuple[Callable[[Rows], Any], Callable[[Rows], Any]]] = {
    "cost": (cost, cost),
    "requests": (len, len),
    "tokens": (tokens, tokens),
    "cache_read_tokens": ((lambda rows: sum(row.cache_read_tokens for row in rows)),) * 2,
    "errors": ((lambda rows: sum(map(is_error, rows))),) * 2,
    "error_rate": (lambda rows: 100 * sum(map(is_error, rows)) / len(rows), len),
    "hit_rate": (lambda rows: 100 * sum(map(is_cache_hit, rows)) / len(rows), len),
    "unpriced": ((lambda rows: sum(row.cost is None for row in rows)),) * 2,
    "cost_mean": (
        lambda rows: None if (total := cost(rows)) is None else total / sum(row.cost is not None for row in rows),
        len,
    ),
    "saved": (
        (lambda rows: sum((row.cost_saved for row in rows if row.cost_saved is not None), Decimal(0))),
    ) * 2,
    "latency_mean": (lambda rows: sum(row.latency_ms for row in rows) / len(rows), len),
    "latency_p95": (lambda rows: percentile([row.latency_ms for row in rows], 0.95), len),
    "first_byte_p95": (lambda rows: percentile([row.ttfb_ms for row in rows if row.ttfb_ms is not None], 0.95), len),
}  # fmt: skip


def assert_same(figure: str, expected: Any, measure: str) -> None:
    if expected is None:
        assert figure in ("", "nan"), figure
    elif isinstance(expected, tuple):
        assert expected[0] <= float(figure) <= expected[1], (figure, expected)
    elif isinstance(expected, Decimal) and measure != "cost_mean":
        assert Decimal(figure or 0) == expected
    else:
        assert float(figure) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("tz", ZONES)
async def test_every_figure_of_a_pivot_is_that_of_its_requests_in_the_viewers_days(known: Known, tz: str) -> None:
    for rows, columns, measure in (
        ("meta:project", "requester", "cost"),  # from the sums of days
        ("requester", "model", "tokens"),
        ("client", "meta:env", "cost_mean"),
        ("endpoint", "cache", "saved"),
        ("model", "status", "error_rate"),  # from the sums of quarter hours
        ("token", "cache", "hit_rate"),
        ("requester", "", "cost"),  # from those of requesters
        ("provider", "model", "latency_p95"),
        ("session", "agent", "requests"),  # from the requests
        ("meta:env", "", "first_byte_p95"),
    ):
        await check(known, tz, rows, columns, measure)


@pytest.mark.parametrize("measure", FIGURES)
async def test_every_measure_is_exact_by_metadata_and_requester(known: Known, measure: str) -> None:
    await check(known, "Asia/Kathmandu", "requester", "meta:project", measure)


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("time", ["day", "hour"])
async def test_pivot_by_days_and_hours_is_in_the_order_of_time(known: Known, tz: str, time: str) -> None:
    url, account, everything = known
    zone = ZoneInfo(tz)
    period = PERIOD if time == "day" else {"from": "2026-10-31T05:15", "to": "2026-11-02T09:45"}
    since, until = (datetime.fromisoformat(period[edge]).replace(tzinfo=zone) for edge in ("from", "to"))
    kept = sample_rows.within(everything, since, until)

    def start(row: ResponseRow) -> datetime:
        local = row.started_at.astimezone(zone).replace(minute=0, second=0, microsecond=0)
        return local.replace(hour=0, fold=0) if time == "day" else local

    def name_of(row: ResponseRow) -> str:
        return f"{start(row):%Y-%m-%d}" if time == "day" else start(row).isoformat(timespec="minutes")

    names = list(dict.fromkeys(name_of(row) for row in sorted(kept, key=lambda row: row.started_at)))
    query = {"account": account, "tz": tz, "rows": time, "measure": "cost", **period}
    async with dashboard(url) as client:
        for columns in ("model", "meta:project"):
            _, lines = await pivoted(client, **query, columns=columns)
            assert list(lines) == [*names, "Total"]
            for name, figures in lines.items():
                of = [row for row in kept if name in ("Total", name_of(row))]
                assert_same(figures[-2], cost(of), "cost")
                assert int(figures[-1]) == sum(row.cost is None for row in of)


async def test_filters_apply_and_the_link_of_a_cell_lists_its_requests(known: Known) -> None:
    url, account, _ = known
    for filters in (
        {"client": "codex_exec"},
        {"model": "gpt-4o", "token": "ci"},
        {"endpoint": "POST /v1/chat/completions"},
    ):
        await check(known, "Asia/Kolkata", "requester", "meta:project", "requests", **filters)
    query = {"account": account, "measure": "requests", **PERIOD}
    async with dashboard(url, asked=SparingRunner(url, only=COUNTING, results={})) as client:
        for rows, columns in (
            ("requester", "meta:project"),
            ("client", "status"),
            ("day", "cache"),
            ("outcome", "agent"),
        ):
            async with client.get(f"/explore?{urlencode(query | {'rows': rows, 'columns': columns})}") as response:
                page = page_markup.Page(await response.text())
                assert response.status == 200
            cells = page.tables["pivot"]
            links = [link for link in page.links if link.startswith("/logs?") and "account=" in link]
            chosen = links[len(cells[0]) + 3 : len(cells[0]) + 6] + links[-3:]
            assert chosen
            for link in chosen:
                assert not {"rows", "columns", "measure", "top"} & dict(parse_qsl(urlsplit(link).query)).keys()
                async with client.get(link) as response:
                    logs = await response.text()
                    assert response.status == 200
                count = logs[logs.index('id="sums"') :].split("<b>", 1)[1].split("</b>")[0]
                assert f'<a href="{link.replace("&", "&amp;")}">{count}</a>' in page.html, link


async def test_page_shows_the_figures_of_its_file(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "KEYS_TIMEOUT", servers.DEADLINE)
    url, account, _ = known
    query = {
        "account": account,
        "rows": "requester",
        "columns": "meta:project",
        "measure": "requests",
        "top": "5",
        **PERIOD,
    }
    async with dashboard(url) as client:
        _, lines = await pivoted(client, **query)
        async with client.get(f"/explore?{urlencode(query)}") as response:
            page = page_markup.Page(await response.text())
        async with client.get(f"/explore?{urlencode({'account': account, 'period': '7d'})}") as response:
            assert 'data-live="0"' in await response.text(), "its queries would run again with each request"
    shown = {row[0]: row[1:] for row in page.tables["pivot"] if row[0] in {*lines, "(not set)"}}
    assert shown["Total"] == [one or "–" for one in lines["Total"]]
    assert {name or "(not set)" for name in lines} == set(shown)
    assert '<option value="meta:env">' in page.html


async def test_keys_of_all_requests_of_the_account_are_offered_however_late(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore, "KEYS_TIMEOUT", servers.DEADLINE)
    account, now = uuid.uuid4().hex, datetime.now(UTC)
    summed = now - timedelta(days=5)
    client = await clickhouse.connect(known[0], service="test")
    await history.store(client, [request(summed, account=account, metadata={"summed": "x"})])
    late = [
        request(summed, account=account, metadata={"late": "x"}),
        request(now - timedelta(seconds=5), account=account, metadata={"fresh": "x", "blank": ""}),
        request(now - timedelta(days=40), account=account, metadata={"old": "x"}),
        request(summed, account=f"{account}-other", metadata={"foreign": "x"}),
    ]
    assert not await insert.insert(client, late)
    await client.close()
    shown = urlencode({"account": account, "period": "7d"})
    async with dashboard(known[0], now=now) as browser, browser.get(f"/explore?{shown}") as response:
        page = await response.text()
    assert set(re.findall(r'<option value="meta:(\w+)"', page)) == {"summed", "late", "fresh", "blank"}


async def test_pivot_of_an_account_has_no_requests_of_another(known: Known) -> None:
    url, account, everything = known
    async with dashboard(url) as client:
        query = {"rows": "account", "columns": "meta:project", "measure": "requests", "account": account, **PERIOD}
        _, lines = await pivoted(client, **query)
        assert set(lines) == {account, "Total"}
        assert int(lines["Total"][-1]) == len(sample_rows.within(everything, *days_of(PERIOD)))
        async with client.get("/explore?rows=account&account=nobody") as response:
            assert "No requests in this period." in await response.text()


def days_of(period: dict[str, str]) -> tuple[datetime, datetime]:
    since, until = (datetime.fromisoformat(period[edge]).replace(tzinfo=UTC) for edge in ("from", "to"))
    return since, until


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"rows": "moon"}, "Unknown dimension."),
        ({"rows": "meta:"}, "Unknown dimension."),
        ({"measure": "beauty"}, "Unknown measure."),
        ({"rows": "model", "columns": "day"}, "Choose days and hours as rows."),
        ({"rows": "hour", "period": "30d"}, "need a shorter period"),
        ({"top": "1000"}, "Invalid top."),
    ],
)
async def test_an_invalid_pivot_is_a_bad_request_with_its_reason(
    known: Known, query: dict[str, str], words: str
) -> None:
    async with dashboard(known[0]) as client:
        for path in ("/explore", "/explore.csv"):
            async with client.get(f"{path}?{urlencode(query)}") as response:
                assert response.status == 400 and words in await response.text()


async def test_days_are_summed_up_once_over_and_read_from_the_requests_while_touched(
    known: Known, database: servers.ClickHouseServer | servers.External
) -> None:
    runner = QueryRunner(database.url("logger"), seconds=servers.DEADLINE)
    days = await joint_source.summed_days(runner)
    await runner.close()
    assert days is not None
    assert datetime(2026, 10, 30, tzinfo=UTC) in days.touched or datetime(2026, 11, 2, tzinfo=UTC) in days.touched
    assert days.first <= sample_rows.START and days.until <= datetime.now(UTC) - timedelta(hours=2)
    assert msgspec.structs.replace(days, touched=()).until.hour == 0


async def test_days_with_late_requests_are_found_without_reading_all_requests(known: Known) -> None:
    client = await clickhouse.connect(known[0], service="test")
    await client.command(
        """INSERT INTO metrion.response_events (id, account, started_at, ingested_at)
        SELECT generateUUIDv7(), 'unread', toDateTime64('2026-11-01 12:00:00', 6, 'UTC'), now64(3) - INTERVAL 2 DAY FROM numbers(30000)"""
    )
    ((stored,),) = (await client.query("SELECT count() FROM metrion.response_events")).result_rows
    answer = await client.query(
        clickhouse.text("dashboard_days"), parameters={"settling": int(rollup_days.SETTLING.total_seconds())}
    )
    await client.close()
    assert answer.result_rows
    assert int(answer.summary["read_rows"]) < stored - 10_000, "the index of storing times leaves out whole granules"
