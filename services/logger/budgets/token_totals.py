"""Publishes what each token has used today and this month, for its holder.

Like the figures of budgets, these are totals of the rows, and only the holder of the lease writes them.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger.budgets.figures import Figures
from shared import clickhouse
from shared.limits import periods, spend, token_totals
from shared.limits.periods import DAY, MONTH
from shared.limits.spend import SPEND_SUBJECT, FigureProgress
from shared.limits.token_totals import Sums, TokenTotals

EVERY_SECONDS = 5.0  # between two passes, at least
LOAD = 19  # a pass is followed by a pause of this many times its duration, so that it takes a twentieth of the time
FULL_SECONDS = 60.0  # between two passes over all accounts: deleted rows, a new day
EMPTY_SECONDS = 600  # after which the totals of a token whose rows were deleted disappear
_VISIBLE = timedelta(minutes=3)  # by which an insert is visible after its ingested_at
_KEPT = timedelta(days=1)  # after the end of the month


class TokenTotalsPublisher:
    """Computes the totals of the accounts with new rows, sometimes of all accounts."""

    def __init__(self, figures: Figures, client: AsyncClient) -> None:
        self._figures = figures
        self._client = client
        self.reset()

    def reset(self) -> None:
        """Begin with a pass over all accounts."""
        self._next_at = 0.0
        self._full_at = 0.0
        self._through = -1
        self._day: datetime | None = None
        self._computed_at: datetime | None = None

    async def publish(self, through: int, *, at: datetime) -> None:
        """Publish totals that have changed, if it is time.

        `through`: number of the newest event whose row is stored. Raises LeaseLost and one of clickhouse.Failed.
        """
        began = time.monotonic()
        if began < self._next_at:
            return
        day = periods.span(DAY, "UTC", at).start
        month = periods.span(MONTH, "UTC", at)
        assert month.end is not None
        is_full = began >= self._full_at or day != self._day or self._computed_at is None
        if through == self._through and not is_full:
            return
        accounts = [] if is_full else await self._touched(at)
        rows = await clickhouse.run_query(
            self._client, "token_totals", day=day, month=month.start, every=is_full, accounts=accounts
        )
        found = {
            token_totals.subject(row["account"], row["token"]): token_totals.encode(
                TokenTotals(day, month.start, _sums(row, "day"), _sums(row, "month"))
            )
            for row in rows
        }
        await self._write(found, ttl=month.end + _KEPT - at)
        if is_full:
            await self._empty(found, TokenTotals(day, month.start, Sums(), Sums()))
        await self._figures.write({SPEND_SUBJECT + token_totals.MARK: spend.encode(FigureProgress(through, at))})
        self._through = through
        self._day = day
        self._computed_at = at
        ended = time.monotonic()
        if is_full:
            self._full_at = ended + FULL_SECONDS
        self._next_at = max(began + EVERY_SECONDS, ended + LOAD * (ended - began))

    async def _touched(self, at: datetime) -> list[str]:
        since = (self._computed_at or at) - _VISIBLE
        return [row["account"] for row in await clickhouse.run_query(self._client, "limit_touched", since=since)]

    async def _write(self, found: Mapping[str, bytes], *, ttl: timedelta) -> None:
        published = self._published()
        changed = {subject: data for subject, data in found.items() if published.get(subject) != data}
        await self._figures.write(changed, ttl=int(ttl.total_seconds()))

    async def _empty(self, found: Mapping[str, bytes], nothing: TokenTotals) -> None:
        """Empty the totals of tokens without a row."""
        data = token_totals.encode(nothing)
        gone = {
            subject: data for subject, before in self._published().items() if subject not in found and before != data
        }
        await self._figures.write(gone, ttl=EMPTY_SECONDS)

    def _published(self) -> dict[str, bytes]:
        return {
            subject: data
            for name, messages in self._figures.published.items()
            if name.startswith(SPEND_SUBJECT + token_totals.PREFIX)
            for subject, (_, data) in messages.items()
        }


def _sums(row: Mapping[str, Any], period: str) -> Sums:
    return Sums(
        requests=row[f"{period}_requests"],
        cost=row[f"{period}_cost"],
        unpriced=row[f"{period}_unpriced"],
        input_tokens=row[f"{period}_input_tokens"],
        output_tokens=row[f"{period}_output_tokens"],
    )
