"""What is held of budgets is counted until the published figures include it."""

import time

import pytest

from services.gateway.limits import holds as module
from services.gateway.limits.holds import Hold, Holds
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


def test_hold_counts_until_its_event_is_stored_and_included() -> None:
    events = Events()
    holds = Holds(events)
    hold = Hold("acme", [("a", 5), ("b", 7)], cost=5)
    holds.add(hold)
    assert (holds.total("a"), holds.total("b"), holds.cost) == (5, 7, 5)
    events.at = (1, 100)
    holds.finish(hold)
    assert holds.settle({"acme": 10}) == []  # the figures are of before
    events.up_to, events.sequence = (1, 100), 11
    assert holds.settle({"acme": 10}) == []
    assert (holds.total("a"), holds.waiting) == (5, 1)
    assert holds.settle({"acme": 11}) == [hold]
    assert (holds.total("a"), holds.total("b"), holds.cost, holds.waiting, dict(holds.own)) == (0, 0, 0, 0, {})


def test_figures_of_another_account_release_nothing() -> None:
    events = Events()
    holds = Holds(events)
    holds.add(hold := Hold("acme", [("a", 5)]))
    holds.finish(hold)
    events.up_to, events.sequence = (1, 0), 3
    assert holds.settle({"other": 99}) == []
    assert holds.total("a") == 5


def test_hold_is_given_up_when_the_figures_should_long_include_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events()
    events.up_to, events.sequence = (1, 0), 3
    holds = Holds(events)
    holds.add(hold := Hold("acme", [("a", 5)]))
    holds.finish(hold)
    assert holds.settle({}) == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + module.GIVE_UP_SECONDS + 1)
    assert holds.settle({}) == [hold]


def test_other_gateways_count_until_they_fall_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    holds = Holds(Events())
    holds.hear(Held("one", {"a": 5}))
    holds.hear(Held("two", {"a": 7, "b": 1}))
    holds.hear(Held("one", {"a": 6}))
    assert (holds.total("a"), holds.total("b")) == (13, 1)
    holds.hear(Held("two", {}))
    assert (holds.total("a"), holds.total("b")) == (6, 0)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + module.SILENCE_SECONDS + 1)
    holds.forget_silent()
    assert holds.total("a") == 0
