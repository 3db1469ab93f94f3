"""What stands in ClickHouse for the user's own SQL: documented as it is, right in every time zone, kept as long as said."""

import asyncio
import itertools
import os
import random
import re
import subprocess
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import prometheus_client
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.dashboard.queries import source_sql
from services.logger import retention, schema
from services.logger import rollup as passes
from services.logger.metrics import Metrics
from services.logger.retention import Days
from shared import clickhouse, rollup, rollup_tables
from tests.support import cli, one_day, schema_template, servers
from tests.support.definitions import is_answered
from tests.support.expected_usage import (
    NARROW,
    SUMMED,
    WHO,
    Figures,
    faults,
    figures,
    insert,
    narrow_sums,
    query_context,
    request,
    requester_sums,
    stored_faults,
    stored_narrow_sums,
    stored_requester_sums,
    stored_usage,
)

DAY = timedelta(days=1)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)  # of storing: no pass looks back so far
GUIDE = servers.ROOT / "deploy" / "sql" / "README.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
async def client(server: servers.ClickHouseServer) -> AsyncIterator[AsyncClient]:
    client = await clickhouse.connect(server.url(), service="test")
    await schema_template.reset(client)
    yield client
    await client.close()


async def select(client: AsyncClient, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in (await client.query(sql)).result_rows]


async def test_the_guide_to_sql_names_every_table_column_and_type(client: AsyncClient) -> None:
    documented = []
    for section in GUIDE.read_text().split("\n### ")[1:]:
        name = section.split("`")[1]
        columns = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
        assert all(meaning.strip() for _, _, meaning in columns)
        documented += [(name, column, kind) for column, kind, _ in columns]
    stored = await select(client, "SELECT table, name, type FROM system.columns WHERE database = 'metrion'")
    assert len(documented) >= 100
    assert sorted(documented) == sorted(stored)


async def test_every_example_in_the_guide_runs(client: AsyncClient) -> None:
    examples = re.findall(r"```sql\n(.+?);?\n```", GUIDE.read_text(), re.DOTALL)
    assert len(examples) >= 2
    for sql in examples:
        await client.query(sql)


ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York")


@pytest.mark.parametrize("rolled", [False, True], ids=["fresh", "rolled up"])
@pytest.mark.parametrize("change", [datetime(2026, 3, 8), datetime(2026, 11, 1)], ids=["spring", "autumn"])
async def test_the_days_of_every_zone_add_up_over_a_change_of_the_clocks(
    client: AsyncClient, change: datetime, rolled: bool
) -> None:
    choose, start = random.Random(7), change.replace(tzinfo=UTC) - 2 * DAY
    moments = [start + timedelta(seconds=choose.randrange(4 * 86_400)) for _ in range(3000)]
    for zone in ZONES:  # and just around each midnight
        local = ZoneInfo(zone)
        midnights = [
            datetime(change.year, change.month, change.day, tzinfo=local) + number * DAY for number in (-1, 0, 1, 2)
        ]
        moments += [m.astimezone(UTC) + timedelta(microseconds=us) for m in midnights for us in (-1, 0, 1)]
    await insert(client, [request(moment) for moment in moments], ingested_at=LONG_AGO)
    if rolled:
        await rollup.refresh(client)
        assert await select(client, "SELECT sum(requests) FROM metrion.usage_15m FINAL") == [(len(moments),)]
    for zone in ZONES:
        expected = Counter(moment.astimezone(ZoneInfo(zone)).date() for moment in moments)
        day = f"toDate(toTimeZone(bucket, '{zone}')) AS day"
        for view in ("usage", "usage_totals"):
            found = await select(client, f"SELECT {day}, sum(requests) FROM metrion.{view} GROUP BY day")
            assert dict(found) == expected, (zone, view)
        day = f"toDate(toTimeZone(started_at, '{zone}')) AS day"
        assert dict(await select(client, f"SELECT {day}, count() FROM metrion.requests GROUP BY day")) == expected


async def test_percentiles_of_the_rollup_are_those_of_the_requests(client: AsyncClient) -> None:
    choose, moment = random.Random(3), datetime.now(UTC) - DAY
    latencies = [int(choose.lognormvariate(7, 1)) for _ in range(4000)]
    batch = [
        request(moment + timedelta(seconds=20 * number), requester=f"user{number % 9}", latency_ms=ms, ttfb_ms=ms // 2)
        for number, ms in enumerate(latencies)
    ]
    await insert(client, batch, ingested_at=LONG_AGO)
    await rollup.refresh(client)
    exact = [sorted(latencies)[int(len(latencies) * level)] for level in (0.5, 0.95, 0.99)]
    for view in ("usage", "usage_totals", "usage_live"):
        merged = "quantilesTDigestMerge(0.5, 0.95, 0.99)"
        ((latency, ttfb),) = await select(client, f"SELECT {merged}(latency), {merged}(ttfb) FROM metrion.{view}")
        assert latency == pytest.approx(exact, rel=0.05)
        assert ttfb == pytest.approx([ms / 2 for ms in exact], rel=0.05)


@pytest.fixture
def a_short_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each day that a night looks at costs a query: here it is as many days as the tests' requests."""
    monkeypatch.setattr(rollup, "VERIFIED", 5 * DAY)


@pytest.mark.usefixtures("a_short_night")
async def test_the_nightly_pass_finds_and_corrects_wrong_sums(client: AsyncClient) -> None:
    batch = [request(datetime.now(UTC) - timedelta(hours=3 * number)) for number in range(30)]
    batch += [request(datetime.now(UTC) - timedelta(hours=30), status=429)]
    await insert(client, batch, ingested_at=LONG_AGO)
    await rollup.refresh(client)
    assert await rollup.verify(client) == 0
    key = "account, bucket, token, provider, model, stream, status, outcome, cache, usage_source, priced, requests, computed_at"
    for table, falsely in (
        (
            "usage_15m",
            "(requester, {key}) SELECT 'nobody', {key} FROM metrion.usage_15m WHERE bucket < now() - INTERVAL 80 HOUR",
        ),
        (
            "usage_totals_15m",
            "({key}) SELECT * REPLACE (503 AS status) FROM (SELECT {key} FROM metrion.usage_totals_15m LIMIT 1)",
        ),
    ):
        await client.command(f"INSERT INTO metrion.{table} {falsely.format(key=key)}")
    assert await stored_usage(client, "usage") != figures(batch)
    assert await rollup.verify(client) > 1
    assert await stored_usage(client, "usage") == figures(batch)
    assert await rollup.verify(client) == 0
    for table, figure in (
        ("usage_sums", "requests"),
        ("usage_requester_sums", "requests"),
        ("usage_latency_states", "answered"),
        ("usage_faults_15m", "requests"),
    ):
        more = f"SELECT * REPLACE ({figure} + 1 AS {figure}) FROM metrion.{table} FINAL WHERE {figure} > 0 LIMIT 1"
        await client.command(f"INSERT INTO metrion.{table} {more}")
        assert await rollup.verify(client) == 1
        at = await query_context(client)
        assert at is not None
        assert await stored_requester_sums(client, source_sql.requesters(at.shown, WHO), at) == requester_sums(batch)
    assert await rollup.verify(client) == 0


async def test_first_pass_adds_sums_and_faults_to_the_rollup_of_an_earlier_version(
    client: AsyncClient,
) -> None:
    now = datetime.now(UTC)
    moments = [now - number * timedelta(hours=7) for number in (*range(1, 7), *range(28, 34))]  # some before 8 days
    batch = [
        request(moment, requester=f"user{number % 3}", status=(200, 429)[number % 2])
        for number, moment in enumerate(moments)
    ]
    gone = [row for row in batch if row.started_at < now - 8 * DAY]
    kept = [row for row in batch if row not in gone]
    await insert(client, batch, ingested_at=LONG_AGO)
    await rollup.refresh(client)
    for table in ("usage_sums", "usage_requester_sums", "usage_latency_states", "usage_faults_15m"):
        await client.command(f"TRUNCATE TABLE metrion.{table}")
    await client.command("ALTER TABLE metrion.rollup_passes DELETE WHERE pass = 'sums' SETTINGS mutations_sync = 1")
    ids = ", ".join(f"'{row.id}'" for row in gone)
    await client.command(f"ALTER TABLE metrion.response_events DELETE WHERE id IN ({ids}) SETTINGS mutations_sync = 1")
    assert await query_context(client) is None
    assert await stored_faults(client, "usage_faults") == faults(kept)  # from the requests
    await rollup.refresh(client)
    at = await query_context(client)
    assert at is not None
    assert await stored_requester_sums(client, source_sql.requesters(at.shown, WHO), at) == requester_sums(batch)
    for dims, by in SUMMED.items():
        found = await stored_narrow_sums(client, source_sql.totals(at.shown, NARROW, *by), dims, at)
        assert found == narrow_sums(batch, dims)
    counted = (
        "SELECT whole, sum(answered) FROM metrion.usage_latency_states WHERE span = 86400 GROUP BY whole ORDER BY whole"
    )
    assert await select(client, counted) == [(0, sum(map(is_answered, batch))), (1, sum(map(is_answered, batch)))]
    await client.command("TRUNCATE TABLE metrion.response_events")
    assert await stored_faults(client, "usage_faults") == faults(kept)  # from the rollup alone


async def test_first_pass_adds_the_last_request_time_to_sums_of_an_earlier_release(
    client: AsyncClient,
) -> None:
    at = datetime.now(UTC).replace(hour=15, minute=52, second=9, microsecond=0) - 60 * DAY
    await insert(client, [request(at), request(at - timedelta(hours=3), token="web")], ingested_at=LONG_AGO)
    await rollup.backfill(client, since=at - DAY, until=at + DAY)
    await rollup.refresh(client)
    for table in ("usage_sums", "usage_requester_sums"):
        before = f"SELECT * EXCEPT last_at FROM metrion.{table} FINAL"
        columns = await select(client, f"DESCRIBE (SELECT * EXCEPT last_at FROM metrion.{table})")
        await client.command(f"INSERT INTO metrion.{table} ({', '.join(str(row[0]) for row in columns)}) {before}")
    await client.command("ALTER TABLE metrion.rollup_passes DELETE WHERE pass = 'sums' SETTINGS mutations_sync = 1")
    assert await query_context(client) is None  # until then pages read the quarters
    await rollup.refresh(client)
    for table in ("usage_sums", "usage_requester_sums"):
        wide = f"SELECT max(last_at) FROM metrion.{table} FINAL WHERE span = 86400"
        assert await select(client, wide) == [(at,)]


ADDED = {  # columns that a release before had not
    "usage_15m": "hits estimated estimated_cost answered answered_ms first_bytes first_byte_ms last_at",
    "usage_totals_15m": "hits estimated estimated_cost answered answered_ms first_bytes first_byte_ms last_at",
    "usage_faults_15m": "errors hits estimated",
    "usage_sums": "last_at",
    "usage_requester_sums": "last_at",
}


@pytest.mark.usefixtures("a_short_night")
async def test_an_upgrade_keeps_usage_right_before_and_after_the_first_pass(client: AsyncClient) -> None:
    choose, now = random.Random(3), datetime.now(UTC)
    batch = [
        request(
            now - timedelta(minutes=choose.randrange(30, 3000)),
            requester=choose.choice(["ann", "bob"]),
            status=choose.choice([200, 200, 429]),
            outcome=choose.choice(["complete", "complete", "client_closed", "timeout"]),
            cache=choose.choice(["", "MISS", "HIT"]),
            usage_source=choose.choice(["reported", "estimated"]),
            latency_ms=choose.randrange(1000),
            ttfb_ms=choose.choice([None, 7]),
        )
        for _ in range(300)
    ]
    await insert(client, batch, ingested_at=LONG_AGO)
    await rollup.refresh(client)
    for table, names in ADDED.items():
        for name in reversed(names.split()):  # what others are computed from goes last
            await client.command(f"ALTER TABLE metrion.{table} DROP COLUMN {name}")
    await client.command("ALTER TABLE metrion.rollup_passes DELETE WHERE pass = 'sums' SETTINGS mutations_sync = 1")
    await client.command("TRUNCATE TABLE metrion.schema_versions")
    await schema.apply(client)
    assert _to_the_quarter(await stored_usage(client, "usage")) == _to_the_quarter(figures(batch))
    assert (await stored_faults(client, "usage_faults")) == faults(batch)
    await rollup.refresh(client)
    at = await query_context(client)
    assert at is not None
    found = await stored_requester_sums(client, source_sql.requesters(at.shown, WHO), at)
    assert _to_the_quarter(found) == _to_the_quarter(requester_sums(batch))
    for dims, by in SUMMED.items():
        sums = await stored_narrow_sums(client, source_sql.totals(at.shown, NARROW, *by), dims, at)
        assert _to_the_quarter(sums) == _to_the_quarter(narrow_sums(batch, dims))
    assert await rollup.verify(client) > 0  # the exact time of the last request is known again
    assert await stored_usage(client, "usage") == figures(batch)
    assert await stored_requester_sums(client, source_sql.requesters(at.shown, WHO), at) == requester_sums(batch)
    assert await rollup.verify(client) == 0


def _to_the_quarter(known: Figures) -> Figures:
    """The same, the time of the last request no more exact than the quarter of an hour that it came in."""
    return {
        key: one | {"last_at": one["last_at"].replace(minute=one["last_at"].minute // 15 * 15, second=0, microsecond=0)}
        for key, one in known.items()
    }


async def test_a_token_was_last_used_at_its_last_request(client: AsyncClient) -> None:
    now = datetime.now(UTC)
    settled, fresh = now - timedelta(days=20, minutes=7), now - timedelta(minutes=1)
    old = [request(settled), request(settled - timedelta(hours=5)), request(settled, token="web")]
    await insert(client, old, ingested_at=LONG_AGO)
    await rollup.backfill(client, since=settled - DAY, until=now)
    await insert(client, [request(fresh, token="web")], ingested_at=now)
    used = {
        row["token"]: row["last_at"] for row in await clickhouse.run_query(client, "dashboard_token_use", account="")
    }
    assert used == {"ci": settled, "web": fresh}


@pytest.mark.usefixtures("a_short_night")
async def test_the_nightly_pass_corrects_the_time_of_the_last_request(client: AsyncClient) -> None:
    at = datetime.now(UTC) - 3 * DAY
    await insert(client, [request(at)], ingested_at=LONG_AGO)
    await rollup.backfill(client, since=at - DAY, until=at + DAY)
    await rollup.refresh(client)
    for table in ("usage_15m", "usage_totals_15m", "usage_sums", "usage_requester_sums"):
        earlier = (
            f"SELECT * REPLACE (last_at - INTERVAL 1 HOUR AS last_at) FROM metrion.{table} FINAL WHERE requests > 0"
        )
        await client.command(f"INSERT INTO metrion.{table} {earlier}")
        assert await rollup.verify(client) > 0, table
        assert await select(client, f"SELECT max(last_at), min(last_at) FROM metrion.{table} FINAL") == [(at, at)]
    assert await rollup.verify(client) == 0


@pytest.mark.usefixtures("a_short_night")
async def test_pass_is_not_repeated_within_its_interval(client: AsyncClient) -> None:
    await insert(client, [request(one_day.begin())], ingested_at=datetime.now(UTC))
    metrics = Metrics(prometheus_client.CollectorRegistry())
    for _ in range(3):
        await passes.run_due(client, every=3600, metrics=metrics)
    counted = await select(client, "SELECT pass, count() FROM metrion.rollup_passes GROUP BY pass ORDER BY pass")
    assert counted == [("day sums", 1), ("refresh", 1), ("sums", 1), ("verify", 1)]
    await passes.run_due(client, every=0, metrics=metrics)
    assert await select(client, "SELECT uniqExact(up_to) FROM metrion.rollup_passes WHERE pass = 'refresh'") == [(2,)]


async def test_the_embedded_engine_keeps_no_logs_of_its_own_that_grow(client: AsyncClient) -> None:
    grown = await select(
        client, "SELECT name FROM system.tables WHERE database = 'system' AND engine LIKE '%MergeTree'"
    )
    assert grown == []


async def test_rollup_keeps_requests_that_the_retention_has_deleted(client: AsyncClient) -> None:
    now = datetime.now(UTC)
    old, young = request(now - 50 * DAY), request(now - 5 * DAY)
    await insert(client, [old, young], ingested_at=LONG_AGO)
    await rollup.refresh(client)
    assert set(await retention.apply(client, Days(requests=30, rollup=500))) == {
        "response_events",
        *rollup_tables.ROLLUP,
    }
    assert await retention.apply(client, Days(requests=30, rollup=500)) == []
    await client.command("OPTIMIZE TABLE metrion.response_events FINAL")
    assert await select(client, "SELECT count() FROM metrion.requests") == [(1,)]
    assert await stored_usage(client, "usage") == figures([old, young])
    await rollup.refresh(client)
    late = request(old.started_at)
    await insert(client, [late], ingested_at=now)  # too late: its neighbours are gone, and a bucket is computed whole
    assert await stored_usage(client, "usage") == figures([old, young])
    await rollup.refresh(client)
    await rollup.verify(client)
    await rollup.backfill(client, since=now - 90 * DAY, until=now)
    assert await stored_usage(client, "usage") == figures([old, young])


@pytest.mark.usefixtures("a_short_night")
async def test_concurrent_logger_starts_create_one_consistent_schema(server: servers.ClickHouseServer) -> None:
    clients = [await clickhouse.connect(server.url(), service="test") for _ in range(4)]
    try:
        await clients[0].command("DROP DATABASE IF EXISTS metrion", use_database=False)
        for days in (Days(requests=100, rollup=200), Days(requests=300, rollup=400)):
            await asyncio.gather(*(schema.apply(client) for client in clients))
            await asyncio.gather(*(retention.apply(client, days) for client in clients))
        moments = [datetime.now(UTC) - number * timedelta(hours=3) for number in range(14)]
        batch = [request(moment) for moment in moments]
        await insert(clients[0], batch, ingested_at=LONG_AGO)
        at_once = itertools.chain.from_iterable((rollup.refresh(one), rollup.verify(one)) for one in clients)
        await asyncio.gather(*at_once)
        assert await stored_usage(clients[0], "usage") == figures(batch)
        assert await stored_usage(clients[0], "usage_15m FINAL") == figures(batch)
        assert await rollup.verify(clients[0]) == 0
    finally:
        for client in clients:
            await client.close()


def test_the_schema_of_a_cluster_is_understood_by_the_server(server: servers.ClickHouseServer) -> None:
    for statement in (*schema.migrations("metrion_{shard}"), *schema.views("metrion_{shard}")):
        assert " ON CLUSTER 'metrion_{shard}'" in statement
        if statement.startswith("CREATE TABLE") or "\nCREATE TABLE" in statement:
            assert re.search(r"^ENGINE = Replicated\w*MergeTree", statement, re.MULTILINE)
            assert "non_replicated" not in statement
        assert server.query(f"EXPLAIN AST {_without_comments(statement)}").startswith(
            ("Create", "AlterQuery", "DropQuery")
        )


def test_statement_without_a_cluster_form_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot run on a cluster"):
        schema.on_cluster("DROP TABLE metrion.requests", "main")
    with pytest.raises(ValueError, match="not a valid cluster name"):
        schema.on_cluster("ALTER TABLE metrion.requests MODIFY TTL 1", "main' SYNC --")
    rendered = schema.on_cluster("ALTER TABLE metrion.usage_15m MODIFY TTL bucket", "main")
    assert rendered == "ALTER TABLE metrion.usage_15m ON CLUSTER 'main' MODIFY TTL bucket"


def _without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.startswith("--"))


def backfill(
    server: servers.ClickHouseServer, user: str, directory: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    environment = {**kept, "METRION_DATA_DIR": str(directory), "METRION_CLICKHOUSE_URL": server.url(user)}
    return cli.run("rollup", "backfill", *arguments, env=environment)


async def test_backfill_removes_manually_deleted_requests_from_the_rollup(
    client: AsyncClient, server: servers.ClickHouseServer, tmp_path: Path
) -> None:
    batch = [request(datetime.now(UTC) - number * DAY, requester=f"user{number % 2}") for number in (1, 2, 9, 10)]
    await insert(client, batch, ingested_at=LONG_AGO)
    await rollup.refresh(client)
    await client.command(
        "ALTER TABLE metrion.response_events DELETE WHERE requester = 'user1' SETTINGS mutations_sync = 1"
    )
    refused = backfill(server, "reader", tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "") and "lacks permission" in refused.stderr
    done = backfill(server, "admin", tmp_path, "--since", "7d")
    assert done.returncode == 0, done.stderr
    assert await stored_usage(client, "usage") == figures(batch[1:])  # the deleted one of nine days ago is out of reach
    done = backfill(server, "logger", tmp_path)
    assert done.returncode == 0 and "Rebuilt 4 quarter hours" in done.stderr
    assert await stored_usage(client, "usage") == figures([row for row in batch if row.requester == "user0"])
    empty = backfill(server, "logger", tmp_path, "--since", "2026-02-01", "--until", "2026-01-01")
    assert (empty.returncode, empty.stdout) == (2, "") and "the period is empty" in empty.stderr
    assert uuid.UUID(batch[0].id)
