"""A provider that sends something in time is not taken for silent, and a silent one is noticed."""

import asyncio

import aiohttp

from services.gateway.upstream.provider_connection import ProviderConnection


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
