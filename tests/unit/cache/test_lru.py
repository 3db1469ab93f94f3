"""What a replica of the cache holds in memory: bounded, never ended, never older than what it was told."""

import pytest

from services.cache.lru import LRU, OVERHEAD
from shared import cache_protocol


class Clock:
    """Unix seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def key(number: int, *, account: str = "team-a", model: str = "openai/gpt-4o") -> str:
    return cache_protocol.key(account=account, model=model, digest=f"{number:064x}")


def put(memory: LRU, name: str, entry: bytes, *, expires: float = 2_000_000.0) -> None:
    claim = memory.claim(name)
    memory.put(claim, entry, expires=expires)
    memory.release(claim)


def test_memory_stays_within_its_bytes_and_the_entry_asked_for_least_recently_goes(clock: Clock) -> None:
    memory = LRU(3 * (OVERHEAD + 100), clock=clock)
    for number in range(3):
        put(memory, key(number), bytes(100))
    assert memory.get(key(0)) is not None
    put(memory, key(3), bytes(100))
    assert [memory.get(key(number)) is not None for number in range(4)] == [True, False, True, True]
    assert (memory.bytes, memory.evictions, len(memory)) == (3 * (OVERHEAD + 100), 1, 3)
    put(memory, key(4), bytes(2 * OVERHEAD))
    assert memory.bytes <= 3 * (OVERHEAD + 100)


def test_an_entry_larger_than_all_memory_evicts_nothing(clock: Clock) -> None:
    memory = LRU(OVERHEAD + 100, clock=clock)
    put(memory, key(0), b"small")
    put(memory, key(1), bytes(101))
    assert (memory.get(key(0)), memory.get(key(1))) == (b"small", None)


def test_without_memory_nothing_is_held(clock: Clock) -> None:
    memory = LRU(0, clock=clock)
    put(memory, key(0), b"")
    assert (len(memory), memory.bytes) == (0, 0)


def test_an_entry_ends_on_time_and_gives_its_bytes_back(clock: Clock) -> None:
    memory = LRU(10_000, clock=clock)
    put(memory, key(0), b"x", expires=clock.now + 2)
    clock.now += 1.999
    assert memory.get(key(0)) == b"x"
    clock.now += 0.001
    assert memory.get(key(0)) is None
    assert (len(memory), memory.bytes) == (0, 0)
    put(memory, key(0), b"late", expires=clock.now)
    assert len(memory) == 0


def test_replacing_an_entry_counts_it_once(clock: Clock) -> None:
    memory = LRU(10_000, clock=clock)
    put(memory, key(0), b"long ago")
    put(memory, key(0), b"now")
    assert (memory.get(key(0)), memory.bytes, len(memory)) == (b"now", OVERHEAD + 3, 1)


def test_two_accounts_never_share_an_entry_even_of_the_same_digest(clock: Clock) -> None:
    memory = LRU(10_000, clock=clock)
    put(memory, key(0, account="team-a"), b"secret")
    assert memory.get(key(0, account="team-b")) is None


def test_invalidation_drops_the_stored_entry_and_reads_in_flight(clock: Clock) -> None:
    memory = LRU(10_000, clock=clock)
    put(memory, key(0), b"old")
    loading, other = memory.claim(key(0)), memory.claim(key(1))
    memory.invalidate(cache_protocol.digest(key(0)))
    assert memory.get(key(0)) is None
    memory.put(loading, b"old", expires=clock.now + 9)
    memory.put(other, b"other", expires=clock.now + 9)
    assert (memory.get(key(0)), memory.get(key(1))) == (None, b"other")


@pytest.mark.parametrize("acknowledged", [(0, 1), (1, 0)], ids=["in order", "out of order"])
def test_losing_entry_of_concurrent_stores_is_never_served(clock: Clock, acknowledged: tuple[int, int]) -> None:
    memory = LRU(10_000, clock=clock)
    entries = (b"first", b"second")  # as they stand in the stream: the second wins
    claims = [memory.claim(key(0)) for _ in entries]
    for number in acknowledged:
        memory.invalidate(cache_protocol.digest(key(0)), by=claims[number])
        memory.put(claims[number], entries[number], expires=clock.now + 9)
        memory.release(claims[number])
    assert memory.get(key(0)) in (None, b"second")


def test_a_store_outlives_the_reading_that_began_before_it(clock: Clock) -> None:
    memory = LRU(10_000, clock=clock)
    reading, storing = memory.claim(key(0)), memory.claim(key(0))
    memory.invalidate(cache_protocol.digest(key(0)), by=storing)
    memory.put(storing, b"new", expires=clock.now + 9)
    memory.put(reading, b"old", expires=clock.now + 9)
    assert memory.get(key(0)) == b"new"


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.*.*", []),
        ("team-a.*.*", ["b"]),
        (f"*.{cache_protocol.model_part('openai/gpt-4o')}.*", ["a-other"]),
        (f"team-a.{cache_protocol.model_part('openai/gpt-4o')}.*", ["a-other", "b"]),
        (key(0), ["a-other", "b"]),
        ("team.*.*", ["a", "a-other", "b"]),
        ("tea*.*.*", ["a", "a-other", "b"]),
    ],
)
def test_a_purge_drops_what_fits_and_what_fits_and_is_on_its_way(clock: Clock, pattern: str, left: list[str]) -> None:
    names = {"a": key(0), "a-other": key(1, model="openai/o3"), "b": key(2, account="team-b")}
    memory, loading = LRU(10_000, clock=clock), LRU(10_000, clock=clock)
    for name in names.values():
        put(memory, name, b"x")
    claims = [loading.claim(name) for name in names.values()]
    memory.purge(pattern)
    loading.purge(pattern)
    for claim in claims:
        loading.put(claim, b"x", expires=clock.now + 9)
    assert [short for short, name in names.items() if memory.get(name)] == left
    assert [short for short, name in names.items() if loading.get(name)] == left


def test_after_a_lost_connection_nothing_is_held_and_nothing_on_its_way_gets_in(clock: Clock) -> None:
    memory = LRU(10_000, clock=clock)
    put(memory, key(0), b"x")
    claim = memory.claim(key(1))
    memory.clear()
    memory.put(claim, b"y", expires=clock.now + 9)
    assert (len(memory), memory.bytes) == (0, 0)
    memory.release(claim)
    put(memory, key(1), b"y")
    assert memory.get(key(1)) == b"y"


@pytest.mark.parametrize(
    "name", ["", "a.b", "a.b.c.d", "a..c", "a.b.>", "a.*.c", "a.b.c d", "a.b.c\n", "ä.b.c", ".b.c", "a" * 65 + ".b.c"]
)
def test_invalid_keys_never_match_the_key_pattern(name: str) -> None:
    assert cache_protocol.KEY_PATTERN.fullmatch(name) is None


def test_keys_made_by_gateways_match_the_key_pattern() -> None:
    longest = cache_protocol.key(account="a" * 63, model="x" * 500 + "\udcff", digest="f" * 64)
    assert cache_protocol.KEY_PATTERN.fullmatch(longest) is not None
    assert cache_protocol.PURGE_PATTERN.fullmatch(longest) is not None
    assert cache_protocol.PURGE_PATTERN.fullmatch("*.*.>") is None
