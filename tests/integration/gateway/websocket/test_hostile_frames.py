"""Peers that send far more than they need to, or what may not follow: memory stays bounded and rows are right."""

import asyncio
import zlib

from tests.support import servers
from tests.support.websocket_line import line
from tests.support.websocket_peers import CLOSE, CONTINUATION, TEXT, close, connect, frame, text

CREATE = {"type": "response.create", "model": "gpt-4o", "input": "x"}


async def test_a_message_of_endless_empty_fragments_ends_the_connection() -> None:
    async with line() as on:
        await on.client.send(frame(b"", TEXT, masked=True, final=False))
        await on.client.send(frame(b"", CONTINUATION, masked=True, final=False) * 2000)
        assert await on.client.close_code() == 1009


async def test_inflated_messages_count_against_the_budget_of_bodies() -> None:
    size = 3 << 20
    deflate = zlib.compressobj(wbits=-15)
    small = deflate.compress(b" " * size) + deflate.flush(zlib.Z_SYNC_FLUSH)
    endless = frame(small, masked=True, compressed=True, final=False)
    async with line(deflate=True, max_body_bytes=4 << 20, body_budget_bytes=4 << 20) as on:
        bodies = on.gateway.proxy.bodies
        await on.client.send(endless)
        async with asyncio.timeout(servers.DEADLINE):
            while bodies.reserved_bytes < size:
                await asyncio.sleep(0.01)
        other = await connect(on.gateway.port, deflate=True)
        await other.send(endless)
        assert await other.close_code() == 1013
        other.leave()
        await on.client.send(close(1000, masked=True))
        assert (await on.far.frame())[0] == CLOSE
        on.far.leave()
        await on.client.ended()
        assert bodies.reserved_bytes == 0


async def test_a_client_that_does_not_read_its_refusals_gets_no_more_of_them() -> None:
    async with line() as on:
        for _ in range(64):
            await on.ask(CREATE)
        (connection,) = (each for each in on.gateway._listener.connections if each.transport is not None)
        connection.pause_writing()  # as a transport does whose buffer is full
        await on.client.send(text(CREATE, masked=True) * 3)
        assert (await on.client.message())["error"]["code"] == "too_many_responses"
        refused = [row for row in on.rows() if row.status == 429]
        assert len(refused) == 1
        connection.resume_writing()
        for _ in range(2):
            assert (await on.client.message())["error"]["code"] == "too_many_responses"


async def test_nothing_that_follows_a_close_frame_is_relayed_or_accounted_for() -> None:
    async with line() as on:
        await on.client.send(close(1000, masked=True) + text(CREATE, masked=True))
        assert (await on.far.frame())[0] == CLOSE
        await on.far.send(close(1000, masked=False) + text({"type": "response.created"}, masked=False))
        assert await on.client.close_code() == 1000
        await on.client.ended()
        assert await on.far.frame() == (-1, b"")
        assert on.rows() == []


async def test_a_close_frame_in_two_packets_is_relayed_whole() -> None:
    data = close(4001, "done", masked=True)
    async with line() as on:
        await on.client.send(data[:8])
        assert await on.far.exactly(8) == data[:8]
        await on.client.send(data[8:])
        assert await on.far.exactly(len(data) - 8) == data[8:]
