"""A provider that sends much at once leaves other connections their turns of the event loop."""

import asyncio
from typing import Any

from services.gateway.upstream.provider_connection import READ_BUFFER, ProviderConnection

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1\r\nx\r\n"


class Source(asyncio.Transport):
    """Transport that can be paused."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def connected() -> tuple[ProviderConnection, Source]:
    connection, source = ProviderConnection(asyncio.get_running_loop()), Source()
    connection.connection_made(source)
    connection.expect(skip_body=False, timeout=60)
    connection.data_received(CHUNKED)
    return connection, source


async def test_reading_goes_on_in_the_next_turn_after_a_large_read() -> None:
    connection, source = connected()
    assert not source.paused
    size = READ_BUFFER - 100
    connection.data_received(b"%x\r\n%b\r\n" % (size, b"x" * size))
    assert source.paused
    await asyncio.sleep(0)
    assert not source.paused


async def test_flow_control_outlasts_the_turn() -> None:
    connection, source = connected()
    size = 3 * READ_BUFFER  # more than is kept unread
    connection.data_received(b"%x\r\n%b\r\n" % (size, b"x" * size))
    await asyncio.sleep(0)
    assert source.paused
    _, content = await connection.head()
    assert len(content.read_nowait()) == size
    assert not source.paused


async def test_many_small_chunks_are_passed_on_in_several_turns() -> None:
    connection, _ = connected()
    _, content = await connection.head()
    calls: list[int] = []
    connection.listen(lambda: calls.append(content.total_bytes))
    total = READ_BUFFER // len(CHUNK)
    connection.data_received(CHUNK * total)
    assert calls == []
    await asyncio.sleep(0)
    assert len(calls) == 1 and 0 < calls[0] < total
    received = 0
    while received < total:
        received += len(content.read_nowait())  # resumes the parser
        await asyncio.sleep(0)
    assert len(calls) >= 2 and calls[-1] == total


async def test_the_end_of_many_small_chunks_waits_for_no_turn() -> None:
    connection, _ = connected()
    _, content = await connection.head()
    ends: list[bool] = []
    connection.listen(lambda: ends.append(content.is_eof()))
    connection.data_received(CHUNK * 1000 + b"0\r\n\r\n")
    assert ends == [True]
