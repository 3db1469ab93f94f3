"""Rows of refused requests: small, and so many a minute per token; the rest is counted and summed up."""

import logging
import time
from collections import Counter

import msgspec

from services.gateway.exchange import Exchange
from services.gateway.request.errors import Refusal
from shared.events import Envelope

log = logging.getLogger(__name__)

_WINDOW_SECONDS = 60.0
_MOST_METADATA = 256  # bytes of a refused request's metadata, names included


class _Window(msgspec.Struct):
    """A token's refusals since `since`, and how many before and in it have no row and are in no row's sum."""

    since: float
    rows: int = 0
    omitted: int = 0


class RefusalRows:
    """Books refusals. A refused request costs its sender nothing, so its row must not cost others their place.

    Beyond `most_a_minute` rows a token its refusals are counted by kind in `omitted`; the token's next row says how
    many there were, and so does the log, once a minute.
    """

    def __init__(self, *, most_a_minute: int, omitted: Counter[str]) -> None:
        self._most = most_a_minute
        self._omitted = omitted
        self._windows: dict[tuple[str, str], _Window] = {}

    def book(self, exchange: Exchange, refusal: Refusal) -> None:
        """Append the row of a request that never reached a provider, or count it."""
        if exchange.over:
            return
        envelope, now = exchange.envelope, time.monotonic()
        key = (envelope.account, envelope.token)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now)
        elif now - window.since >= _WINDOW_SECONDS:
            window.since = now
            window.rows = 0
        if window.rows >= self._most:
            window.omitted += 1
            self._omitted[refusal.kind] += 1
            return
        window.rows += 1
        message = refusal.message
        if window.omitted:
            message = f"{message} ({window.omitted} earlier refusals of this token have no row.)"
            window.omitted = 0
        exchange.envelope = _bounded(envelope)
        exchange.finish(refusal.outcome, status=refusal.status, kind=refusal.kind, message=message)

    def report(self) -> None:
        """Log whose refusals have no row, and forget tokens that were not refused for a while."""
        now = time.monotonic()
        for key, window in list(self._windows.items()):
            if window.omitted:
                log.warning("token %s of account %s: %d refusals have no row", key[1] or "-", key[0], window.omitted)
            elif now - window.since >= _WINDOW_SECONDS:
                del self._windows[key]


def _bounded(envelope: Envelope) -> Envelope:
    """The envelope with as many of the metadata as fit a refusal."""
    if not envelope.metadata:
        return envelope
    kept: dict[str, str] = {}
    left = _MOST_METADATA
    for name, value in envelope.metadata.items():
        left -= len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
        if left < 0:
            break
        kept[name] = value
    return msgspec.structs.replace(envelope, metadata=kept)
