"""The current prices: built-in plus the operator's file, reloaded when it changes."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

from services.logger.metrics import Metrics
from shared.pricing import genai_prices
from shared.pricing.table import Table

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two reads of the file

UNUSABLE = (OSError, ValueError, ArithmeticError, RecursionError)  # raised for an invalid prices file


class PriceFile:
    """Holds the prices of METRION_PRICES_FILE ("": built-in only); raises UNUSABLE."""

    def __init__(self, path: str, *, metrics: Metrics) -> None:
        self._path = Path(path) if path else None
        self._metrics = metrics
        self._seen = self._path.read_bytes() if self._path else None
        self.table = Table.parse(self._seen)
        self.dated = self._date()
        metrics.price_version.labels(version=self.table.version).set(1)

    def _date(self) -> datetime:
        """The day of the built-in prices, or the time of the last change of the file."""
        built_in = datetime.combine(genai_prices.DATED[1], datetime.min.time(), UTC)
        if self._path is None:
            return built_in
        return max(built_in, datetime.fromtimestamp(self._path.stat().st_mtime, UTC))

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
            table = Table.parse(text)
        except UNUSABLE as error:
            self._keep(text, error)
            return
        self._seen = text
        self.dated = self._date()
        self._metrics.price_file_broken.set(0)
        if table.version != self.table.version:
            log.info("loaded prices %s, replacing %s", table.version, self.table.version)
            self._metrics.price_version.clear()
            self._metrics.price_version.labels(version=table.version).set(1)
            self.table = table

    def _keep(self, text: bytes | None, error: Exception) -> None:
        if text != self._seen:
            log.error("cannot use %s, keeping prices %s: %s", self._path, self.table.version, error)
        self._seen = text
        self._metrics.price_file_broken.set(1)
