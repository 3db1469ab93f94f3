"""Every ready query against the same sums made in plain Python, in zones whose days begin at odd hours."""

import asyncio
import itertools
import json
import urllib.parse
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cli.clickhouse import timestamp
from services.cli.commands.query import QUERIES, parameters
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from tests.support import sample_rows, servers
from tests.support.definitions import is_answered, is_error, is_estimated, model_name
from tests.support.examples import examples

ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York")
Rows = list[dict[str, Any]]
KnownRows = tuple[str, str, list[ResponseRow]]  # ClickHouse's address, account, what it must hold


@pytest.fixture(scope="module")
def known(database: servers.ClickHouseServer | servers.External) -> KnownRows:
    """Some thousand made-up requests of one account, and a stranger's, stored as the logger stores them."""
    account, url = f"q{uuid.uuid4().hex[:12]}", database.url("logger")
    made = sample_rows.generate(20261101, account=account, count=4000)
    asyncio.run(store_all(url, made, sample_rows.generate(1, account=f"{account}-other", count=300)))
    return url, account, sample_rows.newest(made)


async def store_all(url: str, *histories: list[ResponseRow]) -> None:
    """In the order in which they came to be, in batches as the logger makes them."""
    client = await client_module.connect(url, service="test")
    for made in histories:
        for start in range(0, len(made), 1000):
            assert not await insert.insert(client, made[start : start + 1000])
    await client.close()


async def ask(known: KnownRows, question: str, **values: object) -> Rows:
    client = await client_module.connect(known[0], service="test")
    try:
        return await client_module.run_query(client, question, account=known[1], **values)
    finally:
        await client.close()


def period(tz: str, first: date, last: date) -> tuple[datetime, datetime]:
    """From the start of the zone's day `first` to that of the day after `last`."""
    zone = ZoneInfo(tz)
    start, end = (datetime.combine(day, time(), tzinfo=zone) for day in (first, last + timedelta(days=1)))
    return start.astimezone(UTC), end.astimezone(UTC)


def grouped(rows: Iterable[ResponseRow], key: Callable[[ResponseRow], Hashable]) -> dict[Any, list[ResponseRow]]:
    found: dict[Any, list[ResponseRow]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return dict(found)


def total(values: Iterable[Any]) -> Any:
    """Their sum as SQL adds: what is unknown is left out, and nothing known is None."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def estimated(rows: Iterable[ResponseRow]) -> Decimal:
    return sum((row.cost or Decimal(0) for row in rows if is_estimated(row)), Decimal(0))


def costs(rows: list[ResponseRow]) -> dict[str, Any]:
    return {
        "requests": len(rows),
        "input_tokens": total(row.input_tokens for row in rows),
        "output_tokens": total(row.output_tokens for row in rows),
        "cost_usd": total(row.cost for row in rows),
        "estimated_usd": estimated(rows),
        "unpriced": sum(row.cost is None for row in rows),
    }


def by_key(rows: Rows, *names: str) -> dict[Any, dict[str, Any]]:
    """The rows by these columns, without them and the account; no two may share a key."""
    found = {tuple(row[name] for name in names): row for row in rows}
    assert len(found) == len(rows)
    return {key: {n: v for n, v in row.items() if n not in (*names, "account")} for key, row in found.items()}


NOVEMBER = date(2026, 10, 28), date(2026, 11, 5)


@pytest.mark.parametrize("tz", ZONES)
async def test_a_day_costs_what_its_requests_cost_in_every_zone(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    rows = sample_rows.within(known[2], since, until)

    def day(row: ResponseRow) -> date:
        return row.started_at.astimezone(ZoneInfo(tz)).date()

    answer = by_key(await ask(known, "cost_by_requester_day", since=since, until=until, tz=tz), "day", "requester")
    expected = grouped(rows, lambda row: (day(row), row.requester))
    assert answer == {
        key: costs(group) | {"hits": sum(row.cache == "HIT" for row in group)} for key, group in expected.items()
    }
    assert {key[0] for key in answer} == {NOVEMBER[0] + timedelta(days=n) for n in range(9)}
    long_day = until - since
    assert long_day == timedelta(days=9, hours=tz == "America/New_York"), "the clock change lies in the period"


@pytest.mark.parametrize("tz", ZONES)
async def test_an_hour_is_that_of_the_wall_clock(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    answer = by_key(await ask(known, "usage_by_hour", since=since, until=until, tz=tz), "hour")
    expected = grouped(
        sample_rows.within(known[2], since, until), lambda row: (row.started_at.astimezone(ZoneInfo(tz)).hour,)
    )
    assert answer == {
        key: costs(group)
        | {
            "cache_read_tokens": sum(row.cache_read_tokens for row in group),
            "reasoning_tokens": sum(row.reasoning_tokens for row in group),
        }
        for key, group in expected.items()
    }


@given(
    tz=st.sampled_from((*ZONES, "Europe/Zurich", "Australia/Lord_Howe", "Pacific/Chatham", "America/St_Johns")),
    start=st.integers(0, sample_rows.DAYS * 86_400 * 1_000_000),
    length=st.integers(1, sample_rows.DAYS * 86_400 * 1_000_000),
)
@settings(
    max_examples=examples(40),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_period_in_any_zone_has_the_days_of_its_requests(
    known: KnownRows, tz: str, start: int, length: int
) -> None:
    since = sample_rows.START + timedelta(microseconds=start)
    until = since + timedelta(microseconds=length)
    rows = sample_rows.within(known[2], since, until)
    bounds = {"since": timestamp(since), "until": timestamp(until), "tz": tz}
    answer = by_key(asyncio.run(ask(known, "cost_by_requester_day", **bounds)), "day", "requester")
    expected = grouped(rows, lambda row: (row.started_at.astimezone(ZoneInfo(tz)).date(), row.requester))
    assert {key: row["cost_usd"] for key, row in answer.items()} == {
        key: total(row.cost for row in group) for key, group in expected.items()
    }
    assert sum(row["requests"] for row in answer.values()) == len(rows)


@pytest.mark.parametrize("tz", ZONES)
async def test_requesters_are_charged_for_their_models(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    rows = await ask(known, "cost_by_requester_model", since=since, until=until)
    answer = by_key(rows, "requester", "provider", "model")
    expected = grouped(
        sample_rows.within(known[2], since, until), lambda row: (row.requester, row.provider, model_name(row))
    )
    assert answer == {
        key: costs(group) | {"hits": sum(row.cache == "HIT" for row in group)} for key, group in expected.items()
    }


@pytest.mark.parametrize(
    ("tz", "first", "last", "before"),
    [
        ("UTC", date(2026, 11, 1), date(2026, 11, 30), date(2026, 10, 1)),  # a month against a month
        (
            "America/New_York",
            date(2026, 11, 1),
            date(2026, 11, 7),
            date(2026, 10, 25),
        ),  # 7 days and an hour against 7 days
        ("Asia/Kathmandu", date(2026, 11, 5), date(2026, 11, 5), date(2026, 11, 4)),
    ],
)
async def test_movers_are_measured_against_the_period_before(
    known: KnownRows, tz: str, first: date, last: date, before: date
) -> None:
    since, until = period(tz, first, last)
    earlier = period(tz, before, first)[0]
    await check_movers(known, since, until, earlier, tz)


async def test_a_period_of_hours_is_compared_with_as_many_hours(known: KnownRows) -> None:
    since = datetime(2026, 11, 1, 3, 30, 0, 250_000, tzinfo=UTC)
    await check_movers(known, since, since + timedelta(hours=29), since - timedelta(hours=29), "America/New_York")


async def check_movers(known: KnownRows, since: datetime, until: datetime, earlier: datetime, tz: str) -> None:
    bounds = {"since": timestamp(since), "until": timestamp(until)}
    rows = await ask(known, "top_movers", **bounds, tz=tz, limit=100)
    changes = [abs(row["change_usd"]) for row in rows]
    assert changes == sorted(changes, reverse=True) and any(changes)
    answer = by_key(rows, "requester")
    expected = {}
    for key, group in grouped(sample_rows.within(known[2], earlier, until), lambda row: (row.requester,)).items():
        now, old = sample_rows.within(group, since, until), sample_rows.within(group, earlier, since)
        spent, before = (total(row.cost for row in part) or Decimal(0) for part in (now, old))
        expected[key] = {
            "cost_usd": spent,
            "before_usd": before,
            "change_usd": spent - before,
            "change_percent": pytest.approx(float(100 * (spent - before) / before), abs=0.06) if before else None,
            "requests": len(now),
            "requests_before": len(old),
            "unpriced": sum(row.cost is None for row in now),
            "unpriced_before": sum(row.cost is None for row in old),
        }
    assert answer == expected
    (dearest,) = await ask(known, "top_movers", **bounds, tz=tz, limit=1)
    assert abs(dearest["change_usd"]) == changes[0]


def ended(row: ResponseRow) -> str:
    if row.outcome == "client_closed":
        return "aborted"
    if row.outcome == "interrupted":
        return "interrupted"
    if row.outcome in ("upstream_closed", "timeout"):
        return "broken"
    return "error" if is_error(row) else "complete"


@pytest.mark.parametrize("tz", ZONES)
async def test_failures_and_the_retries_after_them_have_their_cost(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    chains = grouped(
        known[2],
        lambda r: (r.token, r.requester, r.provider, r.endpoint, r.model_requested, r.request_bytes),
    )
    retries = set()
    for chain in chains.values():
        chain.sort(key=lambda row: (row.started_at, row.id))
        for failed, row in itertools.pairwise(chain):
            end = failed.started_at + timedelta(milliseconds=failed.latency_ms)
            if ended(failed) != "complete" and row.started_at <= end + timedelta(seconds=60):
                retries.add(row.id)
    answer = by_key(await ask(known, "cost_of_failures", since=since, until=until), "ended")
    rows = sample_rows.within(known[2], since, until)
    expected = {}
    for key, group in grouped(rows, lambda row: (ended(row),)).items():
        again = [row for row in group if row.id in retries]
        kept = {name: costs(group)[name] for name in ("requests", "cost_usd", "estimated_usd", "unpriced")}
        expected[key] = kept | {"retries": len(again), "retries_usd": total(row.cost for row in again)}
    assert answer == expected
    assert len(answer) == 5 and sum(row["retries"] for row in answer.values()) > 50, "the data set has them all"


@pytest.mark.parametrize("tz", ZONES)
async def test_the_cache_saved_what_its_hits_would_have_cost(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    answer = by_key(await ask(known, "cache_savings", since=since, until=until), "provider", "model")
    rows = [row for row in sample_rows.within(known[2], since, until) if row.cache]
    expected = {}
    for key, group in grouped(rows, lambda row: (row.provider, row.model_requested)).items():
        hits = [row for row in group if row.cache == "HIT"]
        others = [row for row in group if row.cache != "HIT"]
        expected[key] = {
            "requests": len(group),
            "hits": len(hits),
            "hit_percent": pytest.approx(100 * len(hits) / len(group), abs=0.06),
            "saved_usd": total(row.cost_saved for row in hits),
            "saved_unknown": sum(row.cost_saved is None for row in hits),
            "cost_usd": total(row.cost for row in others),
            "unpriced": sum(row.cost is None for row in others),
        }
    assert answer == expected and sum(row["saved_unknown"] for row in expected.values())


@pytest.mark.parametrize("key", ["", "project", "env", "absent"])
async def test_metadata_splits_the_cost_and_a_key_covers_every_request(known: KnownRows, key: str) -> None:
    since, until = period("Asia/Kathmandu", *NOVEMBER)
    answer = by_key(await ask(known, "cost_by_metadata", since=since, until=until, key=key), "key", "value")
    rows = sample_rows.within(known[2], since, until)
    pairs: dict[Hashable, list[ResponseRow]] = defaultdict(list)
    for row in rows:
        for name in [key] if key else row.metadata:
            pairs[name, row.metadata.get(name, "")].append(row)
    assert answer == {pair: costs(group) for pair, group in pairs.items()}
    if key:
        assert sum(row["requests"] for row in answer.values()) == len(rows)


def joined(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name}))


@pytest.mark.parametrize("tz", ZONES)
async def test_sessions_have_the_cost_of_their_requests_in_the_period(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    rows = await ask(known, "sessions", since=since, until=until, limit=10_000)
    spent = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    assert spent == sorted(spent, reverse=True)
    expected = {}
    within = [row for row in sample_rows.within(known[2], since, until) if row.session]
    for key, group in grouped(within, lambda row: (row.session,)).items():
        read = sum(row.cache_read_tokens for row in group if row.input_tokens is not None)
        known_input = total(row.input_tokens for row in group)
        first = min(row.started_at for row in group)
        last = max(row.started_at + timedelta(milliseconds=row.latency_ms) for row in group)
        expected[key] = costs(group) | {
            "clients": joined(row.client for row in group),
            "requesters": joined(row.requester for row in group),
            "models": joined(map(model_name, group)),
            "errors": sum(map(is_error, group)),
            "first_at": first,
            "duration_s": int(last.timestamp()) - int(first.timestamp()),
            "equivalent_usd": total(row.cost_equivalent for row in group),
            "cache_read_percent": pytest.approx(100 * read / known_input, abs=0.06) if known_input else None,
        }
    assert by_key(rows, "session") == expected
    assert any(row["equivalent_usd"] for row in expected.values())
    assert any("," in row["models"] for row in expected.values())
    (dearest,) = await ask(known, "sessions", since=since, until=until, limit=1)
    assert dearest["cost_usd"] == spent[0]


@pytest.mark.parametrize("tz", ZONES)
async def test_percentiles_are_those_of_complete_responses(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    answer = by_key(await ask(known, "latency_by_model", since=since, until=until), "provider", "model")
    rows = [row for row in sample_rows.within(known[2], since, until) if is_answered(row)]

    def percentiles(values: list[int]) -> list[int]:
        values.sort()
        return [values[(len(values) - 1) // 2], *(values[int(share * len(values))] for share in (0.95, 0.99))]

    expected = {}
    for key, group in grouped(rows, lambda row: (row.provider, model_name(row))).items():
        latency = percentiles([row.latency_ms for row in group])
        first = percentiles([row.ttfb_ms for row in group if row.ttfb_ms is not None])
        names = ("p50_ms", "p95_ms", "p99_ms", "first_byte_p50_ms", "first_byte_p95_ms", "first_byte_p99_ms")
        counts = {"answers": len(group), "streams": sum(row.stream for row in group)}
        expected[key] = counts | dict(zip(names, latency + first, strict=True))
    assert answer == expected


@pytest.mark.parametrize("tz", ZONES)
async def test_unpriced_models_are_listed_with_their_reason(known: KnownRows, tz: str) -> None:
    since, until = period(tz, *NOVEMBER)
    answer = by_key(await ask(known, "unpriced_models", since=since, until=until), "provider", "model", "reason")
    rows = sample_rows.within(known[2], since, until)
    expected = {}
    unpriced = [row for row in rows if row.cost is None]
    for key, group in grouped(unpriced, lambda row: (row.provider, model_name(row), row.cost_reason)).items():
        times = [row.started_at for row in group]
        expected[key] = {
            "requests": len(group),
            "share_percent": pytest.approx(100 * len(group) / len(rows), abs=0.06),
            "input_tokens": total(row.input_tokens for row in group),
            "output_tokens": total(row.output_tokens for row in group),
            "first_at": min(times),
            "last_at": max(times),
        }
    assert answer == expected


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("month", [date(2026, 10, 1), date(2026, 11, 1)])
async def test_a_statement_adds_up_to_the_months_requests_in_every_zone(known: KnownRows, tz: str, month: date) -> None:
    since, until = period(tz, month, (month + timedelta(days=31)).replace(day=1) - timedelta(days=1))
    rows = sample_rows.within(known[2], since, until)
    answer = await ask(known, "statement", since=since, until=until)

    def sums(group: list[ResponseRow]) -> dict[str, Any]:
        return costs(group) | {
            "hits": sum(row.cache == "HIT" for row in group),
            "saved_usd": total(row.cost_saved for row in group if row.cache == "HIT"),
            "repriced": sum(row.version > 2 for row in group),
            "equivalent_usd": total(row.cost_equivalent for row in group),
        }

    expected = {("total", "", "", ""): sums(rows)}
    expected |= {
        ("model", *key): sums(group) for key, group in grouped(rows, lambda r: (r.provider, model_name(r), "")).items()
    }
    expected |= {("requester", "", "", key): sums(group) for key, group in grouped(rows, lambda r: r.requester).items()}
    assert by_key(answer, "section", "provider", "model", "requester") == expected
    assert expected["total", "", "", ""]["equivalent_usd"] > 0
    assert expected["total", "", "", ""]["repriced"] and expected["total", "", "", ""]["estimated_usd"]


@pytest.mark.parametrize("name", QUERIES)
async def test_query_can_be_run_with_its_parameters_as_text(known: KnownRows, name: str) -> None:
    """As clickhouse-client's SET param_… or --param_… and HTTP's ?param_… give them: no client library in between."""
    texts = {"since": "2026-11-01", "until": "2026-11-02 00:00:00.5", "tz": "Asia/Kolkata", "account": "", "key": "",
             "limit": "10"}  # fmt: skip
    url = urllib.parse.urlsplit(known[0])
    query = {f"param_{parameter}": texts[parameter] for parameter in parameters(name)}
    request = urllib.request.Request(
        f"http://{url.hostname}:{url.port}/?{urllib.parse.urlencode(query | {'default_format': 'JSON'})}",
        data=Path(client_module.QUERIES / f"{name}.sql").read_bytes(),
        headers={"X-ClickHouse-User": url.username or "", "X-ClickHouse-Key": url.password or ""},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        answer = json.loads(response.read())
    assert answer["meta"] and (answer["rows"] or name in ("completeness", "cache_candidates")), (
        "no request repeats another"
    )


def test_every_query_file_states_its_question_and_how_unknown_costs_count() -> None:
    for name in QUERIES:
        header = client_module.text(name).split("\nSELECT")[0].split("\nWITH")[0]
        assert header.startswith("-- ") and "?" in header.splitlines()[0], name
        assert "unpriced" in header or name in ("latency_by_model", "completeness", "unpriced_models"), name
