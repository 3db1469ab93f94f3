"""Replicas of the cache as processes: whatever happens to one, the others answer, and nobody is told old things."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats.errors
import pytest

from shared import cache_protocol, nats_client
from shared.cache_protocol import HIT, MISS, STORED, Purge
from tests.support import servers
from tests.support.cache_replicas import CacheRequests, Process, cache_requests, processes, replica
from tests.support.idle_clock import IdleClockLoop

PATIENCE = 2.0  # seconds; a gateway waits for a quarter of one, but may do without an answer on a busy machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture
def replicas(server: servers.NatsServer, tmp_path: Path) -> Iterator[list[Process]]:
    with processes(server, tmp_path, 2) as found:
        yield found


@pytest.fixture
async def ask(server: servers.NatsServer, replicas: list[Process]) -> AsyncIterator[CacheRequests]:
    async with cache_requests(server) as found:
        yield found


def new_key(account: str = "team-a") -> str:
    return cache_protocol.key(account=account, model="openai/gpt-4o", digest=uuid.uuid4().hex * 2)


async def answered(ask: CacheRequests, key: str) -> str:
    """A lookup while a replica may hang or be gone: what it was, "" when it took too long."""
    try:
        return (await ask.lookup(key, seconds=PATIENCE)).kind
    except nats.errors.TimeoutError:
        return ""


async def found(ask: CacheRequests, key: str) -> str:
    """A lookup while all replicas answer, however busy the machine is."""
    return (await ask.lookup(key)).kind


async def test_killed_replica_fails_only_its_requests_in_flight(ask: CacheRequests, replicas: list[Process]) -> None:
    key = new_key()
    await ask.store(key, b"x")
    during = [asyncio.create_task(answered(ask, key)) for _ in range(50)]
    replicas[0].end(signal.SIGKILL)
    await asyncio.gather(*during)
    await asyncio.to_thread(replicas[0].process.wait, servers.DEADLINE)
    await ask.nc.flush()
    while "" in await asyncio.gather(*(answered(ask, key) for _ in range(20))):  # until the server has noticed
        await asyncio.sleep(0.05)
    kinds = [await found(ask, key) for _ in range(100)]
    assert set(kinds) == {HIT}


async def test_hung_replica_delays_only_its_share_and_serves_nothing_stale_afterwards(
    server: servers.NatsServer, ask: CacheRequests, replicas: list[Process]
) -> None:
    key, kept = new_key("purged"), new_key()
    await ask.store(key, b"x")
    await ask.store(kept, b"x")
    for _ in range(20):  # into both memories
        assert {await found(ask, key), await found(ask, kept)} == {HIT}
    replicas[0].end(signal.SIGSTOP)
    kinds: set[str] = set()
    while kinds != {HIT, ""}:  # the other one answers its share, on a busy machine only now and then in time
        kinds |= set(await asyncio.gather(*(answered(ask, kept) for _ in range(60))))
        assert kinds <= {HIT, ""}
    nc = await nats_client.connect(server.url("admin"), service="cli")
    await nc.jetstream().purge_stream(cache_protocol.STREAM, subject=f"{cache_protocol.SUBJECT}purged.*.*")
    await nc.request(cache_protocol.PURGE, cache_protocol.encode(Purge("purged.*.*")), timeout=servers.DEADLINE)
    await nc.close()
    replicas[0].end(signal.SIGCONT)
    while "" in await asyncio.gather(*(answered(ask, kept) for _ in range(20))):
        await asyncio.sleep(0.05)
    assert {await found(ask, key) for _ in range(100)} == {MISS}
    assert {await found(ask, kept) for _ in range(40)} == {HIT}


async def test_a_stopped_replica_leaves_no_request_unanswered(ask: CacheRequests, replicas: list[Process]) -> None:
    keys = [new_key() for _ in range(3000)]
    at_once, done = asyncio.Semaphore(200), 0

    async def both(key: str) -> tuple[str, str]:
        nonlocal done
        async with at_once:  # so that there is always something on its way to each of them
            stored = await ask.store(key, bytes(2000))
            found = await ask.lookup(key)
        done += 1
        if done == 1000:
            replicas[0].end(signal.SIGTERM)
        return stored.kind, found.kind

    assert set(await asyncio.gather(*map(both, keys))) == {(STORED, HIT)}
    assert await asyncio.to_thread(replicas[0].process.wait, servers.DEADLINE) == 0
    assert "unfinished" not in replicas[0].log.read_text()
    assert "Traceback" not in replicas[0].log.read_text()


async def test_without_nats_a_replica_stops_in_order(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as own,
        processes(own, tmp_path, 1, stop_seconds=1.0) as (alone,),
    ):
        own.kill()
        alone.end(signal.SIGTERM)
        assert await asyncio.to_thread(alone.process.wait, servers.DEADLINE) == 0
        assert "Traceback" not in alone.log.read_text()


def test_without_nats_a_stop_takes_no_longer_than_it_may(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def seconds_of_a_stop(own: servers.NatsServer) -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, IdleClockLoop)
        async with replica(own, cache_stop_seconds=5.0), cache_requests(own) as ask:
            key = new_key()
            await ask.store(key, b"x")
            own.kill()
            loop.use_idle_clock()
            began = loop.time()
        return loop.time() - began

    with servers.nats_server(tmp_path_factory.mktemp("nats")) as own, asyncio.Runner(loop_factory=IdleClockLoop) as run:
        assert run.run(seconds_of_a_stop(own)) < 10


def test_before_nats_is_there_a_replica_lives_and_is_not_ready(tmp_path: Path) -> None:
    absent = servers.NatsServer(tmp_path / "nats", 0)
    waiting = Process(absent, tmp_path / "cache.log")
    try:
        url = f"http://127.0.0.1:{waiting.port}"
        servers.wait_for(lambda: servers.answers(url + "/healthz"), "the cache to live")
        assert not servers.answers(url + "/readyz")
        absent.start()
        asyncio.run(servers.provision(absent))
        waiting.ready()
        waiting.end(signal.SIGTERM)
        assert waiting.process.wait(servers.DEADLINE) == 0
    finally:
        waiting.process.kill()
        waiting.process.wait(servers.DEADLINE)
        absent.stop()
