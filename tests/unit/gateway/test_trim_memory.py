"""What a burst of large bodies took is given back, and nothing is done while there is nothing to give."""

import asyncio
import contextlib

import pytest

from services.gateway import trim_memory


async def looked(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> int:
    """How often memory is given back while the process has these sizes in MB, one a look."""
    trimmed = 0
    left = [size << 20 for size in sizes]

    def trim() -> None:
        nonlocal trimmed
        trimmed += 1

    def resident() -> int:
        if not left:
            raise asyncio.CancelledError
        return left.pop(0)

    monkeypatch.setattr(trim_memory, "resident_bytes", resident)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(trim_memory.give_back_memory(pause=0, trim=trim), 60)
    return trimmed


async def test_memory_is_given_back_once_after_it_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(monkeypatch, [60, 61, 300, 70, 71, 72]) == 1


async def test_memory_that_is_needed_is_not_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(monkeypatch, [60, 300, 290, 295, 300, 310]) == 1


async def test_an_ordinary_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(monkeypatch, [60, 61, 62, 80, 100, 70]) == 0


def test_giving_back_works_on_this_system() -> None:
    trim = trim_memory._malloc_trim()
    assert trim is None or trim() in (0, 1)
