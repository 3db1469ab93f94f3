"""Bounded queue in front of a collector, and the thread that empties it.

Storing requests never waits for it: those that find no room are dropped and counted.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from prometheus_client import Counter, Gauge

from services.logger.telemetry.stored_request import StoredRequest

log = logging.getLogger(__name__)
T = TypeVar("T")

FULL, FAILED, REJECTED, STOPPED = REASONS = ("full", "failed", "rejected", "stopped")
_BATCH = 512  # requests per export
RETRY_SECONDS = 60.0  # until a batch is given up; the exporters retry within their own timeout of 10 s
RETRY_AFTER_SECONDS = 300.0  # that a collector may ask to wait in all before a batch is given up, in addition
_PAUSE_FIRST, _PAUSE_MOST = 0.5, 10.0  # seconds between two attempts
_POLL = 0.5  # seconds after which an idle thread looks whether to end


class CollectorBusy(NamedTuple):
    """A collector takes nothing for now.

    `retry_after`: seconds that it asks to wait; 0 if it does not say.
    """

    retry_after: float = 0.0


class Sender(Generic[T]):
    """Sends requests in batches, one batch at a time."""

    def __init__(
        self,
        prepare: Callable[[list[StoredRequest]], T],
        export: Callable[[T], int | CollectorBusy],
        *,
        capacity: int,
        sent: Counter,
        dropped: Counter,
        waiting: Gauge,
        retry_seconds: float = RETRY_SECONDS,
        retry_after_seconds: float = RETRY_AFTER_SECONDS,
    ) -> None:
        """`prepare` is called once for each batch, `export` until it returns a number, both on the thread.

        The number says how many of the batch the collector has rejected for good.
        """
        self._prepare = prepare
        self._export = export
        self._queue: queue.Queue[StoredRequest] = queue.Queue(capacity)
        self._sent = sent
        self._dropped = dropped
        self._retry_seconds = retry_seconds
        self._retry_after_seconds = retry_after_seconds
        self._closing = threading.Event()
        self._in_hand = 0  # requests of the batch that is being delivered
        self._counting = threading.Lock()
        waiting.set_function(self._queue.qsize)
        # A daemon, so that a collector that accepts a request and never responds does not delay the process's end.
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def offer(self, requests: Iterable[StoredRequest]) -> None:
        """Queue requests, as far as there is room. Never waits."""
        refused = 0
        for request in requests:
            try:
                self._queue.put_nowait(request)
            except queue.Full:
                refused += 1
        self._drop(FULL, refused)

    def close(self, seconds: float) -> None:
        """Send what is queued, for at most `seconds`; the rest is dropped. Blocks."""
        self._closing.set()
        self._thread.join(seconds)
        with self._counting:  # whatever becomes of the batch in hand now
            left, self._in_hand = self._in_hand, 0
        while self._take() is not None:
            left += 1
        self._drop(STOPPED, left)
        if left:
            log.warning("stopped with %d requests not exported to the collector", left)

    def _run(self) -> None:
        while not (self._closing.is_set() and self._queue.empty()):
            first = self._take(_POLL)
            if first is None:
                continue
            batch = [first]
            while len(batch) < _BATCH and (request := self._take()) is not None:
                batch.append(request)
            self._in_hand = len(batch)
            try:
                self._settle(*self._deliver(batch))
            except Exception:
                log.exception("%d requests cannot be exported", len(batch))
                self._settle(FAILED, len(batch))

    def _deliver(self, batch: list[StoredRequest]) -> tuple[str, int]:
        """Export a batch, however often it takes within `retry_seconds`; at a stop, once.

        Time that the collector asks to wait does not count, up to `retry_after_seconds`. Returns how many of the batch
        are dropped, and why.
        """
        prepared = self._prepare(batch)
        until = time.monotonic() + self._retry_seconds
        left = self._retry_after_seconds
        pause = _PAUSE_FIRST
        while isinstance(reply := self._export(prepared), CollectorBusy):
            asked = min(reply.retry_after, left)
            left -= asked
            until += asked
            if self._closing.wait(asked or pause) or time.monotonic() >= until:
                log.warning("%d requests were not exported: the collector did not accept them", len(batch))
                return FAILED, len(batch)
            pause = min(pause * 2, _PAUSE_MOST)
        return REJECTED, reply

    def _settle(self, reason: str, dropped: int) -> None:
        """Count the batch in hand, unless `close` has given it up."""
        with self._counting:
            if self._in_hand:
                self._sent.inc(self._in_hand - dropped)
                self._drop(reason, dropped)
            self._in_hand = 0

    def _take(self, seconds: float = 0.0) -> StoredRequest | None:
        try:
            return self._queue.get(block=seconds > 0, timeout=seconds or None)
        except queue.Empty:
            return None

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self._dropped.labels(reason=reason).inc(count)
