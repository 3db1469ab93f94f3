"""Rows of refused requests, limited per token and minute."""

import logging
import time
from collections import Counter

import msgspec

from services.gateway.exchange import Exchange
from services.gateway.request.errors import Refusal
from shared.events import Envelope

log = logging.getLogger(__name__)

_WINDOW_SECONDS = 60.0
_MAX_METADATA = 256  # bytes of a refused request's metadata, names included
_MAX_SESSION = 128  # characters of its session and of its agent; a longer one is left out


class _Window(msgspec.Struct):
    """Refusals of one token since `since`; `omitted` counts those that no row has reported yet."""

    since: float
    rows: int = 0
    omitted: int = 0


class RefusalRows:
    """Records refused requests, at most `max_per_minute` rows of a token.

    A refusal is free for its sender, so its row must not crowd out others. Beyond the limit, refusals are counted by
    code in `omitted`; the token's next row says how many there were, and so does the log once a minute.
    """

    def __init__(self, *, max_per_minute: int, omitted: Counter[str]) -> None:
        self._max_per_minute = max_per_minute
        self._omitted = omitted
        self._windows: dict[tuple[str, str], _Window] = {}

    def record(self, exchange: Exchange, refusal: Refusal) -> None:
        """Record the refusal of a request that never reached a provider, or only count it."""
        if exchange.finished:
            return
        envelope = exchange.envelope
        now = time.monotonic()
        key = (envelope.account, envelope.token)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now)
        elif now - window.since >= _WINDOW_SECONDS:
            window.since = now
            window.rows = 0
        if window.rows >= self._max_per_minute:
            window.omitted += 1
            self._omitted[refusal.code] += 1
            return
        window.rows += 1
        message = refusal.message
        if window.omitted:
            message = f"{message} ({window.omitted} earlier refusals of this token have no row.)"
            window.omitted = 0
        exchange.envelope = _bounded(envelope)
        exchange.finish(refusal.outcome, status=refusal.status, error_type=refusal.code, message=message)

    def report(self) -> None:
        """Log refusals without a row, and forget tokens without recent refusals."""
        now = time.monotonic()
        for key, window in list(self._windows.items()):
            if window.omitted:
                log.warning("token %s of account %s: %d refusals have no row", key[1] or "-", key[0], window.omitted)
            elif now - window.since >= _WINDOW_SECONDS:
                del self._windows[key]


def _bounded(envelope: Envelope) -> Envelope:
    """The envelope with only as much metadata, session and agent as a refusal may have."""
    if not envelope.metadata and len(envelope.session) <= _MAX_SESSION and len(envelope.agent) <= _MAX_SESSION:
        return envelope
    reduced: dict[str, str] = {}
    left = _MAX_METADATA
    for name, value in envelope.metadata.items():
        left -= len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
        if left < 0:
            break
        reduced[name] = value
    return msgspec.structs.replace(
        envelope,
        metadata=reduced,
        session=envelope.session if len(envelope.session) <= _MAX_SESSION else "",
        agent=envelope.agent if len(envelope.agent) <= _MAX_SESSION else "",
    )
