"""What runs in the background ends with what it runs for."""

import asyncio
import resource

import pytest

from shared.process import cancel_and_wait, open_files_limit, raise_open_files_limit, restart_on_failure, run_all


class Deaf:
    """Hears a cancellation only when it is told so often; then it takes its leave."""

    def __init__(self, *, told: int) -> None:
        self.left, self.said_goodbye = told, False

    async def run(self) -> None:
        while self.left:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.left -= 1
        self.said_goodbye = True
        raise asyncio.CancelledError


async def test_a_task_that_swallowed_its_cancellation_is_cancelled_again() -> None:
    deaf = Deaf(told=3)
    task = asyncio.create_task(deaf.run())
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel_and_wait(task, again=0.01), 60)
    assert deaf.said_goodbye and task.cancelled()


async def test_a_task_that_fails_or_has_ended_raises_nothing() -> None:
    async def fails() -> None:
        raise ValueError

    for task in (asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(0))):
        await asyncio.sleep(0.01)
        await cancel_and_wait(task)


async def test_a_supervised_task_ends_although_it_swallowed_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cancel_and_wait.__kwdefaults__
    monkeypatch.setitem(cancel_and_wait.__kwdefaults__, "again", 0.01)
    deaf = Deaf(told=2)
    async with asyncio.timeout(60), restart_on_failure("deaf", deaf.run):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert deaf.said_goodbye


async def test_a_failing_task_cancels_its_siblings_and_its_error_is_raised() -> None:
    deaf = Deaf(told=2)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        await asyncio.wait_for(run_all(deaf.run(), fails(), again=0.01), 60)
    assert deaf.said_goodbye


async def test_cancelling_a_group_of_tasks_cancels_and_awaits_each_of_them() -> None:
    deaf, other = Deaf(told=2), Deaf(told=1)
    task = asyncio.create_task(run_all(deaf.run(), other.run(), again=0.01))
    await asyncio.sleep(0.01)
    await cancel_and_wait(task)
    assert deaf.said_goodbye and other.said_goodbye
    await run_all(asyncio.sleep(0), asyncio.sleep(0.01))


def test_a_service_may_open_as_many_files_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        raise_open_files_limit()
        assert open_files_limit() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
