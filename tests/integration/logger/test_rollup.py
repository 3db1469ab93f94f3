"""The rollup and the views on it, against a real ClickHouse: at any moment they say what the requests say."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dashboard.queries import source_sql
from services.logger import schema
from services.logger.rows import ResponseRow
from shared import clickhouse, rollup, rollup_days, rollup_tables
from shared.pricing import cost_columns
from tests.support import expected_usage, servers
from tests.support.examples import examples
from tests.support.expected_usage import KEY, figures, insert, interrupted, request, stored_usage

TABLES = ("response_events", *rollup_tables.ROLLUP, "rollup_passes")
TOTALS = [name for name in KEY if name != "requester"]
START = datetime(2026, 11, 20, tzinfo=UTC)
SETTLED = timedelta(minutes=4)  # after which a pass no longer looks back to what came before the last one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        asyncio.run(_prepare(server.url()))
        yield server


async def _prepare(url: str) -> None:
    async with connected(url) as client:
        await schema.apply(client)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncClient]:
    client = await clickhouse.connect(url, service="test")
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def client(server: servers.ClickHouseServer) -> AsyncIterator[AsyncClient]:
    async with connected(server.url()) as client:
        await empty(client)
        yield client


async def empty(client: AsyncClient) -> None:
    for table in TABLES:
        await client.command(f"TRUNCATE TABLE metrion.{table}")


class Killed(Exception):
    """A pass is cut off, as by kill -9 of its logger."""


class World:
    """A ClickHouse with a clock of its own, and beside it every version that was ever inserted."""

    def __init__(self, client: AsyncClient, patch: pytest.MonkeyPatch) -> None:
        self.client, self.now, self.versions = client, START, list[ResponseRow]()
        self.statements_left = 10**9
        self.edges = itertools.cycle(
            [timedelta(hours=4, minutes=15), timedelta(hours=24), timedelta(hours=13, minutes=45)]
        )
        state, tell = rollup.state, rollup.execute

        async def at_our_time(client: AsyncClient) -> rollup.State:
            return msgspec.structs.replace(await state(client), now=self.now)

        async def until_killed(client: AsyncClient, statement: str, **parameters: Any) -> None:
            if self.statements_left == 0:
                raise Killed
            self.statements_left -= 1
            await tell(client, statement, **parameters)

        patch.setattr(rollup, "VERIFIED", timedelta(days=4))
        patch.setattr(rollup, "state", at_our_time)
        patch.setattr(rollup, "execute", until_killed)

    async def insert(self, batch: list[ResponseRow]) -> None:
        """Insert."""
        if batch:
            await insert(self.client, batch, ingested_at=self.now)
            self.versions += batch

    async def book_slowly(self, batch: list[ResponseRow]) -> None:
        """An insert that takes two minutes, in which a pass of the rollup begins and ends."""
        began = self.now
        self.now += timedelta(minutes=1)
        await rollup.refresh(self.client)
        await self.check()
        self.now += timedelta(minutes=1)
        if batch:
            await insert(self.client, batch, ingested_at=began)
            self.versions += batch

    async def cut_off(self, statements: int) -> None:
        """A pass of which only so many statements are run."""
        self.statements_left = statements
        with contextlib.suppress(Killed):
            await rollup.refresh(self.client)
        self.statements_left = 10**9

    async def cut_off_days(self, statements: int) -> None:
        """A pass over days of which at most so many statements are run."""
        self.statements_left = statements
        with contextlib.suppress(Killed):
            await rollup_days.refresh(self.client)
        self.statements_left = 10**9

    async def refresh_overtaken(self, statements: int, *, meanwhile: list[ResponseRow]) -> None:
        """A pass that another logger's overtakes after so many statements, while requests come."""
        tell, left = rollup.execute, [statements]

        async def overtaken(client: AsyncClient, statement: str, **parameters: Any) -> None:
            left[0] -= 1
            if left[0] == -1:
                self.now += timedelta(seconds=1)
                await self.insert(meanwhile)
                await rollup.refresh(client)
            await tell(client, statement, **parameters)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rollup, "execute", overtaken)
            await rollup.refresh(self.client)

    async def check(self) -> None:
        """The views say what the requests say."""
        assert await stored_usage(self.client, "usage") == figures(self.versions)
        assert await stored_usage(self.client, "usage_totals", key=TOTALS) == figures(self.versions, key=TOTALS)
        assert await expected_usage.stored_faults(self.client, "usage_faults") == expected_usage.faults(
            expected_usage.newest(self.versions)
        )
        edge = START - next(self.edges)
        if context := await expected_usage.query_context(self.client, edge):
            await self.check_dashboard_sources(context, edge)

    async def check_dashboard_sources(self, context: expected_usage.QueryContext, edge: datetime) -> None:
        """So do the dashboard's sources; the narrower ones on both sides of a line that a question draws."""
        known, client = expected_usage.newest(self.versions), self.client
        faults = source_sql.faults(context.shown, [*expected_usage.FAULT, "requests", "input_tokens", "last_at"])
        assert await expected_usage.stored_faults(client, faults, context) == expected_usage.faults(known)
        dims = list(expected_usage.SUMMED)[len(known) % 3]
        wide = source_sql.by_quarters(context.shown, expected_usage.NARROW)
        assert await expected_usage.stored_narrow_sums(client, wide, dims, context) == expected_usage.narrow_sums(
            known, dims
        )
        who = source_sql.by_quarters(context.shown, expected_usage.WHO)
        assert await expected_usage.stored_requester_sums(client, who, context) == expected_usage.requester_sums(known)
        if days := await expected_usage.summed_days(client):
            by = expected_usage.JOINT[len(known) % 3]
            found = await expected_usage.stored_joint_sums(client, days, context, by)
            assert found == expected_usage.joint_sums(known, by)
        line = f"toDateTime('{edge:%Y-%m-%d %H:%M:%S}', 'UTC')"
        await self.check_side([row for row in known if row.started_at < edge], context, f"bucket < {line}")
        await self.check_side([row for row in known if row.started_at >= edge], context, f"bucket >= {line}")

    async def check_side(self, rows: list[ResponseRow], context: expected_usage.QueryContext, where: str) -> None:
        """On one of them."""
        client, shown = self.client, context.shown
        dims = list(expected_usage.SUMMED)[len(rows) % 3]
        source = source_sql.totals(shown, expected_usage.NARROW, *expected_usage.SUMMED[dims])
        assert await expected_usage.stored_narrow_sums(
            client, source, dims, context, where=where
        ) == expected_usage.narrow_sums(rows, dims)
        source = source_sql.requesters(shown, expected_usage.WHO)
        assert await expected_usage.stored_requester_sums(
            client, source, context, where=where
        ) == expected_usage.requester_sums(rows)
        by = [(), ("provider", "model")][len(rows) % 2]
        source = source_sql.latency(shown, ["account", "bucket", *by, "latency"], *by)
        long = await expected_usage.stored_latency(client, source, *by, context=context, where=where)
        expected = expected_usage.latency(rows, *by)
        assert long.keys() == expected.keys()
        for key, of in expected.items():
            for level, value in zip((0.5, 0.95, 0.99), long[key], strict=True):
                at = min(len(of) - 1, int(level * len(of)))
                assert of[max(0, at - 1)] <= value <= of[min(len(of) - 1, at + 1)]

    async def check_rollup(self) -> None:
        """So do the tables behind them, once a pass came to an end and nothing came after it."""
        assert await stored_usage(self.client, "usage_15m FINAL") == figures(self.versions)
        assert await stored_usage(self.client, "usage_totals_15m FINAL", key=TOTALS) == figures(
            self.versions, key=TOTALS
        )
        known = expected_usage.faults(expected_usage.newest(self.versions))
        assert await expected_usage.stored_faults(self.client, "usage_faults_15m FINAL") == known


@pytest.fixture
def world(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(client, monkeypatch)


def money(text: str) -> Decimal:
    return Decimal(text).quantize(cost_columns.SCALE)


def some_requests(
    count: int, *, choose: random.Random, until: datetime = START, back: timedelta = timedelta(days=2)
) -> list[ResponseRow]:
    """Requests of all kinds, spread over the time before `until`."""
    found = []
    for _ in range(count):
        cost = choose.choice([None, money("0"), money(f"0.00{choose.randrange(10**6)}")])
        known = choose.random() < 0.8
        found.append(
            request(
                until - timedelta(microseconds=choose.randrange(int(back.total_seconds() * 1e6))),
                account=choose.choice(["acme", "beta"]),
                requester=choose.choice(["", "ann", "bob", "zoë"]),
                token=choose.choice(["ci", "web"]),
                client=choose.choice(["", "claude-cli"]),
                session=choose.choice(["", "s1", "s2"]),
                agent=choose.choice(["", "Explore"]),
                model=choose.choice(["", "gpt-4o-2024-11-20"]),
                stream=choose.random() < 0.5,
                status=choose.choice([200, 200, 429, 502]),
                outcome=choose.choice(["complete", "complete", "client_closed", "timeout"]),
                error_type=choose.choice(["", "", "rate_limit"]),
                cache=choose.choice(["", "HIT", "MISS"]),
                latency_ms=choose.randrange(1, 10_000),
                ttfb_ms=choose.choice([None, 5, 500]),
                input_tokens=choose.randrange(1000) if known else None,
                output_tokens=choose.randrange(1000) if known else None,
                cache_read_tokens=choose.randrange(10),
                usage_source=choose.choice(["reported", "estimated"]) if known else "absent",
                cost=cost,
                cost_reason="" if cost is not None else choose.choice(["unknown_model", "disputed_price"]),
                cost_by_class={} if not cost else {"input": cost},
                cost_saved=choose.choice([None, money("0"), money("0.5")]),
                saved_input_tokens=choose.randrange(1000),
                saved_output_tokens=choose.randrange(1000),
            )
        )  # fmt: skip
    return found


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "insert",
                "slowly",
                "interrupt",
                "answer",
                "again",
                "reprice",
                "refresh",
                "cut off",
                "overtaken",
                "verify",
                "merge",
                "days",
            ]
        ),
        st.integers(0, 11),
        st.sampled_from([timedelta(seconds=1), timedelta(minutes=1), SETTLED]),  # that pass before the next step
    ),
    min_size=3,
    max_size=12,
)
Steps = list[tuple[str, int, timedelta]]
LONG, SHORT = SETTLED, timedelta(seconds=1)


HISTORIES: dict[str, Steps] = {
    "a pass is cut off": [("insert", 5, LONG), ("cut off", 1, LONG), ("refresh", 0, LONG)],
    "an insert takes long": [("insert", 5, LONG), ("slowly", 5, LONG), ("refresh", 0, LONG), ("refresh", 0, LONG)],
    "a response comes late": [
        ("interrupt", 9, LONG),
        ("refresh", 0, LONG),
        ("answer", 3, SHORT),
        ("refresh", 0, LONG),
    ],
    "a pass overtakes another": [
        ("interrupt", 9, LONG),
        ("overtaken", 1, SHORT),
        ("refresh", 0, SHORT),
        ("merge", 0, LONG),
    ],
    "days are touched again": [
        ("interrupt", 9, LONG),
        ("days", 11, LONG),
        ("answer", 5, LONG),
        ("days", 1, SHORT),
        ("days", 11, LONG),
        ("reprice", 9, LONG),
    ],
    "a new price": [("insert", 9, LONG), ("refresh", 0, LONG), ("reprice", 9, LONG), ("verify", 0, SHORT)],
}


@pytest.mark.parametrize("steps", HISTORIES.values(), ids=HISTORIES)
def test_usage_counts_each_request_once_in_histories_that_once_went_wrong(
    server: servers.ClickHouseServer, steps: Steps
) -> None:
    asyncio.run(_live_through(server.url(), steps, random.Random(0)))


@given(steps=STEPS, seed=st.integers(0, 2**32))
@settings(
    max_examples=examples(2), deadline=None, derandomize=True
)  # each takes ten seconds; more when the rollup is changed
def test_whatever_comes_again_late_or_otherwise_usage_counts_each_request_once(
    server: servers.ClickHouseServer, steps: Steps, seed: int
) -> None:
    asyncio.run(_live_through(server.url(), steps, random.Random(seed)))


async def _live_through(url: str, steps: Steps, choose: random.Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with connected(url) as client:
            await empty(client)
            world = World(client, patch)
            for step, number, pause in steps:
                await _step(world, step, number, choose)
                await world.check()
                world.now += pause
            world.now += SETTLED
            await rollup.refresh(client)
            await world.check_rollup()
            world.now += SETTLED
            await rollup.refresh(client)  # from here on the views ask the rollup alone
            await world.check()
            assert await rollup.verify(client) == 0
            await rollup_days.refresh(client)
            await world.check()
            assert await rollup_days.verify(client) == 0


async def _step(world: World, step: str, number: int, choose: random.Random) -> None:
    known = expected_usage.newest(world.versions)
    some = choose.sample(known, min(len(known), number + 1))
    fresh = some_requests(number + 1, choose=choose, until=world.now)
    if step == "insert":
        await world.insert(fresh)
    elif step == "days":
        await world.cut_off_days(number)
    elif step == "slowly":
        await world.book_slowly(fresh)
    elif step == "interrupt":
        await world.insert([interrupted(row) for row in fresh])
    elif step == "answer":  # what was interrupted, or never heard of
        await world.insert([msgspec.structs.replace(row, **_ending(choose)) for row in some if row.version == 1])
    elif step == "again":
        await world.insert(choose.sample(world.versions, min(len(world.versions), number + 1)))
    elif step == "reprice":
        priced = [row for row in some if row.version >= 2]
        await world.insert(
            [
                msgspec.structs.replace(r, version=r.version + 1, cost=money(f"0.{number}1"), cost_reason="")
                for r in priced
            ]
        )
    elif step == "refresh":
        await rollup.refresh(world.client)
    elif step == "cut off":
        await world.cut_off(number)
    elif step == "overtaken":
        answers = [msgspec.structs.replace(row, **_ending(choose)) for row in some if row.version == 1]
        await world.refresh_overtaken(number % 5, meanwhile=answers)
    elif step == "verify":
        await rollup.verify(world.client)
    elif step == "merge":
        for table in TABLES[:-1]:
            await world.client.command(f"OPTIMIZE TABLE metrion.{table} FINAL")


def _ending(choose: random.Random) -> dict[str, Any]:
    return {"version": 2, "status": 200, "outcome": "complete", "model": "gpt-4o-2024-11-20", "latency_ms": 70, "ttfb_ms": 30,
            "input_tokens": choose.randrange(100), "output_tokens": 5, "usage_source": "reported", "cost": money("0.25"),
            "cost_reason": ""}  # fmt: skip


async def test_an_upgrade_sums_up_the_sessions_of_stored_requests_while_others_arrive(world: World) -> None:
    choose = random.Random(1)
    client = world.client
    await world.insert(some_requests(60, choose=choose))
    world.now += 2 * rollup_days.SETTLING  # both days are over
    await rollup.refresh(client)
    await rollup_days.refresh(client)
    await _downgrade(client)
    await schema.apply(client)
    assert await expected_usage.summed_days(client) is None, "no pass of this release: sessions are in the requests"
    await world.check()

    with pytest.MonkeyPatch.context() as patch:
        tell = rollup.execute

        async def among_inserts(client: AsyncClient, statement: str, **parameters: Any) -> None:
            await world.insert(some_requests(2, choose=choose))
            await tell(client, statement, **parameters)
            await world.insert(some_requests(2, choose=choose))

        patch.setattr(rollup, "execute", among_inserts)
        await rollup_days.refresh(client)
    await check_sessions(world)
    world.now += SETTLED
    await rollup.refresh(client)
    await rollup_days.refresh(client)
    await check_sessions(world)
    stored = await client.query(
        "SELECT session, requester, sum(requests) AS many FROM metrion.usage_session_days FINAL GROUP BY ALL HAVING many > 0"
    )
    assert {(session, who): many for session, who, many in stored.result_rows} == Counter(
        (row.session, row.requester) for row in expected_usage.newest(world.versions)
    )
    assert await rollup_days.verify(client) == 0


async def _downgrade(client: AsyncClient) -> None:
    """Make the database what the release before sums of sessions left."""
    await client.command("DROP TABLE metrion.usage_session_days", use_database=False)
    await client.command(
        "INSERT INTO metrion.rollup_passes SELECT * REPLACE ('days' AS pass) FROM metrion.rollup_passes WHERE pass = 'day sums'"
    )
    await client.command("ALTER TABLE metrion.rollup_passes DELETE WHERE pass = 'day sums' SETTINGS mutations_sync = 2")
    await client.command("TRUNCATE TABLE metrion.schema_versions", use_database=False)
    await client.insert("metrion.schema_versions", [[schema.views_version() - 1]], column_names=["version"])


async def check_sessions(world: World) -> None:
    """Sums by session say what the requests say."""
    context = await expected_usage.query_context(world.client, START)
    days = await expected_usage.summed_days(world.client)
    assert context is not None and days is not None
    by = expected_usage.JOINT[2]
    found = await expected_usage.stored_joint_sums(world.client, days, context, by)
    assert found == expected_usage.joint_sums(expected_usage.newest(world.versions), by)


async def test_erased_requesters_and_late_responses_leave_the_sums_of_sessions(world: World) -> None:
    one = [request(START - timedelta(days=1), session="s", requester="ann", cost=money("0.5"))]
    two = [interrupted(request(START - timedelta(days=1), session="s", requester="bob"))]
    await world.insert([*one, *two])
    world.now += 2 * rollup_days.SETTLING
    await rollup.refresh(world.client)
    await rollup_days.refresh(world.client)
    answered = request(
        START - timedelta(days=1), id=two[0].id, session="s", requester="bob", model="late", cost=money("0.25")
    )
    await world.insert([answered])
    await check_sessions(world)
    world.now += SETTLED
    await rollup_days.refresh(world.client)
    await check_sessions(world)
    tables = [row["table"] for row in await clickhouse.run_query(world.client, "erasure_tables")]
    assert "usage_session_days" in tables
    for table in tables:
        await world.client.command(
            clickhouse.text("erasure"),
            parameters={"table": table, "requester": "bob", "account": ""},
            use_database=False,
        )
    world.versions = one
    await check_sessions(world)
    left = await world.client.query("SELECT DISTINCT requester FROM metrion.usage_session_days")
    assert left.result_rows == [("ann",)]
