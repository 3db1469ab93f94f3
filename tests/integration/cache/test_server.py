"""The cache against a real nats-server: what was stored is found until it ends, by every replica, after any restart."""

import asyncio
import contextlib
import gc
import json
import random
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.cache.lru import LRU
from services.cache.store import Store
from shared import cache_protocol, nats_client
from shared.cache_protocol import HIT, MISS, REFUSED, STORED, Purge, Reply, Stats
from tests.support import ports, servers
from tests.support.cache_replicas import CacheRequests, cache_requests, replica


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(autouse=True)
async def collected() -> AsyncIterator[None]:
    """nats-py leaves the sockets of a killed server to the collector, which needs the loop that they were made in."""
    yield
    gc.collect()


@pytest.fixture
def key() -> str:
    return new_key()


def new_key(account: str = "team-a") -> str:
    return cache_protocol.key(account=account, model="openai/gpt-4o", digest=uuid.uuid4().hex * 2)


@pytest.fixture
async def ask(nats: servers.NatsServer) -> AsyncIterator[CacheRequests]:
    async with cache_requests(nats) as found:
        yield found


async def broadcast(nats: servers.NatsServer, subject: str, data: bytes, *, count: int) -> list[bytes]:
    """What so many replicas answer."""
    nc = await nats_client.connect(nats.url("admin"), service="cli")
    try:
        inbox = nc.new_inbox()
        responses = await nc.subscribe(inbox)
        await nc.publish(subject, data, reply=inbox)
        return [(await responses.next_msg(timeout=60)).data for _ in range(count)]
    finally:
        await nc.close()


async def stats(nats: servers.NatsServer, *, count: int = 1) -> list[Stats]:
    found = await broadcast(nats, cache_protocol.STATS, b"", count=count)
    return [msgspec.msgpack.decode(data, type=Stats) for data in found]


async def purge(nats: servers.NatsServer, pattern: str, *, count: int = 1) -> None:
    """From the stream first, then from memory, as the command line does."""
    nc = await nats_client.connect(nats.url("admin"), service="cli")
    await nc.jetstream().purge_stream(cache_protocol.STREAM, subject=cache_protocol.SUBJECT + pattern)
    await nc.close()
    for data in await broadcast(nats, cache_protocol.PURGE, cache_protocol.encode(Purge(pattern)), count=count):
        assert msgspec.msgpack.decode(data, type=Reply).kind == MISS


async def test_lookup_finds_exactly_the_stored_key(nats: servers.NatsServer, ask: CacheRequests, key: str) -> None:
    entry = random.randbytes(4096)
    async with replica(nats):
        assert (await ask.lookup(key)).kind == MISS
        assert await ask.store(key, entry) == Reply(STORED)
        assert await ask.lookup(key) == Reply(HIT, entry)
        other = new_key("team-b").rpartition(".")[0] + "." + cache_protocol.digest(key)
        assert (await ask.lookup(other)).kind == MISS


async def test_an_entry_may_be_empty_or_as_large_as_allowed_and_no_larger(
    nats: servers.NatsServer, ask: CacheRequests, key: str
) -> None:
    largest = bytes(cache_protocol.LARGEST_ENTRY)
    async with replica(nats, cache_memory_bytes=0):
        for entry in (b"", largest):
            assert await ask.store(key, entry) == Reply(STORED)
            assert await ask.lookup(key) == Reply(HIT, entry)
        refused = await ask.store(key, largest + b"x")
        assert (refused.kind, str(cache_protocol.LARGEST_ENTRY) in refused.detail) == (REFUSED, True)
        assert await ask.lookup(key) == Reply(HIT, largest)


@pytest.mark.parametrize("memory", [0, 1 << 20], ids=["stream", "memory"])
async def test_an_entry_ends_when_its_time_is_over(
    nats: servers.NatsServer, ask: CacheRequests, key: str, memory: int
) -> None:
    async with replica(nats, cache_memory_bytes=memory):
        began = time.time()
        await ask.store(key, b"short", ttl=1)
        stored = time.time()
        lasts = new_key()
        await ask.store(lasts, b"long", ttl=60)
        while (asked := time.time()) and (await ask.lookup(key)).kind == HIT:
            assert asked < stored + 1.5  # an answer may come late, but not to a question that came late
            await asyncio.sleep(0.02)
        assert time.time() >= began + 1
        assert (await ask.lookup(lasts)).entry == b"long"


async def test_expired_entries_are_removed_and_ttl_is_always_bounded(
    nats: servers.NatsServer, ask: CacheRequests, key: str
) -> None:
    async with replica(nats):
        assert (await ask.store(key, b"x", ttl=0)).kind == REFUSED
        assert (await ask.store(key, b"x", ttl=-5)).kind == REFUSED
        assert (await ask.store(key, b"x", ttl=10**12)).kind == STORED
        nc = await nats_client.connect(nats.url("cache"), service="cache")
        js = nc.jetstream()
        message = await js.get_msg(cache_protocol.STREAM, subject=cache_protocol.SUBJECT + key, direct=True)
        assert message.headers is not None
        assert message.headers["Nats-TTL"] == str(cache_protocol.LONGEST)
        assert int(message.headers[cache_protocol.EXPIRES]) <= (time.time() + cache_protocol.LONGEST) * 1000
        await ask.store(key, b"x", ttl=1)
        with pytest.raises(NotFoundError):
            while True:  # until the server has removed it
                await js.get_msg(cache_protocol.STREAM, subject=cache_protocol.SUBJECT + key, direct=True)
                await asyncio.sleep(0.1)
        await nc.close()


async def test_entries_outlive_a_restart_of_the_cache_and_of_nats(nats: servers.NatsServer, ask: CacheRequests) -> None:
    names = [new_key() for _ in range(20)]
    async with replica(nats):
        for name in names:
            await ask.store(name, name.encode())
    async with replica(nats):
        assert [(await ask.lookup(name)).entry for name in names] == [name.encode() for name in names]
        while not all(name in on_disk(nats) for name in names):  # acknowledged is not written yet, which is the bargain
            await asyncio.sleep(0.05)
        nats.kill()
        nats.start()
        assert [await found(ask, name) for name in names] == [name.encode() for name in names]
        await ask.store(names[0], b"new")
        assert await found(ask, names[0]) == b"new"


def on_disk(nats: servers.NatsServer) -> str:
    """All that NATS has written of the messages in its streams."""
    blocks = (nats.directory / "jetstream").rglob("*.blk")
    return "".join(block.read_text(errors="replace") for block in blocks)


async def found(ask: CacheRequests, key: str) -> bytes:
    """The entry, as soon as it is answered for: connections come back in their own time."""
    while True:
        try:
            response = await ask.lookup(key, seconds=1)
            if response.kind == HIT:
                return response.entry
        except Exception as error:
            assert "imeout" in type(error).__name__ or "NoResponders" in type(error).__name__, error
        await asyncio.sleep(0.05)


async def test_a_server_that_came_back_empty_is_used_again_once_the_job_has_made_its_streams(
    tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as server:
        async with replica(server), cache_requests(server) as ask:
            await ask.store(key, b"lost")
            server.kill()
            for path in (server.directory / "jetstream").rglob("*"):
                if path.is_file():
                    path.unlink()
            server.start()
            await servers.provision(server)
            while (await told(ask, key)) != STORED:
                await asyncio.sleep(0.05)
            assert await found(ask, key) == b"new"


async def told(ask: CacheRequests, key: str) -> str:
    try:
        return (
            await ask.raw(cache_protocol.STORE, cache_protocol.encode(cache_protocol.Store(key, b"new", 60)), seconds=1)
        ).kind
    except Exception as error:
        return type(error).__name__


async def test_changes_reach_the_memory_of_all_replicas(nats: servers.NatsServer, ask: CacheRequests) -> None:
    async with replica(nats), replica(nats):
        for round_ in range(30):
            name = new_key()
            for version in (b"first", b"refreshed"):
                await ask.store(name, version)
                await settled(nats)
                responses = {(await ask.lookup(name)).entry for _ in range(12)}
                assert responses == {version}, f"round {round_}"
        assert all(one.hits for one in await stats(nats, count=2)), "both must have been asked"


async def settled(nats: servers.NatsServer) -> None:
    """Everything published before has reached both replicas: what they answer to a broadcast was asked after it."""
    await stats(nats, count=2)


async def test_after_a_purge_no_replica_serves_what_was_purged(nats: servers.NatsServer, ask: CacheRequests) -> None:
    async with replica(nats), replica(nats):
        mine, other = [new_key("purged") for _ in range(10)], new_key("kept")
        for name in (*mine, other):
            await ask.store(name, b"x")
        await settled(nats)
        for _ in range(5):
            assert {(await ask.lookup(name)).kind for name in (*mine, other)} == {HIT}
        await purge(nats, "purged.*.*", count=2)
        for _ in range(5):
            assert {(await ask.lookup(name)).kind for name in mine} == {MISS}
            assert (await ask.lookup(other)).kind == HIT
        await purge(nats, other, count=2)
        assert (await ask.lookup(other)).kind == MISS


async def test_a_replica_that_was_cut_off_serves_nothing_that_it_missed(
    nats: servers.NatsServer, ask: CacheRequests
) -> None:
    async with Cable(nats.port) as cable, replica(nats, nats_url=cable.url(nats)), replica(nats):
        names = [new_key() for _ in range(20)]
        for name in names:
            await ask.store(name, b"old")
        for _ in range(5):
            assert {(await ask.lookup(name)).entry for name in names} == {b"old"}
        await cable.cut()
        for name in names:
            while await told(ask, name) != STORED:  # until the server has noticed, the one cut off gets its share
                await asyncio.sleep(0.05)
        cable.mend()
        await both_there(nats)
        for _ in range(5):
            assert {(await ask.lookup(name)).entry for name in names} == {b"new"}


async def both_there(nats: servers.NatsServer) -> None:
    nc = await nats_client.connect(nats.url("admin"), service="cli")
    inbox = nc.new_inbox()
    responses = await nc.subscribe(inbox)
    replicas: set[str] = set()
    while len(replicas) < 2:
        await nc.publish(cache_protocol.STATS, b"", reply=inbox)
        with contextlib.suppress(TimeoutError):
            while True:
                data = (await responses.next_msg(timeout=0.1)).data
                replicas.add(msgspec.msgpack.decode(data, type=Stats).replica)
    await nc.close()


class Cable:
    """A way to a server that can be cut for a while."""

    def __init__(self, port: int) -> None:
        self._to, self._whole = port, asyncio.Event()
        self._whole.set()
        self._ends: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Cable":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, nats: servers.NatsServer) -> str:
        return nats.url("cache").replace(str(nats.port), str(self._server.sockets[0].getsockname()[1]))

    async def cut(self) -> None:
        self._whole.clear()
        for end in self._ends:
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()
        self._ends.clear()

    def mend(self) -> None:
        self._whole.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole.is_set():
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._ends += [writer, back]
        for source, target in ((reader, back), (there, writer)):
            self._tasks.add(asyncio.create_task(_copy(source, target)))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


async def test_concurrent_stores_and_lookups_converge_on_the_last_entry(
    nats: servers.NatsServer, ask: CacheRequests
) -> None:
    async with replica(nats), replica(nats):
        name = new_key()

        async def store(number: int) -> None:
            await ask.store(name, b"%d" % number)
            await ask.lookup(name)

        for _ in range(10):
            await asyncio.gather(*(store(number) for number in range(20)))
            await settled(nats)
            assert len({(await ask.lookup(name)).entry for _ in range(12)}) == 1


@contextlib.asynccontextmanager
async def opened(nats: servers.NatsServer, *, direct: bool = True) -> AsyncIterator[tuple[Client, LRU, Store]]:
    """The store of a replica that answers nobody."""
    nc = await nats_client.connect(nats.url("cache"), service="cache")
    memory = LRU(1 << 20)
    await servers.provision(nats)
    yield nc, memory, Store(nc, memory, timeout=10, direct=direct)
    await nc.close()


async def test_concurrent_lookups_of_one_key_read_the_stream_once(nats: servers.NatsServer, key: str) -> None:
    async with opened(nats) as (nc, memory, entries):
        await entries.put(key, b"x", ttl=60)
        memory.clear()
        before = nc.stats["out_msgs"]
        assert await asyncio.gather(*(entries.load(key) for _ in range(100))) == [b"x"] * 100
        assert nc.stats["out_msgs"] == before + 1
        assert memory.get(key) == b"x"


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "leader"])
@pytest.mark.parametrize("entry", [b"", b"\x00\xff\r\n" * 1000], ids=["empty", "binary"])
async def test_entry_is_read_from_the_stream_as_it_was_stored(
    nats: servers.NatsServer, key: str, direct: bool, entry: bytes
) -> None:
    async with opened(nats, direct=direct) as (_, memory, entries):
        assert await entries.load(key) is None
        await entries.put(key, entry, ttl=60)
        memory.clear()
        assert await entries.load(key) == entry
        assert memory.get(key) == entry


async def test_expired_entry_is_a_miss_before_the_server_removes_it(nats: servers.NatsServer, key: str) -> None:
    async with opened(nats) as (nc, memory, entries):
        await entries.put(key, b"x", ttl=60)
        later = Store(nc, LRU(1 << 20), timeout=10, clock=lambda: time.time() + 61)
        assert await later.load(key) is None
        memory.clear()
        assert await entries.load(key) == b"x"


@pytest.mark.parametrize("how", ["changed", "purged", "reconnected"])
async def test_entry_changed_during_a_read_is_not_kept_in_memory(nats: servers.NatsServer, key: str, how: str) -> None:
    async with opened(nats) as (nc, memory, entries):
        await entries.put(key, b"old", ttl=60)
        memory.clear()
        reading = asyncio.create_task(entries.load(key))
        await published(nc, 1)
        if how == "changed":
            entries.invalidate(cache_protocol.digest(key))
        elif how == "purged":
            entries.purge("team-a.*.*")
        else:
            nc.stats["reconnects"] += 1  # as the library counts it, before anything comes over the new connection
            assert entries.cached(key) is None
        assert (await reading, memory.get(key)) == (b"old", None)


async def test_lookup_after_a_change_does_not_share_an_earlier_read(nats: servers.NatsServer, key: str) -> None:
    async with opened(nats) as (nc, memory, entries):
        await entries.put(key, b"old", ttl=60)
        memory.clear()
        before = asyncio.create_task(entries.load(key))
        await published(nc, 1)
        entries.invalidate(cache_protocol.digest(key))
        after = asyncio.create_task(entries.load(key))
        await published(nc, 1)
        assert (await before, await after, memory.get(key)) == (b"old", b"old", b"old")


async def published(nc: Client, count: int) -> None:
    """So many more messages have left."""
    until = nc.stats["out_msgs"] + count
    while nc.stats["out_msgs"] < until:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xc1garbage",
        b"\x93\x01\x02\x03",
        json.dumps({"key": "a.b.c"}).encode(),
        random.Random(7).randbytes(5000),
        cache_protocol.encode(["a.b.>", b"x", 60]),
        cache_protocol.encode(["../../x", 1]),
        cache_protocol.encode(["team-a.m.c\r\nPUB metrion.events.x 1", b"x", 60]),
    ],
    ids=["empty", "zero", "garbage", "numbers", "json", "random", "wildcard", "path", "injection"],
)
async def test_garbage_is_refused_and_the_next_request_is_served(
    nats: servers.NatsServer, ask: CacheRequests, data: bytes
) -> None:
    async with replica(nats):
        for subject in (cache_protocol.LOOKUP, cache_protocol.STORE, cache_protocol.RENEW, cache_protocol.RELEASE):
            assert (await ask.raw(subject, data)).kind == REFUSED
        assert (await ask.lookup(new_key())).kind == MISS


async def test_malformed_broadcast_is_refused(nats: servers.NatsServer) -> None:
    async with replica(nats):
        for data in (b"", b"\xc1", cache_protocol.encode(Purge("*.*.>")), cache_protocol.encode(Purge("*"))):
            (response,) = await broadcast(nats, cache_protocol.PURGE, data, count=1)
            assert msgspec.msgpack.decode(response, type=Reply).kind == REFUSED


async def test_lookups_beyond_the_concurrency_limit_are_immediate_misses(
    nats: servers.NatsServer, ask: CacheRequests
) -> None:
    async with replica(nats, cache_concurrency=1):
        names = [new_key() for _ in range(200)]
        await ask.store(names[0], b"x")
        responses = await asyncio.gather(*(ask.lookup(name, lease=True) for name in names[1:]))
        refused = [response for response in responses if response == Reply(MISS, detail="overloaded")]
        assert len(responses) - len(refused) >= 1
        assert len(refused) >= 1
        assert (await ask.lookup(names[0])).kind == HIT


async def test_requests_received_before_a_stop_get_replies(nats: servers.NatsServer, ask: CacheRequests) -> None:
    key = new_key()
    async with replica(nats):
        await ask.store(key, b"x", ttl=3600)
        for turns in range(20):
            async with replica(nats, cache_stop_seconds=60.0) as stop:
                asked = [asyncio.create_task(ask.lookup(key)) for _ in range(300)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                stop.set()
                assert {response.kind for response in await asyncio.gather(*asked)} == {HIT}


async def test_metrics_count_lookups_stores_and_leases(nats: servers.NatsServer, ask: CacheRequests, key: str) -> None:
    port = ports.free_port()
    async with replica(nats, cache_ops_port=port):
        await ask.store(key, b"x" * 1000)
        await ask.lookup(key)
        held = await ask.lookup(new_key(), lease=True)
        await ask.release(key, held.lease)
        await ask.renew(key, held.lease)
        await ask.raw(cache_protocol.LOOKUP, b"garbage")
        shown = await asyncio.to_thread(page, f"http://127.0.0.1:{port}/metrics")
    for line in (
        'metrion_cache_lookup_seconds_count{outcome="memory"} 1.0',
        'metrion_cache_lookup_seconds_bucket{le="+Inf",outcome="leased"} 1.0',
        'metrion_cache_lookup_seconds_count{outcome="stream"} 0.0',
        'metrion_cache_refusals_total{reason="bad_message",request="lookup"} 1.0',
        'metrion_cache_refusals_total{reason="not_held",request="renew"} 1.0',
        "metrion_cache_stores_total 1.0",
        "metrion_cache_leases_released_total 1.0",
        "metrion_cache_memory_entries 1.0",
        "metrion_cache_lookups_in_hand 0.0",
    ):
        assert line in shown.splitlines(), shown
    assert 'metrion_cache_lookup_seconds_bucket{le="0.25",outcome="leased"}' in shown, "what a gateway waits"


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=servers.DEADLINE) as response:
        return str(response.read().decode())


async def test_a_lookup_whose_reading_takes_too_long_is_a_miss(
    nats: servers.NatsServer, ask: CacheRequests, key: str
) -> None:
    async with replica(nats, cache_memory_bytes=0):
        await ask.store(key, b"x")
    async with replica(nats, cache_memory_bytes=0, cache_lookup_seconds=1e-6):
        assert await ask.lookup(key, lease=True) == Reply(MISS, detail="the stream did not respond in time")


async def test_memory_is_bounded_and_the_stream_still_has_the_rest(
    nats: servers.NatsServer, ask: CacheRequests
) -> None:
    async with replica(nats, cache_memory_bytes=100_000):
        names = [new_key() for _ in range(40)]
        for name in names:
            await ask.store(name, bytes(10_000))
        (now,) = await stats(nats)
        assert (now.bytes <= 100_000, now.entries < 10, now.evictions > 30) == (True, True, True)
        assert {(await ask.lookup(name)).kind for name in names} == {HIT}


async def test_the_oldest_entries_go_when_the_disk_is_full(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as server:
        async with replica(server, cache_max_bytes=1 << 20, cache_memory_bytes=0), cache_requests(server) as ask:
            names = [new_key() for _ in range(30)]
            for name in names:
                assert (await ask.store(name, bytes(100_000))).kind == STORED
            kinds = [(await ask.lookup(name)).kind for name in names]
            assert (kinds[0], kinds[-1]) == (MISS, HIT)
            assert kinds == sorted(kinds, reverse=True)
