"""The prices in use: the operator's file over accepted over built-in prices."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.logger.metrics import Metrics
from shared.pricing import genai_prices
from shared.pricing.table import Accepted, Table
from shared.pricing.versions import PriceVersion

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between two reads of the file

UNUSABLE = (OSError, ValueError, ArithmeticError, RecursionError)  # raised for an invalid prices file


class CurrentPrices:
    """Holds the price table; raises UNUSABLE for an invalid file.

    An event is priced by the version that was current when NATS stored it, so that a redelivery does not change a
    price. For this the versions before the current one are kept too.
    """

    def __init__(self, path: str, *, metrics: Metrics) -> None:
        """`path`: the operator's file, "" for none."""
        self._path = Path(path) if path else None
        self._metrics = metrics
        self._seen = self._path.read_bytes() if self._path else None
        self._text = self._seen  # of the last valid file
        self._accepted: list[tuple[datetime, Accepted]] = []
        self._tables: list[tuple[datetime, Table]] = []  # when each came into use, newest first
        self._earlier = Table.parse(self._text)  # before the oldest of them
        self.table = self._earlier
        self.changed = asyncio.Event()  # for whoever has to act on new prices, and clears it
        self.dated = self._date(None)
        metrics.price_version.labels(version=self.table.version).set(1)

    def at(self, moment: datetime) -> Table:
        """The price table of an event that NATS stored at this time."""
        return next((table for since, table in self._tables if since <= moment), self._earlier)

    def use(self, newest_first: Sequence[tuple[datetime, PriceVersion]]) -> None:
        """Take over accepted prices: the version in use and some before it.

        Each has the time from which it counts. Raises ValueError if one is damaged.
        """
        self._rebuild(self._text, [(since, version.accepted()) for since, version in newest_first])
        self.dated = self._date(newest_first[0][1].dated if newest_first else None)

    async def forever(self, *, every: float = EVERY) -> None:
        """Check the file periodically and load its changes."""
        while self._path is not None:
            await asyncio.sleep(every)
            self.refresh()

    def refresh(self) -> None:
        """Reload the file if it changed; an invalid one is logged once and ignored."""
        assert self._path is not None
        try:
            text = self._path.read_bytes()
        except OSError as error:
            self._keep(None, error)
            return
        if text == self._seen:
            return
        try:
            self._rebuild(text, self._accepted)
        except UNUSABLE as error:
            self._keep(text, error)
            return
        self._seen = self._text = text
        self.dated = max(self.dated, self._date(None))
        self._metrics.price_file_broken.set(0)

    def _rebuild(self, text: bytes | None, accepted: list[tuple[datetime, Accepted]]) -> None:
        tables = [(since, Table.parse(text, prices)) for since, prices in accepted]
        earlier = Table.parse(text)
        self._accepted, self._tables, self._earlier = accepted, tables, earlier
        table = tables[0][1] if tables else earlier
        if table.version != self.table.version:
            log.info("loaded prices %s, replacing %s", table.version, self.table.version)
            self._metrics.price_version.clear()
            self._metrics.price_version.labels(version=table.version).set(1)
            self.table = table
            self.changed.set()

    def _date(self, accepted: datetime | None) -> datetime:
        """The day of the prices: of the built-in ones, the accepted ones or the file, whichever is newest."""
        dates = [datetime.combine(genai_prices.DATED[1], datetime.min.time(), UTC)]
        if accepted is not None:
            dates.append(accepted)
        if self._path is not None:
            dates.append(datetime.fromtimestamp(self._path.stat().st_mtime, UTC))
        return max(dates)

    def _keep(self, text: bytes | None, error: Exception) -> None:
        if text != self._seen:
            log.error("cannot use %s, keeping prices %s: %s", self._path, self.table.version, error)
        self._seen = text
        self._metrics.price_file_broken.set(1)
