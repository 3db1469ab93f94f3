"""Pages of the tab Cost: changes, accounts, statement, savings, forecast and marks are what plain Python computes."""

import asyncio
import csv
import io
import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp.test_utils import TestClient

from services.dashboard import cost_change, cost_outlook
from services.dashboard.charts import formats
from services.dashboard.cost_change import Use
from services.logger.rows import ResponseRow
from shared import clickhouse
from tests.support import expected_usage, history, sample_rows, servers
from tests.support.analytics_app import dashboard
from tests.support.definitions import cost, is_answered, is_error, model_name
from tests.support.page_markup import Page
from tests.support.query_runners import SparingRunner

ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York")
NOW = datetime(2026, 11, 9, 10, 7, tzinfo=UTC)
Rows = list[ResponseRow]
Known = tuple[str, str, Rows]


@pytest.fixture(scope="module")
def known(database: servers.ClickHouseServer | servers.External) -> Known:
    """Requests of one account, and a stranger's."""
    account, url = f"c{uuid.uuid4().hex[:12]}", database.url("logger")
    made = sample_rows.generate(77, account=account, count=1500)
    others = sample_rows.generate(int(account[1:8], 16), account=f"{account}-other", count=60)
    asyncio.run(_store(url, [*made, *others]))
    return url, account, sample_rows.newest(made)


async def _store(url: str, batch: Rows) -> None:
    client = await clickhouse.connect(url, service="test")
    await history.store(client, batch)
    await client.close()


async def get(client: TestClient[Any, Any], path: str, **query: str) -> Page:
    async with client.get(f"{path}?{urlencode(query)}") as response:
        text = await response.text()
        assert response.status == 200, text
    return Page(text)


def uses(rows: Rows) -> dict[str, Use]:
    groups: dict[str, Rows] = defaultdict(list)
    for row in rows:
        if row.cost is not None:
            groups[f"{row.provider}/{model_name(row)}"].append(row)
    return {
        name: Use(
            len(of), sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in of), cost(of) or Decimal(0)
        )
        for name, of in groups.items()
    }


def signed(amount: Decimal) -> str:
    return f"{'+' if amount > 0 else '−' if amount < 0 else ''}{formats.money(abs(amount))}"


@pytest.mark.parametrize("tz", ZONES)
async def test_change_of_cost_is_split_and_attributed_as_plain_python_does(known: Known, tz: str) -> None:
    url, account, everything = known
    zone = ZoneInfo(tz)
    since, until = datetime(2026, 11, 2, tzinfo=zone), datetime(2026, 11, 6, tzinfo=zone)
    before_since = datetime(2026, 10, 29, tzinfo=zone)
    now, before = (sample_rows.within(everything, *edges) for edges in ((since, until), (before_since, since)))
    async with dashboard(url) as client:
        page = await get(client, "/changes", account=account, tz=tz, **{"from": "2026-11-02", "to": "2026-11-06"})
        only = await get(
            client, "/changes", account=account, tz=tz, requester="ann", **{"from": "2026-11-02", "to": "2026-11-06"}
        )
    split = cost_change.split(uses(before), uses(now))
    rows = page.rows("split")
    parts = {"Volume": split.volume, "Mix": split.mix, "Tokens per request": split.tokens, "Price": split.price}
    assert {name: rows[name][0] for name in parts} == {name: signed(amount) for name, amount in parts.items()}
    assert rows["All"][0] == signed((cost(now) or Decimal(0)) - (cost(before) or Decimal(0)))
    assert f"{sum(row.cost is None for row in [*now, *before])} requests with unknown cost" in page.html
    movers: dict[tuple[str, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for at, of in enumerate((before, now)):
        for row in of:
            movers[row.requester, row.provider, model_name(row)][at] += row.cost or 0
    ordered = sorted(movers, key=lambda key: (-abs(movers[key][1] - movers[key][0]), key))[:20]
    shown = page.tables["movers"][1:]
    assert [(row[0], row[1], row[2]) for row in shown] == [
        (requester or "(not set)", model, provider) for requester, provider, model in ordered
    ]
    for cells, key in zip(shown, ordered, strict=True):
        old, new = movers[key]
        assert (cells[3], cells[5]) == (formats.money(old), signed(new - old))
    assert {row[0] for row in only.tables["movers"][1:]} == {"ann"}


@pytest.mark.parametrize("tz", ZONES)
async def test_month_is_forecast_from_its_cost_and_its_complete_days(known: Known, tz: str) -> None:
    url, account, everything = known
    zone = ZoneInfo(tz)
    start = datetime(2026, 11, 1, tzinfo=zone)
    today = NOW.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    end = datetime(2026, 11, today.day, tzinfo=zone) + timedelta(days=1)
    rows = sample_rows.within(everything, start, end)
    days = [
        cost(sample_rows.within(rows, datetime(2026, 11, day, tzinfo=zone), datetime(2026, 11, day + 1, tzinfo=zone)))
        or Decimal(0)
        for day in range(1, today.day)
    ]
    expected = cost_outlook.month(cost(rows) or Decimal(0), days, zone=zone, now=NOW)
    assert expected is not None
    only = {"dashboard_settled", "dashboard_sums"}
    async with dashboard(url, now=NOW, asked=SparingRunner(url, only=only)) as client:
        pages = [await get(client, path, account=account, tz=tz, period="month") for path in ("/", "/cost")]
        week = await get(client, "/cost", account=account, tz=tz, period="7d")
    for page in pages:
        assert page.tiles["forecast"] == formats.money(expected.amount)
        assert f"({formats.money(expected.low)} – {formats.money(expected.high)})" in page.html
    assert "forecast" not in week.tiles
    early_on = datetime(2026, 11, 2, 12, tzinfo=UTC)
    async with dashboard(url, now=early_on, asked=SparingRunner(url, only=only)) as client:
        early = await get(client, "/cost", account=account, tz="UTC", period="month")
    assert "forecast" not in early.tiles and "once a tenth of the month has passed" in early.html


async def test_unusual_days_are_marked_on_the_cost_chart(known: Known) -> None:
    url, account = known[0], f"c{uuid.uuid4().hex[:12]}"
    zone = ZoneInfo("Asia/Kathmandu")
    batch = []
    for day in range(40):
        at = datetime(2026, 10, 1, 3, tzinfo=zone) + timedelta(days=day)
        amount = Decimal(50 if day == 35 else 10 + day % 2)
        batch.append(expected_usage.request(at.astimezone(UTC), account=account, cost=amount, cost_by_class={}))
    await _store(url, batch)
    only = {
        "dashboard_settled",
        "dashboard_sums",
        "dashboard_daily_cost",
        "dashboard_annotations",
        "dashboard_series_by",
    }
    async with dashboard(url, now=NOW + timedelta(days=2), asked=SparingRunner(url, only=only)) as client:
        query = {"account": account, "tz": zone.key, "from": "2026-11-02", "to": "2026-11-10"}
        page = await get(client, "/cost", **query)
        hours = await get(client, "/cost", account=account, tz=zone.key, **{"from": "2026-11-05", "to": "2026-11-06"})
        filtered = await get(client, "/cost", **query, meta="team=blue")
    assert "5 Nov: $50.00; usual for a Thursday: $10.00" in page.html.replace("$10.50", "$10.00")
    assert page.html.count('class="mark more"') == 1 and 'class="mark less"' not in page.html
    assert any(link.startswith("/changes?") and "from=" in link for link in page.links)
    assert 'class="mark' not in hours.html + filtered.html


@pytest.mark.parametrize("tz", ZONES)
async def test_statement_is_that_of_the_command_line_to_the_cent(known: Known, tz: str) -> None:
    url, account, everything = known
    zone = ZoneInfo(tz)
    rows = sample_rows.within(everything, datetime(2026, 11, 1, tzinfo=zone), datetime(2026, 12, 1, tzinfo=zone))
    async with dashboard(url) as client:
        page = await get(client, "/statement", account=account, month="2026-11", tz=tz)
        async with client.get(
            f"/statement.csv?{urlencode({'account': account, 'month': '2026-11', 'tz': tz})}"
        ) as response:
            lines = list(
                csv.DictReader(io.StringIO((await response.text()).removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")))
            )
        empty = await get(client, "/statement", account=account, month="2020-01", tz=tz)
        for query, words in (
            ({"month": "2026-11"}, "Name an account"),
            ({"account": account, "month": "moon"}, "Invalid month"),
            ({"account": account, "month": "2150-01"}, "Invalid month"),
        ):
            async with client.get(f"/statement?{urlencode(query)}") as response:
                assert response.status == 400 and words in await response.text()
    total = cost(rows)
    assert page.tiles["statement-of"] == f"${total:,.2f}"
    people: dict[str, Rows] = defaultdict(list)
    for row in rows:
        people[row.requester].append(row)
    shown = page.rows("statement-requesters")
    for name, of in people.items():
        assert shown[name or "(not set)"][-1] == formats.cents(cost(of))
        assert shown[name or "(not set)"][0] == f"{len(of):,}"
    assert shown["Total"][-1] == f"${total:,.2f}" == page.rows("statement-models")["Total"][-1]
    exact = {line["section"]: Decimal(line["cost_usd"]) for line in lines if line["section"] == "total"}
    assert exact == {"total": total}
    for section in ("model", "requester"):
        assert (
            sum(
                Decimal(line["cost_usd"])
                for line in lines
                if line["section"] == section and line["cost_usd"] != "unknown"
            )
            == total
        )
    assert "No requests in this month." in empty.html


async def test_accounts_are_listed_with_their_cost_and_a_link_to_their_statement(known: Known) -> None:
    url, account, everything = known
    rows = sample_rows.within(everything, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC))
    period = {"from": "2026-11-01", "to": "2026-11-05"}
    async with dashboard(url, now=NOW) as client:
        own = await get(client, "/accounts", account=account, **period)
        every = await get(client, "/accounts", **period)
    (line,) = own.tables["accounts"][1:]
    unpriced = sum(row.cost is None for row in rows)
    assert line[:4] == [account, f"≈ {formats.money(cost(rows))} +{unpriced}?", "100.0%", formats.count(len(rows))]
    assert line[5] == formats.percent(sum(map(is_error, rows)) / len(rows) * 100)
    assert any(
        link.startswith("/statement?") and f"account={account}" in link and "month=2026-11" in link
        for link in own.links
    )
    assert {account, f"{account}-other"} <= {row[0] for row in every.tables["accounts"][1:]}


async def test_savings_are_what_repeated_and_failed_requests_cost(known: Known) -> None:
    url, account = known[0], f"c{uuid.uuid4().hex[:12]}"
    at = datetime(2026, 11, 8, 10, tzinfo=UTC)

    def sent(minutes: int, **changes: Any) -> ResponseRow:
        return expected_usage.request(at + timedelta(minutes=minutes), account=account, request_bytes=700, **changes)

    batch = [
        sent(1, cost=Decimal(3)),
        sent(2, cost=Decimal(2)),
        sent(3, cost=Decimal(2)),
        sent(4, cost=Decimal(9), input_tokens=11),  # another request
        sent(5, cost=Decimal(2), cache="HIT", cost_saved=Decimal(2)),
        sent(6, cost=Decimal(1), outcome="timeout", status=504),
        sent(7, cost=Decimal(4), status=500, error_type="x", requester="bob"),
    ]
    await _store(
        url, [msgspec.structs.replace(row, cost=row.cost if row.cache != "HIT" else Decimal(0)) for row in batch]
    )
    repeats = [row for row in batch if is_answered(row) and row.input_tokens == 10]
    async with dashboard(url, now=NOW) as client:
        page = await get(client, "/savings", account=account, period="7d")
    assert page.tables["candidates"][1][:5] == ["ann", "gpt-4o", "openai", str(len(repeats) - 1), "$4.00"]
    failures = page.rows("failures")
    assert failures["Failed"][:2] == ["1", "$4.00"] and failures["Stream cut off, or timeout"][:2] == ["1", "$1.00"]
    assert page.rows("saved")["gpt-4o"][-1] == "$2.00"
