"""Follows the accepted prices in NATS, so that all loggers switch at once."""

import asyncio
import logging
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.js import JetStreamContext

from services.logger.metrics import Metrics
from services.logger.prices.current import CurrentPrices
from shared.pricing import versions
from shared.pricing.versions import PriceVersion
from shared.process import run_all
from shared.stream_watch import StreamWatch

log = logging.getLogger(__name__)

KEPT = 4  # versions in memory, for events that were stored before the last switch
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


class AcceptedPrices:
    """Hands the newest versions that can be read to the prices in use.

    A damaged version is refused, logged once and shown by a metric. Versions that vanish change nothing: the last good
    prices stay in use.
    """

    def __init__(self, prices: CurrentPrices, *, metrics: Metrics) -> None:
        self._prices = prices
        self._metrics = metrics
        self._data: dict[int, bytes] = {}
        self._read: dict[int, tuple[datetime, PriceVersion] | None] = {}  # with the time from which each counts
        self._used: list[int] = []
        self._changed = asyncio.Event()

    async def load(self, js: JetStreamContext) -> None:
        """Take over what is stored now; before this, no request may be priced."""
        for key, data in (await versions.stored(js)).items():
            self._put(key, data)
        self._apply()

    async def follow(self, nc: Client) -> None:
        """Take over new versions until cancelled."""
        watch = StreamWatch(versions.STREAM, versions.PREFIX + versions.VERSION_KEY, self._put)
        await run_all(watch.follow(nc), self._forever())

    async def _forever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._apply()

    def _put(self, key: str, data: bytes | None) -> None:
        number = versions.number(key)
        if number is None or data is None or self._data.get(number) == data or self._read.get(number) is not None:
            return  # no version is ever changed
        self._data[number] = data
        self._read.pop(number, None)
        for old in sorted(self._data)[: -2 * KEPT]:
            del self._data[old]
            self._read.pop(old, None)
        self._changed.set()

    def _apply(self) -> None:
        numbers = sorted(self._data, reverse=True)
        good = [number for number in numbers if self._decoded(number) is not None][:KEPT]
        self._metrics.price_version_broken.set(bool(numbers) and numbers[:1] != good[:1])
        if not good or good == self._used:
            return
        found = [pair for number in good if (pair := self._read[number]) is not None]
        if good[-1] != numbers[-1]:  # of events from before the versions in memory: the oldest of these
            found[-1] = (_ALWAYS, found[-1][1])
        self._prices.use(found)
        self._used = good

    def _decoded(self, number: int) -> tuple[datetime, PriceVersion] | None:
        """A version with the time from which it counts; None if it is damaged, which is logged once."""
        if number not in self._read:
            try:
                version = versions.decode(str(number), self._data[number])
                # whoever accepted it may have a clock that runs fast
                self._read[number] = min(version.at, datetime.now(UTC)), version
            except ValueError as error:
                log.error("accepted prices are not used: %s", error)
                self._read[number] = None
        return self._read[number]
