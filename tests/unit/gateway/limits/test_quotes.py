"""Questions for the expected use of a request, without a logger that answers."""

import asyncio
from typing import Any

import pytest

from services.gateway.limits import quotes as module
from services.gateway.limits.quotes import Quotes
from tests.support.rate_limits import request


class Silent:
    """A connection to NATS over which a logger never answers, or none is there to be asked."""

    is_connected = True

    def __init__(self, *, is_frozen: bool) -> None:
        self._is_frozen = is_frozen
        self.asked = 0

    async def request(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        if self._is_frozen:
            await asyncio.Event().wait()
        raise TimeoutError


async def test_quotes_that_fail_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    made = Quotes()
    made.attach(Silent(is_frozen=False))  # type: ignore[arg-type]
    for number in range(50):
        assert await made.find(request(f"token{number}")) is None
    assert (made.failures, len(made._kept)) == (50, 10)


async def test_second_request_goes_on_while_the_question_of_the_first_is_open() -> None:
    made = Quotes()
    made.attach(Silent(is_frozen=True))  # type: ignore[arg-type]
    await made.find(request(), seconds=0.01)
    second = asyncio.create_task(made.find(request(), seconds=0.001))
    for _ in range(3):  # turns of the event loop, no time
        await asyncio.sleep(0)
    assert second.done()
