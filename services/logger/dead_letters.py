"""Dead letters: events that cannot be stored, kept with a reason for an operator.

The stream is bounded: when it is full it refuses more and keeps what it has. When most events cannot be read, the
events are not at fault, so the logger halts instead of setting a whole stream aside.
"""

import hashlib
import logging

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from prometheus_client import Gauge

from services.logger.decode import BadEvent
from shared import events, retry

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between attempts: it must be stored before the message is acknowledged
LOG_EVERY = 60  # failed attempts between two log lines
DETAIL = 500  # characters of the detail header
ROOM = 64 << 10  # bytes of a message reserved for headers
CUT = "Metrion-Cut"  # header: the original size of a truncated event
MANY = 100  # bad events needed to halt
_WINDOW = 2000  # recent events from which the share of bad ones is computed
_FAILED = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
_TOO_LARGE = 10054  # JetStream error: message exceeds the stream's maximum size


class Halt:
    """Whether most recent events could not be read."""

    def __init__(self) -> None:
        self._good = 0
        self._bad = 0

    def __bool__(self) -> bool:
        return self._bad >= MANY and self._bad > self._good

    def count(self, *, good: int, bad: int) -> None:
        """Count the outcome of a batch."""
        self._good += good
        self._bad += bad
        while self._good + self._bad > _WINDOW:  # older batches count less and less
            self._good //= 2
            self._bad //= 2


async def set_aside(nc: Client, piece: BadEvent, *, sequence: int | None, blocked: Gauge) -> None:
    """Publish to metrion.dead.<reason>, retrying until it is stored.

    `sequence` is the message's sequence number in the event stream. `blocked` is set to 1 while it cannot be stored:
    the messages of the batch then stay in the event stream.
    """
    headers = {
        "Metrion-Reason": piece.reason,
        "Metrion-Detail": " ".join(piece.detail.encode("ascii", "replace").decode().split())[:DETAIL],
        "Nats-Msg-Id": hashlib.sha256(piece.reason.encode() + piece.data).hexdigest(),  # deduplicates
    }
    if sequence is not None:
        headers["Metrion-Stream-Sequence"] = str(sequence)
    log.warning("set aside %d bytes: %s: %s", len(piece.data), piece.reason, headers["Metrion-Detail"])

    def failed(error: BaseException, failures: int, _pause: float) -> None:
        blocked.set(1)
        if failures % LOG_EVERY == 1:
            log.error("cannot store a dead letter, so nothing is stored: %s %s", type(error).__name__, str(error)[:200])

    await retry.until_done(lambda: _publish_cut(nc, piece, headers), on=_FAILED, first=PAUSE, failed=failed)
    blocked.set(0)


async def _publish_cut(nc: Client, piece: BadEvent, headers: dict[str, str]) -> None:
    """Publish as much of the event as fits into one message of the stream."""
    most = nc.max_payload - ROOM
    while True:
        try:
            return await _publish(nc, piece, headers, most=most)
        except nats.js.errors.APIError as error:
            if error.err_code != _TOO_LARGE or most <= ROOM:
                raise
            most //= 2


async def _publish(nc: Client, piece: BadEvent, headers: dict[str, str], *, most: int) -> None:
    cut = {CUT: str(len(piece.data))} if len(piece.data) > most else {}
    await nc.jetstream().publish(f"{events.DEAD_SUBJECT}.{piece.reason}", piece.data[:most], headers=headers | cut)
