"""What is held of budgets is counted until the published figures include it."""

import time

import pytest

from services.gateway.limits import holds as module
from services.gateway.limits.holds import NEVER, Hold, Holds, KnownFigures
from shared.limits.spend import Held


class Events:
    """Events that have been stored up to a position."""

    def __init__(self) -> None:
        self.at = (1, 0)
        self.up_to = (0, 0)
        self.sequence = 0

    def position(self) -> tuple[int, int]:
        return self.at

    def stored(self, position: tuple[int, int]) -> int:
        return self.sequence if position <= self.up_to else 0


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def advance(self, seconds: float) -> None:
        self._now += seconds


def covered(_: str) -> bool:
    return True


def release(holds: Holds, **through: int) -> list[Hold]:
    """Settle by figures that go so far, by account."""
    return holds.release_included({account: KnownFigures(number) for account, number in through.items()}, covered)


def test_hold_counts_until_its_event_is_stored_and_included() -> None:
    events = Events()
    holds = Holds(events)
    hold = Hold("acme", {"a": 5, "b": 7}, cost=5)
    holds.add(hold)
    assert (holds.total("a"), holds.total("b"), holds.cost) == (5, 7, 5)
    events.at = (1, 100)
    holds.finish(hold)
    assert release(holds, acme=10) == []  # the figures are of before
    events.up_to, events.sequence = (1, 100), 11
    assert release(holds, acme=10) == []
    assert (holds.total("a"), holds.waiting) == (5, 1)
    assert release(holds, acme=11) == [hold]
    assert (holds.total("a"), holds.total("b"), holds.cost, holds.waiting, dict(holds.own)) == (0, 0, 0, 0, {})


def test_figures_of_another_account_release_nothing() -> None:
    events = Events()
    holds = Holds(events)
    holds.add(hold := Hold("acme", {"a": 5}))
    holds.finish(hold)
    events.up_to, events.sequence = (1, 0), 3
    assert release(holds, other=99) == []
    assert holds.total("a") == 5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_hold_is_given_up_when_regular_figures_do_not_include_it(clock: Clock) -> None:
    """The stream of events was created again: its numbers begin anew."""
    events = Events()
    events.up_to, events.sequence = (1, 0), 1_000_000
    holds = Holds(events)
    holds.add(hold := Hold("acme", {"a": 5}))
    holds.finish(hold)
    figures = NEVER
    for _ in range(3):
        assert holds.release_included({"acme": figures}, covered) == []
        figures = figures.next(3)
        clock.advance(60)
    assert holds.release_included({"acme": figures.next(4)}, covered) == [hold]


def test_hold_is_kept_while_the_logger_is_away_and_while_it_catches_up(clock: Clock) -> None:
    events = Events()
    events.up_to, events.sequence = (1, 0), 900
    holds = Holds(events)
    figures = NEVER.next(2)
    holds.add(hold := Hold("acme", {"a": 5}))
    holds.finish(hold)
    assert holds.release_included({"acme": figures}, covered) == []
    clock.advance(10_000)
    assert holds.release_included({"acme": figures}, covered) == []
    for through in (3, 500):
        figures = figures.next(through)
        assert holds.release_included({"acme": figures}, covered) == []
        clock.advance(10)
    assert holds.release_included({"acme": figures.next(900)}, covered) == [hold]


def test_hold_of_an_account_without_budgets_is_released() -> None:
    """Its last budget was deleted: no figures of it will be published."""
    events = Events()
    events.up_to, events.sequence = (1, 0), 3
    holds = Holds(events)
    holds.add(hold := Hold("acme", {"a": 5}))
    holds.finish(hold)
    assert holds.release_included({}, lambda account: account != "acme") == [hold]
    assert dict(holds.own) == {}


def test_a_long_absence_of_the_logger_does_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 4)
    events = Events()
    holds = Holds(events)
    for number in range(1, 21):
        hold = Hold("acme", {"a": 5, f"each{number}": 1}, cost=5, reserved={"b": 1})
        holds.add(hold)
        events.at = (1, number)
        holds.finish(hold)
    assert (len(holds._unstored["acme"]), holds.waiting, holds.total("a"), holds.cost) == (4, 20, 100, 100)
    events.up_to, events.sequence = (1, 19), 30
    assert release(holds, acme=30) != []
    assert (holds.total("a"), holds.total("each4"), holds.waiting) == (85, 1, 17)  # the last of them is not stored
    events.up_to = (1, 20)
    (last,) = release(holds, acme=30)
    assert (last.reserved, holds.cost, holds.waiting, dict(holds.own)) == ({"b": 17}, 0, 0, {})


def test_other_gateways_count_until_they_fall_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    holds = Holds(Events())
    holds.update(Held("one", {"a": 5}))
    holds.update(Held("two", {"a": 7, "b": 1}))
    holds.update(Held("one", {"a": 6}))
    assert (holds.total("a"), holds.total("b")) == (13, 1)
    holds.update(Held("two", {}))
    assert (holds.total("a"), holds.total("b")) == (6, 0)
    assert list(holds._foreign) == ["a"]  # what nobody holds any more takes no memory
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + module.SILENCE_SECONDS + 1)
    holds.forget_silent()
    assert holds.total("a") == 0
