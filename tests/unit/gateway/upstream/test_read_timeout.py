"""A provider that sends something in time is not taken for silent, and a silent one is noticed."""

import asyncio

import aiohttp

from services.gateway.upstream.provider_connection import ProviderConnection, SessionConnection


async def test_a_timer_that_runs_out_after_more_bytes_came_waits_for_the_rest_of_the_time() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.read_timeout = 60
    connection.start_timeout()
    timer = connection._read_timeout_handle
    connection.start_timeout()  # more bytes came
    assert connection._read_timeout_handle is timer
    connection._on_read_timeout()
    assert connection.exception() is None
    assert connection._read_timeout_handle is not timer
    connection.close()


async def test_a_timer_that_runs_out_in_silence_ends_the_read() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.read_timeout = 0.001
    connection.start_timeout()
    async with asyncio.timeout(60):
        while connection.exception() is None:
            await asyncio.sleep(0.001)
    assert isinstance(connection.exception(), aiohttp.SocketTimeoutError)
    assert connection._read_timeout_handle is None


async def test_no_timer_runs_once_the_timeout_is_lifted() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.read_timeout = 60
    connection.start_timeout()
    connection.read_timeout = None
    connection.start_timeout()
    assert connection._read_timeout_handle is None


async def test_requests_of_one_connection_share_a_timer_which_ends_none_of_them_once_answered() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.read_timeout = 60
    connection.start_timeout()
    timer = connection._read_timeout_handle
    connection._drop_timeout()  # the response is complete
    connection.start_timeout()
    assert connection._read_timeout_handle is timer
    connection._drop_timeout()
    connection._on_read_timeout()  # while the connection is idle
    assert connection.exception() is None
    assert connection._read_timeout_handle is None


async def test_a_lost_connection_leaves_no_timer_that_would_keep_it_in_memory() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.read_timeout = 60
    connection.start_timeout()
    timer = connection._read_timeout_handle
    connection.connection_lost(None)
    assert timer is not None
    assert timer.cancelled()
    assert connection._read_timeout_handle is None


HEAD = b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


async def test_a_head_that_trickles_in_does_not_put_the_timeout_off() -> None:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.expect(skip_body=False, timeout=60)
    connection.start_timeout()
    due = connection._silent_at = 1.0
    for byte in HEAD[:-1]:
        connection.data_received(bytes([byte]))
        assert connection._silent_at == due
    connection.data_received(HEAD[-1:])
    assert connection._silent_at > due
    connection.close()


async def test_a_head_that_trickles_through_a_session_does_not_put_the_timeout_off_either() -> None:
    """Uploads take one, and all requests through an outbound proxy."""
    connection = SessionConnection(asyncio.get_running_loop())
    connection.set_response_params(read_timeout=60)
    connection.start_timeout()
    timer = connection._read_timeout_handle
    assert timer is not None
    head = HEAD.partition(b"\r\n\r\n")[2]
    for byte in head[:-1]:
        connection.data_received(bytes([byte]))
        assert connection._read_timeout_handle is timer
    connection.data_received(head[-1:])
    assert connection._read_timeout_handle is not timer, "it goes on for the body"
    connection.close()
