"""Events on their way to a real nats-server: whatever is killed, refused or late, each is in the stream exactly once."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client

from deploy.local import children
from services.gateway.outbox.orphans import adopt
from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.shipper import Shipper
from shared import events as event_types
from shared import nats_client
from shared.events import Envelope, RequestEvent
from shared.process import cancel_and_wait
from tests.support import servers

SUBJECT = f"{event_types.EVENTS_SUBJECT}.g-0"
LIVES = 6  # of the gateway that is killed
EVENTS_A_LIFE = 3000
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def opened(folder: Path) -> Outbox:
    return Outbox(folder, gateway="g-0", max_bytes=1 << 30, segment_bytes=256 << 10)


def say(outbox: Outbox, *, events: int = 1, size: int = 500) -> list[tuple[int, int]]:
    """Append events of incompressible text; (epoch, number) of each."""
    numbers = []
    for _ in range(events):
        text = os.urandom(size // 2).hex()
        envelope = Envelope("id", "a", "t", text, {}, "openai", "openai_chat", "POST /", "m", False, NOON, "g-0")
        event = RequestEvent(outbox.origin(), envelope)
        assert outbox.append(event)
        numbers.append((event.origin.epoch, event.origin.sequence))
    return numbers


@contextlib.asynccontextmanager
async def connected(server: servers.NatsServer, user: str) -> AsyncIterator[Client]:
    nc = await nats_client.connect(server.url(user), service=user)
    try:
        yield nc
    finally:
        await nc.close()


@contextlib.asynccontextmanager
async def shipping(server: servers.NatsServer, shipper: Shipper) -> AsyncIterator[None]:
    """The shipper at work on a connection of its own, as the gateway's user."""
    async with connected(server, "gateway") as nc:
        task = asyncio.create_task(shipper.run(nc))
        try:
            yield
            assert not task.done(), "the shipper gave up"
        finally:
            await cancel_and_wait(task)


async def provision(server: servers.NatsServer, *, max_bytes: int = 1 << 30) -> None:
    await servers.provision(server, max_bytes=max_bytes)


async def stored(server: servers.NatsServer) -> Counter[tuple[int, int]]:
    """How often the stream holds each event, by (epoch, number)."""
    found: Counter[tuple[int, int]] = Counter()
    async with connected(server, "logger") as nc:
        js = nc.jetstream()
        state = (await js.stream_info(event_types.EVENTS_STREAM)).state
        for sequence in range(1, state.last_seq + 1):
            message = await js.get_msg(event_types.EVENTS_STREAM, sequence)
            for body in event_types.frames(message.data or b""):
                event = event_types.decode(body)
                assert isinstance(event, RequestEvent)
                found[event.origin.epoch, event.origin.sequence] += 1
    return found


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + servers.DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: waited in vain"
        await asyncio.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with contextlib.closing(opened(tmp_path / "spools" / "0")) as spool:
        yield spool


async def test_each_event_is_stored_in_nats_once_and_then_deleted_from_disk(
    server: servers.NatsServer, outbox: Outbox
) -> None:
    await provision(server)
    shipper = Shipper(outbox, subject=SUBJECT)
    said = say(outbox, events=2000)
    async with shipping(server, shipper):
        said += say(outbox, events=1000)
        assert await shipper.flush(servers.DEADLINE) == 0
        said += say(outbox, size=600_000)  # one event larger than a message should be
        assert await shipper.flush(servers.DEADLINE) == 0
        assert shipper.oldest_pending_seconds() == 0.0
    assert await stored(server) == Counter(said)
    assert sum(path.stat().st_size for path in outbox.folder.glob("*.log")) < 256 << 10
    assert (shipper.refused, shipper.duplicates) == (0, 0)


async def test_events_wait_for_a_stream_that_is_not_there_yet(server: servers.NatsServer, outbox: Outbox) -> None:
    shipper = Shipper(outbox, subject=SUBJECT)
    said = say(outbox, events=100)
    async with shipping(server, shipper):
        await until(lambda: shipper.refused, "no refusal")
        assert shipper.oldest_pending_seconds() > 0
        await provision(server)
        assert await shipper.flush(servers.DEADLINE) == 0
    assert await stored(server) == Counter(said)


async def test_an_outbox_restored_from_an_older_copy_loses_no_later_event(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    """It uses numbers and places a second time: what goes by them alone would be dropped as a repeat."""
    await provision(server)
    folder, copy = tmp_path / "spools" / "0", tmp_path / "copy"
    opened(folder).close()
    shutil.copytree(folder, copy)
    for _ in range(2):
        outbox = opened(folder)
        say(outbox, events=20)
        shipper = Shipper(outbox, subject=SUBJECT, message_bytes=1 << 20)
        async with shipping(server, shipper):
            await until(lambda box=outbox: not box.pending_bytes, "all acknowledged")
        outbox.close()
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
    assert await stored(server) == Counter({(2, number): 2 for number in range(1, 21)})


async def test_a_full_stream_loses_nothing_and_takes_the_rest_when_it_has_room(
    server: servers.NatsServer, outbox: Outbox
) -> None:
    await provision(server, max_bytes=128 << 10)
    shipper = Shipper(outbox, subject=SUBJECT, message_bytes=8 << 10)
    said = say(outbox, events=1000)
    async with shipping(server, shipper):
        await until(lambda: shipper.refused > 3, "the stream takes all")
        assert outbox.pending_bytes
        await provision(server)
        assert await shipper.flush(servers.DEADLINE) == 0
    assert await stored(server) == Counter(said)


async def test_a_new_connection_goes_on_where_the_old_one_was_cut_off(
    server: servers.NatsServer, outbox: Outbox
) -> None:
    shipper = Shipper(outbox, subject=SUBJECT, window=2, message_bytes=2000)
    said = say(outbox, events=50)
    for _ in range(3):
        before = shipper.refused
        async with shipping(server, shipper):  # no stream: two messages in flight, the third waits for its turn
            await until(lambda before=before: shipper.refused > before + 2, "no refusal")
    await provision(server)
    async with shipping(server, shipper):
        assert await shipper.flush(servers.DEADLINE) == 0
    assert await stored(server) == Counter(said)


async def test_an_ack_lost_with_the_server_stores_nothing_twice(server: servers.NatsServer, outbox: Outbox) -> None:
    await provision(server)
    shipper = Shipper(outbox, subject=SUBJECT, message_bytes=4000, ack_timeout=0.5)
    said = []
    async with shipping(server, shipper):
        for _ in range(3):
            said += say(outbox, events=300)
            await until(lambda: outbox.pending_bytes < 100_000, "nothing is shipped")
            server.kill()
            said += say(outbox, events=300)
            await asyncio.sleep(0.1)
            server.start()
        assert await shipper.flush(servers.DEADLINE) == 0
    assert await stored(server) == Counter(said)


async def test_flush_returns_the_size_of_what_is_left_unshipped(server: servers.NatsServer, outbox: Outbox) -> None:
    await provision(server)
    shipper = Shipper(outbox, subject=SUBJECT)
    async with shipping(server, shipper):
        server.kill()
        said = say(outbox, events=10)
        assert await shipper.flush(0.3) == outbox.pending_bytes > 0
        server.start()
        assert await shipper.flush(servers.DEADLINE) == 0
    assert await stored(server) == Counter(said)


async def test_events_of_a_retired_gateway_are_shipped_by_another(server: servers.NatsServer, tmp_path: Path) -> None:
    await provision(server)
    retired = opened(tmp_path / "spools" / "4")
    said = say(retired, events=500)
    retired.close()
    for orphan in adopt(tmp_path / "spools", own=0, workers=1):
        shipper = Shipper(orphan, subject=SUBJECT)
        async with shipping(server, shipper):
            assert await shipper.flush(servers.DEADLINE) == 0
        orphan.remove()
        orphan.close()
    assert await stored(server) == Counter(said)
    assert not (tmp_path / "spools" / "4").exists()


class Gateway:
    """A process that appends flat out and ships meanwhile; `reported` holds each event whose append returned."""

    def __init__(self, server: servers.NatsServer, folder: Path) -> None:
        self._arguments = [sys.executable, __file__, str(folder / "spool"), server.url("gateway")]
        self._report = folder / "reported"
        self._report.touch()
        self._process: subprocess.Popen[bytes] | None = None

    def reported(self) -> list[tuple[int, int]]:
        lines = self._report.read_bytes().splitlines()  # each is one write: no kill tears it
        return [(int(epoch), int(number)) for epoch, number in (line.split() for line in lines)]

    def start(self, events: int, then: str) -> None:
        self._process = subprocess.Popen(
            [*self._arguments, str(self._report), str(events), then],
            env={**os.environ, "PYTHONPATH": str(servers.ROOT)},
            preexec_fn=children.kill_with_parent(os.getpid()),
        )

    async def says(self, count: int) -> None:
        """Wait until it has reported `count` events since the first start."""
        process = self._process
        assert process
        await until(lambda: len(self.reported()) >= count or process.poll() is not None, f"{count} events")
        assert process.poll() is None, "the gateway ended by itself"

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def ends(self) -> int:
        process = self._process
        assert process
        await until(lambda: process.poll() is not None, "the end")
        return process.wait()


async def test_kill_9_of_gateway_and_server_loses_nothing_and_doubles_nothing(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    await provision(server)
    gateway, chance = Gateway(server, tmp_path), random.Random()
    try:
        for life in range(LIVES):
            so_far = len(gateway.reported())
            points = sorted(chance.sample(range(1, EVENTS_A_LIFE), 3))
            gateway.start(EVENTS_A_LIFE, "stay")
            await gateway.says(so_far + points[0])
            if life % 3:
                server.kill()
                await gateway.says(so_far + points[1])
            if life % 3 == 1:
                gateway.kill()  # while the server is down
                server.start()
                continue
            if life % 3 == 2:
                server.start()
            await gateway.says(so_far + points[2])
            gateway.kill()
        gateway.start(100, "end")
        assert await gateway.ends() == 0, "not all was shipped"
    finally:
        gateway.kill()
    found, reported = await stored(server), gateway.reported()
    lost = set(reported) - set(found)
    doubled = [event for event, times in found.items() if times > 1]
    assert (len(lost), len(doubled)) == (0, 0), f"of {len(reported)}"
    assert len(set(found) - set(reported)) <= LIVES, "at most one event a life was killed before it was reported"


async def speak(folder: Path, url: str, report: Path, *, events: int, then: str) -> int:
    """The killed gateway's life: append `events`, report each, ship; at the end ship the rest and exit, or stay."""
    outbox = opened(folder)
    shipper = Shipper(outbox, subject=SUBJECT, message_bytes=16 << 10, linger=0.002, ack_timeout=1.0)
    reported = os.open(report, os.O_WRONLY | os.O_APPEND)

    async def ship() -> None:
        nc = await nats_client.connect(url, service="gateway")
        try:
            await shipper.run(nc)
        finally:
            await nc.close()

    shipped = asyncio.create_task(ship())
    for _ in range(events):
        [(epoch, number)] = say(outbox)
        os.write(reported, b"%d %d\n" % (epoch, number))
        await asyncio.sleep(0)
    if then == "stay":
        await shipped
    left = await shipper.flush(servers.DEADLINE)
    await cancel_and_wait(shipped)
    outbox.close()
    return int(left > 0)


if __name__ == "__main__":
    spool, address, path, count, rest = sys.argv[1:]
    sys.exit(asyncio.run(speak(Path(spool), address, Path(path), events=int(count), then=rest)))
