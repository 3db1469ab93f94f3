"""A response is given up when its provider is silent, and not because the gateway stood still."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.idle_timeout import IdleWatchdog


class Response:
    """What the watchdog sees of a response in progress."""

    def __init__(self) -> None:
        self.first_byte_at: float | None = time.perf_counter()
        self.last_activity = time.perf_counter()
        self.writing = False

    def receive(self) -> None:
        self.last_activity = time.perf_counter()


async def given_up_after(
    response: Any, monkeypatch: pytest.MonkeyPatch, *, scans: int = 60, between: Callable[[int], None] = lambda _: None
) -> float | None:
    """Seconds after which a response is given up; None if it is not. `between` gets the number of each scan to come."""
    watchdog = IdleWatchdog(120)
    done = 0
    waited = 0.0
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal done, waited
        if found or done == scans:
            raise asyncio.CancelledError
        done += 1
        waited += seconds
        between(done)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    watchdog.begin(response, lambda: found.append(waited))
    with contextlib.suppress(asyncio.CancelledError):
        await watchdog.run()
    return found[0] if found else None


async def test_silent_provider_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = await given_up_after(Response(), monkeypatch)
    assert seconds is not None and 120 <= seconds <= 150


async def test_response_goes_on_while_something_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    response = Response()

    def between(scan: int) -> None:
        if scan % 20 == 0:  # of a pause of 5 s each
            response.receive()

    assert await given_up_after(response, monkeypatch, scans=200, between=between) is None


@pytest.mark.parametrize(("name", "value"), [("writing", True), ("first_byte_at", None)])
async def test_client_that_reads_slowly_and_a_first_byte_to_come_are_not_the_watchdogs(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = Response()
    setattr(response, name, value)
    assert await given_up_after(response, monkeypatch) is None


async def test_what_arrived_while_the_process_stood_still_is_read_before_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    response = Response()
    now = time.perf_counter

    def between(scan: int) -> None:
        if scan == 10:
            monkeypatch.setattr(time, "perf_counter", lambda: now() + 3600)  # a frozen machine goes on
        if scan >= 11:
            response.receive()

    assert await given_up_after(response, monkeypatch, between=between) is None
