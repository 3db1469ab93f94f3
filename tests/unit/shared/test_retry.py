"""Retries: until an attempt succeeds, less and less often, and never for an error that is not listed."""

import asyncio

import pytest

from shared import retry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


class Flaky:
    """Fails so many times, then succeeds."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error = failures, error

    async def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


async def test_retries_of_a_server_that_is_down_back_off(pauses: list[float]) -> None:
    told: list[tuple[str, int, float]] = []
    result = await retry.until_done(
        Flaky(5, OSError("down")),
        on=(OSError,),
        first=0.25,
        most=1.0,
        failed=lambda error, failures, pause: told.append((str(error), failures, pause)),
    )
    assert result == "done"
    assert pauses == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert told == [("down", number, pause) for number, pause in enumerate(pauses, start=1)]


async def test_retries_without_a_maximum_pause_wait_equally_long(pauses: list[float]) -> None:
    assert await retry.until_done(Flaky(3, TimeoutError()), on=(OSError,), first=1.0) == "done"
    assert pauses == [1.0, 1.0, 1.0]


async def test_an_error_that_a_retry_cannot_mend_is_raised_at_once(pauses: list[float]) -> None:
    with pytest.raises(ValueError, match="wrong"):
        await retry.until_done(Flaky(1, ValueError("wrong")), on=(OSError,), first=1.0)
    assert pauses == []
