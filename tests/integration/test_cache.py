"""The cache against a real nats-server: what was stored is found until it ends, by every replica, after any restart."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from shared import caching
from shared.caching import HELD, HIT, LEASED, MISS, STORED
from tests import parts
from tests.replica import Asking, asking, replica


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.NatsServer]:
    with parts.nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def key() -> str:
    return caching.key(account="team-a", model="openai/gpt-4o", digest=uuid.uuid4().hex * 2)


@pytest.fixture
async def ask(nats: parts.NatsServer) -> AsyncIterator[Asking]:
    async with asking(nats) as found:
        yield found


async def test_a(nats: parts.NatsServer, ask: Asking, key: str) -> None:
    async with replica(nats):
        assert (await ask.lookup(key)).kind == MISS
        assert (await ask.store(key, b"answer")).kind == STORED
        found = await ask.lookup(key)
        assert (found.kind, found.entry) == (HIT, b"answer")
    async with replica(nats):
        found = await ask.lookup(key)
        assert (found.kind, found.entry) == (HIT, b"answer")
        a = await ask.lookup(key + "x", lease=True)
        assert a.kind == LEASED
        assert (await ask.lookup(key + "x", lease=True)).kind == HELD
