"""Requests wait for a collector in a bounded queue; what it does not take is dropped and counted."""

import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from services.logger.metrics import Metrics
from services.logger.telemetry.sender import CollectorBusy, Sender
from services.logger.telemetry.stored_request import StoredRequest
from tests.support.stored_requests import stored_request

Batch = list[StoredRequest]
SECONDS = 120.0  # for a thread on a busy machine


class Clock:
    """Time that passes only while a sender pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def pause(self, seconds: float) -> bool:
        """Let the pause pass at once; the sender is not closing."""
        self.now += seconds
        self.pauses.append(seconds)
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("services.logger.telemetry.sender.time", made)
    return made


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def sender(metrics: Metrics, export: Callable[[Batch], int | CollectorBusy], **changes: float) -> Sender[Batch]:
    return Sender(
        lambda batch: batch,
        export,
        capacity=int(changes.pop("capacity", 1000)),
        sent=metrics.exported,
        dropped=metrics.not_exported,
        waiting=metrics.to_export,
        **changes,
    )


def counts(metrics: Metrics) -> tuple[float, float, float, float]:
    """Sent, and dropped because the queue was full, the collector refused, and at the stop."""
    dropped = [metrics.not_exported.labels(reason=reason) for reason in ("full", "failed", "stopped")]
    sent, *others = (counter._value.get() for counter in (metrics.exported, *dropped))
    return (sent, *others)


def test_everything_queued_is_sent_at_a_stop(metrics: Metrics) -> None:
    got: Batch = []

    def export(batch: Batch) -> int | CollectorBusy:
        got.extend(batch)
        return 0

    line = sender(metrics, export)
    line.offer([stored_request(latency_ms=number) for number in range(700)])
    line.close(SECONDS)
    assert [request.row.latency_ms for request in got] == list(range(700))
    assert counts(metrics) == (700, 0, 0, 0)


def test_a_collector_that_hangs_delays_no_insert(metrics: Metrics) -> None:
    taken, release = threading.Event(), threading.Event()

    def hang(batch: Batch) -> int | CollectorBusy:
        taken.set()
        release.wait(SECONDS)
        return 0

    line = sender(metrics, hang, capacity=5)
    line.offer([stored_request()])
    assert taken.wait(SECONDS)
    line.offer([stored_request()] * 12)  # returns at once
    assert counts(metrics) == (0, 7, 0, 0)
    line.close(0.01)
    assert counts(metrics) == (0, 7, 0, 6)  # the one that hangs among them
    release.set()
    line._thread.join(SECONDS)
    assert counts(metrics) == (0, 7, 0, 6)  # it is not counted twice


def test_a_batch_is_tried_again_then_given_up(metrics: Metrics, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter([False, True])
    line = sender(metrics, lambda batch: 0 if next(replies, False) else CollectorBusy(), retry_seconds=0.6)
    monkeypatch.setattr(line._closing, "wait", clock.pause)
    line.offer([stored_request()] * 2)  # refused once, then taken
    while not any(counts(metrics)):
        threading.Event().wait(0.01)
    assert counts(metrics) == (2, 0, 0, 0)
    line.offer([stored_request()] * 3)
    while not counts(metrics)[2]:
        threading.Event().wait(0.01)
    line.close(SECONDS)
    assert counts(metrics) == (2, 0, 3, 0)


def test_a_collector_that_asks_to_wait_is_left_alone_for_as_long_within_a_bound(
    metrics: Metrics, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    def export(batch: Batch) -> int | CollectorBusy:
        attempts.append(clock.now)
        return CollectorBusy(retry_after=0.5)

    line = sender(metrics, export, retry_seconds=0.1, retry_after_seconds=0.75)
    monkeypatch.setattr(line._closing, "wait", clock.pause)
    line.offer([stored_request()] * 2)
    while not counts(metrics)[2]:
        threading.Event().wait(0.01)
    line.close(SECONDS)
    assert counts(metrics) == (0, 0, 2, 0)
    assert attempts == [0, 0.5, 0.75], "it is left alone for longer than a batch is tried, until all of that is used"


def test_what_a_collector_rejects_of_a_batch_is_not_counted_as_sent(metrics: Metrics) -> None:
    line = sender(metrics, lambda batch: 3)
    line.offer([stored_request()] * 10)
    line.close(SECONDS)
    assert counts(metrics) == (7, 0, 0, 0)
    assert metrics.not_exported.labels(reason="rejected")._value.get() == 3


def test_a_batch_that_cannot_be_built_does_not_stop_the_others(metrics: Metrics) -> None:
    got: Batch = []

    def export(batch: Batch) -> int | CollectorBusy:
        if not got:
            got.extend(batch)
            raise ValueError("odd")
        got.extend(batch)
        return 0

    line = sender(metrics, export)
    line.offer([stored_request()])
    while not counts(metrics)[2]:
        threading.Event().wait(0.01)
    line.offer([stored_request()])
    line.close(SECONDS)
    assert counts(metrics) == (1, 0, 1, 0)
