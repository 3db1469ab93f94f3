"""Leases on a real nats-server: of many identical misses one calls the provider, and a dead caller blocks nobody long."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.subscription import Subscription

from shared import cache_protocol, nats_client
from shared.cache_protocol import HELD, HIT, LEASED, MISS, REFUSED, STORED, Reply
from tests.support import servers
from tests.support.cache_replicas import CacheRequests, cache_requests, replica

LEASE_SECONDS = cache_protocol.LEASE_SECONDS


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def key() -> str:
    return new_key()


def new_key() -> str:
    return cache_protocol.key(account="team-a", model="openai/gpt-4o", digest=uuid.uuid4().hex * 2)


@pytest.fixture
async def ask(nats: servers.NatsServer) -> AsyncIterator[CacheRequests]:
    """Two replicas, asked in turn as it happens."""
    async with replica(nats), replica(nats), cache_requests(nats) as found:
        yield found


async def listening(ask: CacheRequests, key: str) -> Subscription:
    """What is said about a key from now on."""
    heard = await ask.nc.subscribe(f"{cache_protocol.CHANGED}.{cache_protocol.digest(key)}")
    await ask.nc.flush()
    return heard


async def test_one_of_200_concurrent_lookups_calls_the_provider(ask: CacheRequests) -> None:
    for _ in range(5):
        name = new_key()
        responses = await asyncio.gather(*(ask.lookup(name, lease=True) for _ in range(200)))
        assert Counter((response.kind, response.detail) for response in responses) == {(HELD, ""): 199, (LEASED, ""): 1}


async def test_a_lookup_that_wants_no_lease_takes_none(ask: CacheRequests, key: str) -> None:
    assert (await ask.lookup(key)).kind == MISS
    assert (await ask.lookup(key, lease=True)).kind == LEASED


@pytest.mark.parametrize("ttl", [1, 3600])
async def test_storing_an_entry_frees_the_lease_and_notifies_waiters(ask: CacheRequests, key: str, ttl: int) -> None:
    held = await ask.lookup(key, lease=True)
    heard = await listening(ask, key)
    assert (await ask.lookup(key, lease=True)).kind == HELD
    assert (await ask.store(key, b"x", ttl=ttl, lease=held.lease)).kind == STORED
    await heard.next_msg(timeout=60)
    if ttl > 1:
        assert await ask.lookup(key, lease=True) == Reply(HIT, b"x")
        return
    while (again := await ask.lookup(key, lease=True)).kind == HIT:
        await asyncio.sleep(0.05)
    assert again.kind == LEASED, "the first lease must be gone with the entry"


async def test_no_second_lease_is_granted_around_the_moment_of_storing(ask: CacheRequests) -> None:
    for _ in range(40):
        name = new_key()
        held = await ask.lookup(name, lease=True)
        assert held.kind == LEASED
        stored, *responses = await asyncio.gather(
            ask.store(name, b"x", lease=held.lease), *(ask.lookup(name, lease=True) for _ in range(40))
        )
        assert stored.kind == STORED
        assert {response.kind for response in responses} <= {HELD, HIT}
        assert (await ask.lookup(name, lease=True)).kind == HIT


@pytest.mark.parametrize("entry", [bytes(cache_protocol.LARGEST_ENTRY + 1), b"x"], ids=["too large", "no time"])
async def test_an_entry_that_cannot_be_kept_frees_the_lease(ask: CacheRequests, key: str, entry: bytes) -> None:
    held = await ask.lookup(key, lease=True)
    heard = await listening(ask, key)
    assert (await ask.store(key, entry, ttl=60 if len(entry) > 1 else 0, lease=held.lease)).kind == REFUSED
    await heard.next_msg(timeout=60)
    assert (await ask.lookup(key, lease=True)).kind == LEASED


async def test_a_released_lease_is_free_at_once(ask: CacheRequests, key: str) -> None:
    held = await ask.lookup(key, lease=True)
    heard = await listening(ask, key)
    assert (await ask.release(key, held.lease)).kind == MISS
    await heard.next_msg(timeout=60)
    assert (await ask.lookup(key, lease=True)).kind == LEASED


@pytest.fixture
def short(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases last for as long as they do in production."""
    monkeypatch.setattr(cache_protocol, "LEASE_SECONDS", LEASE_SECONDS)


async def test_the_lease_of_a_dead_caller_is_free_within_seconds(ask: CacheRequests, key: str, short: None) -> None:
    began = time.monotonic()
    assert (await ask.lookup(key, lease=True)).kind == LEASED
    leased = time.monotonic()
    late = 0  # looks after the lease's time: two seconds of them, longer on a busy machine
    while (asked := time.monotonic()) and (await ask.lookup(key, lease=True)).kind == HELD:
        late += asked >= leased + LEASE_SECONDS
        assert late < 100
        await asyncio.sleep(0.02)
    assert time.monotonic() - began > LEASE_SECONDS - 0.1


async def renewed(ask: CacheRequests, key: str, *, seconds: float) -> list[int]:
    """The numbers of a lease that is renewed for so long; none if the machine let a renewal come too late."""
    sent = time.monotonic()  # since when the lease holds, at the earliest
    numbers = [(await ask.lookup(key, lease=True)).lease]
    until = sent + seconds
    while sent < until:
        await asyncio.sleep(0.5)
        before, sent = sent, time.monotonic()
        renewal = await ask.renew(key, numbers[-1])
        other = await ask.lookup(key, lease=True)
        if time.monotonic() > before + LEASE_SECONDS - 0.1:
            return []
        assert (renewal.kind, other.kind) == (LEASED, HELD)
        numbers.append(renewal.lease)
    return numbers


async def test_a_renewed_lease_holds_for_as_long_as_it_is_renewed(ask: CacheRequests, key: str, short: None) -> None:
    while not (numbers := await renewed(ask, key, seconds=LEASE_SECONDS + 1.5)):
        key = new_key()
    assert len(set(numbers)) == len(numbers)
    assert (await ask.renew(key, numbers[0])).kind == REFUSED
    assert (await ask.store(key, b"x", lease=numbers[-1])).kind == STORED
    assert (await ask.renew(key, numbers[-1])).kind == REFUSED


async def test_lease_cannot_be_released_or_renewed_by_another_holder(ask: CacheRequests, key: str) -> None:
    first = await ask.lookup(key, lease=True)
    await ask.release(key, first.lease)
    second = await ask.lookup(key, lease=True)
    assert second.kind == LEASED
    other = new_key()
    for number in (first.lease, second.lease - 1, 0, -1):
        await ask.release(key, number)
        assert (await ask.renew(key, number)).kind == REFUSED
    await ask.release(other, second.lease)
    await ask.store(other, b"x", lease=second.lease)
    assert (await ask.lookup(key, lease=True)).kind == HELD
    assert (await ask.renew(key, second.lease)).kind == LEASED


async def test_leases_do_not_outlive_nats_and_are_granted_again(
    tmp_path_factory: pytest.TempPathFactory, key: str, short: None
) -> None:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as server:
        async with replica(server):
            async with cache_requests(server) as ask:
                assert (await ask.lookup(key, lease=True)).kind == LEASED
            server.kill()
            server.start()
            async with cache_requests(server) as ask:
                while await kind(ask, key) != LEASED:
                    await asyncio.sleep(0.05)


async def kind(ask: CacheRequests, key: str) -> str:
    try:
        return (await ask.lookup(key, lease=True, seconds=1)).kind
    except Exception as error:  # no replica is back yet
        return type(error).__name__


async def test_only_gateways_receive_change_notices_and_within_their_permissions(
    nats: servers.NatsServer, key: str
) -> None:
    async with replica(nats):
        nc = await nats_client.connect(nats.url("gateway"), service="gateway")
        heard = await nc.subscribe(cache_protocol.CHANGED + ".>")
        await nc.flush()
        assert (await CacheRequests(nc).store(key, b"x")).kind == STORED
        assert (await heard.next_msg(timeout=60)).subject.endswith(cache_protocol.digest(key))
        await nc.close()
