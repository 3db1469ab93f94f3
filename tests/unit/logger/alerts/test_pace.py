"""Alerts take a part of the time, however many rules there are and however long a query takes."""

import asyncio

import pytest

from services.logger.alerts.pace import Pace


async def test_queries_run_one_by_one_with_pauses_by_their_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    spans: list[tuple[float, float]] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Pace(3, monotonic=lambda: now)

    async def query(seconds: float) -> None:
        async with pace.turn():
            began = now
            await asyncio.sleep(seconds)
            spans.append((began, now))

    await asyncio.gather(*(query(seconds) for seconds in (1, 2, 10, 0.5)))
    assert spans == [(0, 1), (4, 6), (12, 22), (52, 52.5)]


async def test_a_query_that_fails_is_followed_by_a_pause_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Pace(3, monotonic=lambda: now)
    with pytest.raises(OSError, match="gone"):
        async with pace.turn():
            await asyncio.sleep(2)
            raise OSError("gone")
    async with pace.turn():
        assert now == 8
