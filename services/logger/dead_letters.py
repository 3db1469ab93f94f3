"""Dead letters: pieces of messages that cannot become rows, kept with their reason where an operator can look at them.

Bounded: the stream refuses more when it is full, and nothing in it is lost then. When most of what comes cannot be read
the fault is not in the events: then the logger halts rather than set a whole stream aside.
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

PAUSE = 1.0  # seconds before trying again: it must stand there before the message is acknowledged
SAY_EVERY = 60  # tries between two lines in the log
DETAIL = 500  # characters of the reason in words
ROOM = 64 << 10  # bytes of a message that are left for headers
CUT = "Metrion-Cut"  # header: how many bytes it had before it was cut
MANY = 100  # bad pieces from which on a halt is considered
_KEPT = 2000  # pieces that the share of bad ones is taken of
_FAILED = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
_TOO_LARGE = 10054  # JetStream: larger than the stream's messages may be


class Halt:
    """Whether most of what came lately could not be read."""

    def __init__(self) -> None:
        self._good = self._bad = 0

    def __bool__(self) -> bool:
        return self._bad >= MANY and self._bad > self._good

    def count(self, *, good: int, bad: int) -> None:
        """Take in the outcome of a batch."""
        self._good += good
        self._bad += bad
        while self._good + self._bad > _KEPT:  # what came earlier counts less and less
            self._good //= 2
            self._bad //= 2


async def set_aside(nc: Client, piece: BadEvent, *, sequence: int | None, blocked: Gauge) -> None:
    """Publish to metrion.dead.<reason> until it is stored; `sequence` is the message's number in the event stream.

    `blocked` is 1 while it cannot be stored: the messages of the batch then stay in the event stream.
    """
    headers = {
        "Metrion-Reason": piece.reason,
        "Metrion-Detail": " ".join(piece.detail.encode("ascii", "replace").decode().split())[:DETAIL],
        "Nats-Msg-Id": hashlib.sha256(piece.reason.encode() + piece.data).hexdigest(),  # a redelivery adds no second
    }
    if sequence is not None:
        headers["Metrion-Stream-Sequence"] = str(sequence)
    log.warning("set aside %d bytes: %s: %s", len(piece.data), piece.reason, headers["Metrion-Detail"])

    def failed(error: BaseException, failures: int, _pause: float) -> None:
        blocked.set(1)
        if failures % SAY_EVERY == 1:
            log.error("not set aside yet, so nothing more is stored: %s %s", type(error).__name__, str(error)[:200])

    await retry.until_done(lambda: _publish_cut(nc, piece, headers), on=_FAILED, first=PAUSE, failed=failed)
    blocked.set(0)


async def _publish_cut(nc: Client, piece: BadEvent, headers: dict[str, str]) -> None:
    """Publish as much of the piece as the stream takes in one message."""
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
