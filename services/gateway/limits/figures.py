"""Usage of budgets by the stored requests, as the loggers publish it."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from nats.aio.client import Client

from services.gateway.limits.holds import NEVER, KnownFigures
from shared.limits import periods, spend
from shared.limits.model import Limit
from shared.limits.periods import Span
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used
from shared.stream_watch import StreamWatch

log = logging.getLogger(__name__)


class Figures:
    """Mirror of the published figures, and the periods that they are about."""

    def __init__(self) -> None:
        self.progress: dict[str, KnownFigures] = {}  # how far the figures of each account go
        self._used: dict[str, Used] = {}
        self._known: dict[str, frozenset[str]] = {}  # limits that they include, by account
        self._watch = StreamWatch(SPEND_STREAM, SPEND_SUBJECT, self._put)
        self._spans: dict[tuple[str, str], Span] = {}
        self._ignored: set[Limit] = set()

    @property
    def messages(self) -> Mapping[str, bytes]:
        """Everything that is published, by its subject behind the prefix."""
        return self._watch.values

    async def follow(self, nc: Client) -> None:
        """Follow what is published until cancelled."""
        await self._watch.follow(nc)

    async def wait_until_loaded(self, seconds: float) -> bool:
        """Wait until everything has been read once; False after `seconds`."""
        try:
            await asyncio.wait_for(self._watch.loaded.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _put(self, key: str, value: bytes | None) -> None:
        if key.startswith("-"):
            return
        if value is None:  # also if NATS has lost the stream: what was computed is unknown then
            self._used.pop(key, None)
            self._known.pop(key, None)
            self.progress.pop(key, None)
        elif "." in key:
            self._used[key] = spend.decode_used(value)
        else:
            progress = spend.decode_progress(value)
            self.progress[key] = self.progress.get(key, NEVER).next(progress.through)
            self._known[key] = frozenset(progress.limits)

    def used(self, limit: Limit, counter: str) -> int:
        """What the stored requests have used of a budget in its present period."""
        return self.in_period(limit, self._used.get(counter))

    def in_period(self, limit: Limit, used: Used | None) -> int:
        """What a figure says about the present period; 0 if it is about an earlier one."""
        if used is None:
            return 0
        span = self.span(limit)
        return used.used if span.end is None or used.start == span.start else 0

    def include(self, limit: Limit) -> bool:
        """Whether the figures of a limit with its present scope have been computed."""
        return spend.limit_id(limit) in self._known.get(limit.account, ())

    def span(self, limit: Limit) -> Span:
        """Present period of a budget; ValueError for a time zone that is unknown here."""
        key = (limit.period, limit.timezone)
        now = datetime.now(UTC)
        span = self._spans.get(key)
        if span is None or span.end is None or now >= span.end:
            span = self._spans[key] = periods.span(limit.period, limit.timezone, now)
        return span

    def can_compute(self, limit: Limit) -> bool:
        """Whether the period of a budget can be computed here.

        Its time zone may be newer than this machine's.
        """
        try:
            self.span(limit)
        except ValueError as error:
            if limit not in self._ignored:
                self._ignored.add(limit)
                log.error("budget %s of account %s is ignored: %s", limit.name, limit.account, error)
            return False
        return True
