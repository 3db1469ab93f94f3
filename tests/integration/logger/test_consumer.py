"""The logger against a real NATS server and a real ClickHouse engine: every event one exact row, whatever happens."""

import asyncio
import random
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from nats.aio.client import Client

from services.logger import clickhouse_health, rows, stream_purge, sweep
from shared import clickhouse, rollup
from shared import events as event_types
from shared.events import Event, Origin, RequestEvent
from shared.nats_client import connect
from tests.support import ports, servers
from tests.support.definitions import is_answered, is_cache_hit, is_error, is_estimated, model_name
from tests.support.event_line import (
    NEVER,
    Line,
    answer,
    assert_exact,
    beat,
    cut,
    drained,
    envelope,
    logger,
    packed,
    provisioned,
    select,
    ship,
    start_logger,
    stored,
    traffic,
    until,
)

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(rollup, "VERIFIED", timedelta(days=5))  # each day that the nightly pass verifies costs a query
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield Line(broker, engine)


@pytest.fixture
def account() -> str:
    return f"a{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def bus(line: Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await connection.close()


async def ask(line: Line, question: str, **parameters: object) -> list[dict[str, object]]:
    client = await clickhouse.connect(line.clickhouse.url(), service="test")
    try:
        return await clickhouse.run_query(client, question, **parameters)
    finally:
        await client.close()


async def completeness(line: Line, spool: str) -> dict[str, object]:
    found = await ask(line, "completeness", since=datetime.now(UTC) - HOUR)
    return next(row for row in found if row["spool"] == spool)


async def swept(line: Line, *, grace: float = 0, silence: float = NEVER) -> int:
    client = await clickhouse.connect(line.clickhouse.url(), service="test")
    try:
        return await sweep.sweep(client, limits=sweep.Limits(grace=grace, silence=silence), back=HOUR)
    finally:
        await client.close()


async def test_response_event_is_stored_with_all_its_values(line: Line, bus: Client, account: str) -> None:
    asked = envelope(
        account,
        metadata={"team": "grün", "quote": "'\"\\\n\t"},
        requester="o'neil\t\\",
        client="claude-cli",
        client_version="2.1.332",
        session="sitzung-ü '\\",
        agent="cli",
    )
    event = answer(Origin(account, 1, 1), asked, tokens=1000, ttfb_ms=None)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed([event])])
        await stored(line, bus, account, 1)
    client = await clickhouse.connect(line.clickhouse.url(), service="test")
    try:
        result = await client.query(f"SELECT * FROM metrion.requests WHERE account = '{account}'")
    finally:
        await client.close()
    row = next(iter(result.named_results()))
    expected = rows.response_row(event)
    defined = {
        "model_name": model_name(expected),
        "is_error": is_error(expected),
        "is_cache_hit": is_cache_hit(expected),
        "is_estimated": is_estimated(expected),
        "is_answered": is_answered(expected),
        "answered_latency_ms": expected.latency_ms,
        "answered_ttfb_ms": expected.ttfb_ms,
        "source": "gateway",
        "is_imported": False,
    }
    for column in set(row) - {"ingested_at", "id"}:
        assert row[column] == (defined[column] if column in defined else getattr(expected, column)), column
    assert str(row["id"]) == asked.id
    assert (row["cost"], row["cost_reason"]) == (Decimal("0.033"), "")  # 3 $ a million in, 15 $ a million out


async def test_the_same_events_delivered_five_times_in_other_cuts_count_once(
    line: Line, bus: Client, account: str
) -> None:
    events = traffic(account, 200)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        for size in (50, 50, 37, 133, 401):
            await ship(bus, cut(events, size))
            random.shuffle(events)
        await stored(line, bus, account, 200)
    assert_exact(line, account, events)
    proof = await completeness(line, account)
    assert (proof["sent"], proof["stored"], proof["missing"], proof["duplicated"]) == (400, 400, 0, 0)


async def test_a_bad_message_becomes_a_dead_letter_and_consumption_continues(
    line: Line, bus: Client, account: str
) -> None:
    good = traffic(account, 3)
    unreadable = b"\x93no event"
    refused = answer(Origin(account, 1, 99), envelope(account, id="not-a-uuid"))
    broken = event_types.frame(b"changed") + b"CHANGED"
    data = b"".join(
        [
            packed(good[:2]),
            event_types.frame(unreadable),
            unreadable,
            broken,
            packed(good[2:]),
            packed([refused]),
            b"\x07",
        ]
    )
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        before = await _dead(bus)
        await ship(bus, [data, packed(traffic(account, 2, epoch=2))])
        await stored(line, bus, account, 5)
    assert_exact(line, account, good + traffic(account, 2))
    assert (await _dead(bus)) - before == 4
    last = await bus.jetstream().get_last_msg(event_types.DEAD_STREAM, "metrion.dead.bad_event")
    assert last.data == unreadable
    assert last.headers and last.headers["Metrion-Reason"] == "bad_event"
    assert int(last.headers["Metrion-Stream-Sequence"]) > 0


@pytest.mark.parametrize("victim", ["clickhouse", "nats"])
async def test_killed_server_loses_and_duplicates_no_row(line: Line, bus: Client, account: str, victim: str) -> None:
    events = traffic(account, 1500)
    async with logger(line.settings(batch_events=100)):
        await until(lambda: provisioned(bus), "streams")
        shipping = asyncio.create_task(ship(bus, cut(events, 20)))
        await until(lambda: _some(line, account), "the first rows")
        server = getattr(line, victim)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(1)
        server.start()  # in this thread: a child dies with the thread that started it
        await asyncio.wait_for(shipping, servers.DEADLINE)
        await stored(line, bus, account, 1500)
    assert_exact(line, account, events)
    assert (await completeness(line, account))["missing"] == 0


KILLED_BEFORE_THE_ACK = """
import os, signal
from services.logger import consumer
async def die(nc, message, what):
    if what == consumer.ACK:
        os.kill(os.getpid(), signal.SIGKILL)
consumer.ack = die
import services.logger.__main__
"""


async def test_logger_killed_between_insert_and_ack_duplicates_nothing(line: Line, bus: Client, account: str) -> None:
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
    events = traffic(account, 50)
    process = await asyncio.to_thread(start_logger, line, KILLED_BEFORE_THE_ACK)
    try:
        await ship(bus, cut(events, 10))
        assert await asyncio.to_thread(process.wait, servers.DEADLINE) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    assert select(line, "count() > 0", account) == ["1"]
    assert not await drained(bus)
    async with logger(line.settings()):
        await stored(line, bus, account, 50)
    assert_exact(line, account, events)


async def test_request_stays_interrupted_until_its_late_response_arrives(line: Line, bus: Client, account: str) -> None:
    asked = envelope(account, client="claude-cli", session="0e1fb1a2")
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed([RequestEvent(Origin(account, 1, 1), asked), beat(account, 2, sequence=0)])])
        await until(lambda: _drained_and(line, account, "request_events"), "the request")
        assert await swept(line) == 1
        assert select(line, "outcome, status, cost, cost_reason, version, client, session", account) == [
            "interrupted",
            "0",
            "\\N",
            "interrupted",
            "1",
            "claude-cli",
            "0e1fb1a2",
        ]
        assert await swept(line) == 0
        await ship(bus, [packed([answer(Origin(account, 1, 2), asked, tokens=5)])])

        async def answered() -> bool:
            return select(line, "outcome", account) == ["complete"]

        await until(answered, "the answer")
    assert select(line, "count(), sum(input_tokens)", account) == ["1", "5"]


async def test_sweep_ignores_requests_that_may_still_get_a_response(line: Line, bus: Client, account: str) -> None:
    events: list[Event] = [
        RequestEvent(Origin(account, 7, 1), envelope(account)),
        beat(account, 6, sequence=10, closing=True),
        beat(account, 7, sequence=1),
    ]
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed(events)])
        await until(lambda: _drained_and(line, account, "request_events"), "the request")
        assert await swept(line) == 0
        await ship(bus, [packed([beat(account, 7, sequence=1, closing=True)])])
        await until(lambda: drained(bus), "the beat")
        assert await swept(line, grace=NEVER) == 0
        assert await swept(line) == 1
        silent = RequestEvent(Origin(f"{account}-silent", 1, 1), envelope(account))
        await ship(bus, [packed([silent])])
        await until(lambda: drained(bus), "the silent instance")
        assert await swept(line, silence=NEVER) == 0
        assert await swept(line, silence=0) == 1
    assert select(line, "count()", account) == ["2"]


async def test_the_running_logger_sweeps_by_itself(line: Line, bus: Client, account: str) -> None:
    async with logger(line.settings(sweep_every=0.2, sweep_grace=0.1)):
        await until(lambda: provisioned(bus), "streams")
        lone = RequestEvent(Origin(account, 1, 1), envelope(account))
        await ship(bus, [packed([lone, beat(account, 1, sequence=1, closing=True)])])
        await stored(line, bus, account, 1)
    assert select(line, "outcome", account) == ["interrupted"]


async def test_an_event_left_out_shows_as_missing(line: Line, bus: Client, account: str) -> None:
    events = traffic(account, 20)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed(events[:7] + events[8:])])
        await until(lambda: drained(bus), "the events")
        proof = await completeness(line, account)
        assert (proof["sent"], proof["stored"], proof["missing"]) == (40, 39, 1)
        await ship(bus, [packed([beat(account, 1, sequence=41, dropped=2)])])
        await until(lambda: drained(bus), "the beat")
        proof = await completeness(line, account)
        assert (proof["sent"], proof["dropped"], proof["missing"], proof["duplicated"]) == (41, 2, 0, 0)


async def _both_pull(bus: Client) -> bool:
    consumer = await bus.jetstream().consumer_info(event_types.EVENTS_STREAM, event_types.LOGGER_CONSUMER)
    return (consumer.num_waiting or 0) >= 2


async def test_two_logger_replicas_share_the_events(line: Line, bus: Client, account: str) -> None:
    events = traffic(account, 600)
    own = [ports.free_port() for _ in range(2)]
    async with logger(line.settings(logger_ops_port=own[0])), logger(line.settings(logger_ops_port=own[1])):
        for port in own:
            await until(lambda port=port: _ready(port), "a replica")
        await until(lambda: _both_pull(bus), "a pull of each replica")
        random.shuffle(events)
        await ship(bus, cut(events, 5))
        await stored(line, bus, account, 600)
        shares = [await _metric(port, "metrion_logger_events_total") for port in own]
    assert all(shares) and sum(shares) >= len(events)
    assert_exact(line, account, events)


async def test_a_logger_stopped_and_started_again_goes_on_where_it_was(line: Line, bus: Client, account: str) -> None:
    events = traffic(account, 800)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        shipping = asyncio.create_task(ship(bus, cut(events, 10)))
        await until(lambda: _some(line, account), "the first rows")
    async with logger(line.settings()):
        await asyncio.wait_for(shipping, servers.DEADLINE)
        await stored(line, bus, account, 800)
    assert_exact(line, account, events)


async def test_a_logger_waits_for_its_servers_and_says_so(line: Line, bus: Client, account: str) -> None:
    port = ports.free_port()
    await asyncio.to_thread(line.clickhouse.kill)
    try:
        async with logger(line.settings(logger_ops_port=port)):
            await until(lambda: _says(port, "no connection to ClickHouse yet\n"), "the reason")
            line.clickhouse.start()
            await until(lambda: _ready(port), "readiness")
            await ship(bus, [packed(traffic(account, 1))])
            await stored(line, bus, account, 1)
    finally:
        line.clickhouse.restart()


async def test_a_logger_whose_clickhouse_is_gone_is_not_ready_even_without_traffic(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody calls a logger, but a rollout goes on and no alert fires while it calls itself ready."""
    monkeypatch.setattr(clickhouse_health, "EVERY_SECONDS", 0.1)
    monkeypatch.setattr(clickhouse_health, "PATIENCE_SECONDS", 0.5)
    port = ports.free_port()
    async with logger(line.settings(logger_ops_port=port)):
        await until(lambda: _ready(port), "readiness")
        await asyncio.to_thread(line.clickhouse.kill)
        try:
            await until(lambda: _unready(port, "ClickHouse has not responded for"), "the reason")
        finally:
            line.clickhouse.start()
        await until(lambda: _ready(port), "readiness again")


async def test_only_what_is_stored_and_old_leaves_the_stream(line: Line, bus: Client, account: str) -> None:
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, cut(traffic(account, 20), 2))
        await stored(line, bus, account, 20)
    await ship(bus, cut(traffic(account, 1, epoch=2), 1))  # nobody stores these
    own = await connect(line.nats.url("logger"), service="logger")  # only the logger may purge
    try:
        assert await stream_purge.purge(own.jetstream()) == 0
        assert await stream_purge.purge(own.jetstream(), window=timedelta(0)) >= 20
        assert (await own.jetstream().stream_info(event_types.EVENTS_STREAM)).state.messages == 3
    finally:
        await own.close()
    async with logger(line.settings()):
        await stored(line, bus, account, 21)


async def _some(line: Line, account: str) -> bool:
    return select(line, "count() > 0", account) == ["1"]


async def _drained_and(line: Line, account: str, table: str) -> bool:
    return select(line, "count() > 0", account, table=table) == ["1"]


async def _dead(bus: Client) -> int:
    return (await bus.jetstream().stream_info(event_types.DEAD_STREAM)).state.last_seq


async def _get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        return int(head.split()[1]), body
    finally:
        writer.close()
        await writer.wait_closed()


async def _ready(port: int) -> bool:
    return (await _get(port, "/readyz"))[0] == 200


async def _says(port: int, reason: str) -> bool:
    return await _get(port, "/readyz") == (503, reason)


async def _unready(port: int, reason: str) -> bool:
    status, body = await _get(port, "/readyz")
    return status == 503 and body.startswith(reason)


async def _metric(port: int, name: str) -> float:
    lines = (await _get(port, "/metrics"))[1].splitlines()
    return next(float(text.split()[-1]) for text in lines if text.startswith(name + " "))
