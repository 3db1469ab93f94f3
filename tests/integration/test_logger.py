"""The logger against a real NATS server and a real ClickHouse engine: every event one exact row, whatever happens."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client

from services.logger import pulse, rows, sweep, upkeep
from services.logger.service import run
from services.logger.settings import Settings
from shared import clickhouse, contract
from shared.bus import connect
from shared.contract import Envelope, Event, Evidence, GatewayBeat, Origin, RequestEvent, ResponseEvent
from tests import parts

HOUR = timedelta(hours=1)
NEVER = 3600.0


class Line(msgspec.Struct):
    """The two servers between which a logger stands."""

    nats: parts.NatsServer
    clickhouse: parts.ClickHouseServer

    def settings(self, **changes: object) -> Settings:
        defaults = {
            "nats_url": self.nats.url("logger"),
            "clickhouse_url": self.clickhouse.url(),
            "logger_ops_port": 0,
            "linger": 0.05,
            "redeliver_after": 3.0,
            "sweep_every": NEVER,
        }
        return Settings(**(defaults | changes))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with (
        parts.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        parts.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
    ):
        asyncio.run(parts.provision(broker, redeliver_after=3))
        yield Line(broker, engine)


@pytest.fixture
def account() -> str:
    return f"a{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def bus(line: Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await connection.close()


@contextlib.asynccontextmanager
async def logger(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """A logger in this process, stopped at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


def envelope(account: str, *, started_at: datetime | None = None, **changes: object) -> Envelope:
    given = Envelope(
        id=str(uuid.uuid4()),
        account=account,
        token="app",
        requester=f"user{random.randrange(3)}",
        metadata={"team": "blue"},
        provider="anthropic",
        dialect="anthropic",
        endpoint="POST /v1/messages",
        model="claude-sonnet-4-5",
        stream=False,
        started_at=started_at or datetime.now(UTC),
        gateway="test",
    )
    return msgspec.structs.replace(given, **changes)


def answer(origin: Origin, asked: Envelope, *, tokens: int = 10, **changes: object) -> ResponseEvent:
    usage = {"input_tokens": tokens, "output_tokens": tokens * 2}
    pick = msgspec.json.encode({"model": "claude-sonnet-4-5-20250929", "usage": usage})
    given = ResponseEvent(
        origin=origin,
        envelope=asked,
        status=200,
        outcome=contract.COMPLETE,
        error_type="",
        error_message="",
        provider_request_id="req_1",
        latency_ms=120,
        ttfb_ms=40,
        request_bytes=300,
        response_bytes=500,
        cache="",
        drained=False,
        upstream=True,
        evidence=Evidence(picks=(pick,)),
    )
    return msgspec.structs.replace(given, **changes)


def traffic(account: str, count: int, *, spool: str = "", epoch: int = 1) -> list[Event]:
    """`count` requests with their answers, numbered without gaps, and the beat that says so."""
    spool, events = spool or account, []
    for number in range(count):
        asked = envelope(account)
        events.append(RequestEvent(Origin(spool, epoch, 2 * number + 1), asked))
        events.append(answer(Origin(spool, epoch, 2 * number + 2), asked, tokens=number + 1))
    return [*events, beat(spool, epoch, sequence=2 * count)]


def beat(spool: str, epoch: int, *, sequence: int, closing: bool = False, dropped: int = 0) -> GatewayBeat:
    return GatewayBeat(spool, epoch, "test", datetime.now(UTC), sequence, dropped, closing, 0)


def packed(events: Sequence[Event]) -> bytes:
    return b"".join(contract.frame(body) + body for body in map(contract.encode, events))


def cut(events: Sequence[Event], size: int) -> list[bytes]:
    return [packed(events[start : start + size]) for start in range(0, len(events), size)]


async def ship(bus: Client, messages: Sequence[bytes]) -> None:
    """Publish as a gateway's shipper does: under one Nats-Msg-Id until it is acked."""
    for data in messages:
        headers, deadline = {"Nats-Msg-Id": uuid.uuid4().hex}, time.monotonic() + parts.DEADLINE
        while True:
            try:
                await bus.jetstream().publish("metrion.events.test", data, headers=headers, timeout=2)
                break
            except (nats.errors.Error, nats.js.errors.Error, OSError):
                assert time.monotonic() < deadline, "publishing: waited in vain"
                await asyncio.sleep(0.1)


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, seconds: float = parts.DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(RuntimeError, OSError, nats.errors.Error, nats.js.errors.Error):
            if await condition():
                return
        assert time.monotonic() < deadline, f"{what}: waited in vain"
        await asyncio.sleep(0.1)


async def drained(bus: Client) -> bool:
    """Whether everything published is acked."""
    consumer = await bus.jetstream().consumer_info(contract.EVENTS_STREAM, contract.LOGGER_CONSUMER)
    return not consumer.num_pending and not consumer.num_ack_pending


def select(line: Line, what: str, account: str, *, table: str = "requests") -> list[str]:
    sql = f"SELECT {what} FROM metrion.{table} WHERE account = '{account}'"
    return line.clickhouse.query(sql).rstrip("\n").split("\t")


async def stored(line: Line, bus: Client, account: str, count: int) -> None:
    async def there() -> bool:
        return select(line, "count()", account) == [str(count)] and await drained(bus)

    await until(there, f"{count} rows")


async def ask(line: Line, question: str, **parameters: object) -> list[dict[str, object]]:
    client = await clickhouse.connect(line.clickhouse.url(), service="test")
    try:
        return await clickhouse.ask(client, question, **parameters)
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


def assert_exact(line: Line, account: str, events: Sequence[Event]) -> None:
    """One row an answer, and the very sums that the events stand for."""
    expected = [rows.answered(event) for event in events if isinstance(event, ResponseEvent)]
    cost = sum((row.cost for row in expected if row.cost is not None), Decimal(0))
    found = select(line, "count(), uniqExact(id), sum(input_tokens), sum(output_tokens), sum(cost)", account)
    assert [int(figure) for figure in found[:4]] == [
        len(expected),
        len(expected),
        sum(row.input_tokens or 0 for row in expected),
        sum(row.output_tokens or 0 for row in expected),
    ]
    assert Decimal(found[4]) == cost
    assert cost > 0


async def test_an_answer_stands_in_clickhouse_as_it_was(line: Line, bus: Client, account: str) -> None:
    asked = envelope(account, metadata={"team": "grün", "quote": "'\"\\\n\t"}, requester="o'neil\t\\")
    event = answer(Origin(account, 1, 1), asked, tokens=1000, ttfb_ms=None)
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
        await ship(bus, [packed([event])])
        await stored(line, bus, account, 1)
    client = await clickhouse.connect(line.clickhouse.url(), service="test")
    try:
        result = await client.query(f"SELECT * FROM metrion.requests WHERE account = '{account}'")
    finally:
        await client.close()
    row = next(iter(result.named_results()))
    expected = rows.answered(event)
    for column in set(row) - {"ingested_at", "id"}:
        assert row[column] == getattr(expected, column), column
    assert str(row["id"]) == asked.id
    assert (row["cost"], row["cost_reason"]) == (Decimal("0.033"), "")  # 3 $ a million in, 15 $ a million out


async def test_the_same_events_delivered_five_times_in_other_cuts_count_once(
    line: Line, bus: Client, account: str
) -> None:
    events = traffic(account, 200)
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
        for size in (50, 50, 37, 133, 401):
            await ship(bus, cut(events, size))
            random.shuffle(events)
        await stored(line, bus, account, 200)
    assert_exact(line, account, events)
    proof = await completeness(line, account)
    assert (proof["sent"], proof["stored"], proof["missing"], proof["duplicated"]) == (400, 400, 0, 0)


async def test_poison_is_set_aside_and_the_line_goes_on(line: Line, bus: Client, account: str) -> None:
    good = traffic(account, 3)
    unreadable = b"\x93no event"
    refused = answer(Origin(account, 1, 99), envelope(account, id="not-a-uuid"))
    broken = contract.frame(b"changed") + b"CHANGED"
    data = b"".join(
        [packed(good[:2]), contract.frame(unreadable), unreadable, broken, packed(good[2:]), packed([refused]), b"\x07"]
    )
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
        before = await _dead(bus)
        await ship(bus, [data, packed(traffic(account, 2, epoch=2))])
        await stored(line, bus, account, 5)
    assert_exact(line, account, good + traffic(account, 2))
    assert (await _dead(bus)) - before == 4
    last = await bus.jetstream().get_last_msg(contract.DEAD_STREAM, "metrion.dead.bad_event")
    assert last.data == unreadable
    assert last.headers and last.headers["Metrion-Reason"] == "bad_event"
    assert int(last.headers["Metrion-Stream-Sequence"]) > 0


@pytest.mark.parametrize("victim", ["clickhouse", "nats"])
async def test_a_killed_server_costs_no_row_and_doubles_none(
    line: Line, bus: Client, account: str, victim: str
) -> None:
    events = traffic(account, 1500)
    async with logger(line.settings(batch_events=100)):
        await until(lambda: _provisioned(bus), "streams")
        shipping = asyncio.create_task(ship(bus, cut(events, 20)))
        await until(lambda: _some(line, account), "the first rows")
        server = getattr(line, victim)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(1)
        server.start()  # in this thread: a child dies with the thread that started it
        await asyncio.wait_for(shipping, parts.DEADLINE)
        await stored(line, bus, account, 1500)
    assert_exact(line, account, events)
    assert (await completeness(line, account))["missing"] == 0


KILLED_BEFORE_THE_ACK = """
import os, signal
from services.logger import intake
async def die(nc, message, what):
    if what == intake.ACK:
        os.kill(os.getpid(), signal.SIGKILL)
intake.answer = die
import services.logger.__main__
"""


async def test_a_logger_killed_between_insert_and_ack_books_nothing_twice(
    line: Line, bus: Client, account: str
) -> None:
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
    events = traffic(account, 50)
    process = await asyncio.to_thread(_start, line, KILLED_BEFORE_THE_ACK)
    try:
        await ship(bus, cut(events, 10))
        assert await asyncio.to_thread(process.wait, parts.DEADLINE) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    assert select(line, "count() > 0", account) == ["1"]
    assert not await drained(bus)
    async with logger(line.settings()):
        await stored(line, bus, account, 50)
    assert_exact(line, account, events)


async def test_a_request_is_interrupted_until_its_late_answer_comes(line: Line, bus: Client, account: str) -> None:
    asked = envelope(account)
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
        await ship(bus, [packed([RequestEvent(Origin(account, 1, 1), asked), beat(account, 2, sequence=0)])])
        await until(lambda: _drained_and(line, account, "request_events"), "the request")
        assert await swept(line) == 1
        assert select(line, "outcome, status, cost, cost_reason, version", account) == [
            "interrupted",
            "0",
            "\\N",
            "interrupted",
            "1",
        ]
        assert await swept(line) == 0
        await ship(bus, [packed([answer(Origin(account, 1, 2), asked, tokens=5)])])

        async def answered() -> bool:
            return select(line, "outcome", account) == ["complete"]

        await until(answered, "the answer")
    assert select(line, "count(), sum(input_tokens)", account) == ["1", "5"]


async def test_requests_that_can_still_be_answered_are_left_alone(line: Line, bus: Client, account: str) -> None:
    events = [
        RequestEvent(Origin(account, 7, 1), envelope(account)),
        beat(account, 6, sequence=10, closing=True),
        beat(account, 7, sequence=1),
    ]
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
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
        await until(lambda: _provisioned(bus), "streams")
        lone = RequestEvent(Origin(account, 1, 1), envelope(account))
        await ship(bus, [packed([lone, beat(account, 1, sequence=1, closing=True)])])
        await stored(line, bus, account, 1)
    assert select(line, "outcome", account) == ["interrupted"]


async def test_an_event_left_out_shows_as_missing(line: Line, bus: Client, account: str) -> None:
    events = traffic(account, 20)
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
        await ship(bus, [packed(events[:7] + events[8:])])
        await until(lambda: drained(bus), "the events")
        proof = await completeness(line, account)
        assert (proof["sent"], proof["stored"], proof["missing"]) == (40, 39, 1)
        await ship(bus, [packed([beat(account, 1, sequence=41, dropped=2)])])
        await until(lambda: drained(bus), "the beat")
        proof = await completeness(line, account)
        assert (proof["sent"], proof["dropped"], proof["missing"], proof["duplicated"]) == (41, 2, 0, 0)


async def test_two_replicas_share_the_work(line: Line, bus: Client, account: str) -> None:
    events = traffic(account, 600)
    ports = [parts.children.free_port() for _ in range(2)]
    async with logger(line.settings(logger_ops_port=ports[0])), logger(line.settings(logger_ops_port=ports[1])):
        for port in ports:
            await until(lambda port=port: _ready(port), "a replica")
        await asyncio.sleep(0.5)
        random.shuffle(events)
        await ship(bus, cut(events, 5))
        await stored(line, bus, account, 600)
        shares = [await _metric(port, "metrion_logger_events_total") for port in ports]
    assert all(shares) and sum(shares) >= len(events)
    assert_exact(line, account, events)


async def test_a_logger_stopped_and_started_again_goes_on_where_it_was(line: Line, bus: Client, account: str) -> None:
    events = traffic(account, 800)
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
        shipping = asyncio.create_task(ship(bus, cut(events, 10)))
        await until(lambda: _some(line, account), "the first rows")
    async with logger(line.settings()):
        await asyncio.wait_for(shipping, parts.DEADLINE)
        await stored(line, bus, account, 800)
    assert_exact(line, account, events)


async def test_a_logger_waits_for_its_servers_and_says_so(line: Line, bus: Client, account: str) -> None:
    port = parts.children.free_port()
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
    monkeypatch.setattr(pulse, "EVERY_SECONDS", 0.1)
    monkeypatch.setattr(pulse, "PATIENCE_SECONDS", 0.5)
    port = parts.children.free_port()
    async with logger(line.settings(logger_ops_port=port)):
        await until(lambda: _ready(port), "readiness")
        await asyncio.to_thread(line.clickhouse.kill)
        try:
            await until(lambda: _unready(port, "ClickHouse has not answered for"), "the reason")
        finally:
            line.clickhouse.start()
        await until(lambda: _ready(port), "readiness again")


async def test_only_what_is_stored_and_old_leaves_the_stream(line: Line, bus: Client, account: str) -> None:
    async with logger(line.settings()):
        await until(lambda: _provisioned(bus), "streams")
        await ship(bus, cut(traffic(account, 20), 2))
        await stored(line, bus, account, 20)
    await ship(bus, cut(traffic(account, 1, epoch=2), 1))  # nobody stores these
    own = await connect(line.nats.url("logger"), service="logger")  # only the logger may purge
    try:
        assert await upkeep.purge(own.jetstream()) == 0
        assert await upkeep.purge(own.jetstream(), window=timedelta(0)) >= 20
        assert (await own.jetstream().stream_info(contract.EVENTS_STREAM)).state.messages == 3
    finally:
        await own.close()
    async with logger(line.settings()):
        await stored(line, bus, account, 21)


async def _provisioned(bus: Client) -> bool:
    return bool(await bus.jetstream().consumer_info(contract.EVENTS_STREAM, contract.LOGGER_CONSUMER))


async def _some(line: Line, account: str) -> bool:
    return select(line, "count() > 0", account) == ["1"]


async def _drained_and(line: Line, account: str, table: str) -> bool:
    return select(line, "count() > 0", account, table=table) == ["1"]


async def _dead(bus: Client) -> int:
    return (await bus.jetstream().stream_info(contract.DEAD_STREAM)).state.last_seq


def _start(line: Line, program: str) -> subprocess.Popen[bytes]:
    settings = line.settings()
    environment = {
        **os.environ,
        "METRION_NATS_URL": settings.nats_url,
        "METRION_CLICKHOUSE_URL": settings.clickhouse_url,
        "METRION_LOGGER_OPS_PORT": "0",
        "METRION_REDELIVER_AFTER": "3",
    }
    return subprocess.Popen([sys.executable, "-c", program], cwd=parts.ROOT, env=environment)


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
