"""Requests to the cache service get their own reply, or an error in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from services.gateway.cache.requester import Requester
from shared import cache_protocol, nats_client
from tests.support import servers


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def service(nats: servers.NatsServer) -> AsyncIterator[Client]:
    nc = await nats_client.connect(nats.url("cache"), service="cache")
    yield nc
    await nc.close()


@pytest.fixture
async def requester(nats: servers.NatsServer) -> AsyncIterator[Requester]:
    nc = await nats_client.connect(nats.url("gateway"), service="gateway")
    yield Requester(nc)
    await nc.close()


async def serve(service: Client, reply: Callable[[Msg], Awaitable[None]]) -> None:
    await service.subscribe(cache_protocol.LOOKUP, cb=reply)
    for _ in range(2):  # nats-py sends the ping of the first ahead of the subscription
        await service.flush()


async def test_each_request_gets_its_own_reply_whatever_their_order(service: Client, requester: Requester) -> None:
    held: list[Msg] = []

    async def reply_last_first(message: Msg) -> None:
        held.append(message)
        if len(held) == 10:
            for each in reversed(held):
                await each.respond(b"re:" + each.data)

    await serve(service, reply_last_first)
    sent = [b"%d" % number for number in range(10)]
    replies = await asyncio.gather(*(requester.request(cache_protocol.LOOKUP, data, seconds=30) for data in sent))
    assert replies == [b"re:" + data for data in sent]


async def test_a_late_reply_is_ignored_and_the_next_request_gets_its_own(service: Client, requester: Requester) -> None:
    late: list[Msg] = []

    async def reply_to_the_second(message: Msg) -> None:
        late.append(message)
        if len(late) == 2:
            await late[0].respond(b"late")
            await message.respond(b"in time")

    await serve(service, reply_to_the_second)
    with pytest.raises(TimeoutError):
        await requester.request(cache_protocol.LOOKUP, b"1", seconds=0.05)
    assert await requester.request(cache_protocol.LOOKUP, b"2", seconds=30) == b"in time"


async def test_without_a_service_a_request_fails_at_once(requester: Requester) -> None:
    with pytest.raises(NoRespondersError):
        await requester.request(cache_protocol.LOOKUP, b"", seconds=30)
