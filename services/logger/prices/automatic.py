"""Compares the prices with a source daily, and accepts new ones under the guards.

Off unless METRION_PRICES_SOURCE names a source. The guards of `metrion prices update` apply, and nothing overrules
them: what they object to waits for a person.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.js import JetStreamContext

from services.logger.metrics import Metrics
from services.logger.prices import task_lease
from services.logger.prices.task_lease import HOLDER, TaskLease
from shared import audit, urls
from shared.pricing import versions
from shared.pricing.update import candidate, genai_release, sources
from shared.pricing.versions import Checked, PriceVersion

log = logging.getLogger(__name__)

TASK = "update"
DAILY = timedelta(days=1)
RETRY = timedelta(hours=1)  # after a source that could not be fetched
EVERY = 60.0  # seconds between two looks at whether an update is due
_LEASE_SECONDS = 300.0  # seconds


class AutomaticUpdates:
    """The daily comparison; one logger at a time."""

    def __init__(self, nc: Client, *, source: str, ca_file: str, metrics: Metrics, holder: str = HOLDER) -> None:
        self._js = nc.jetstream()
        self._source = source
        self._ca_file = ca_file
        self._metrics = metrics
        self._lease = TaskLease(self._js, TASK, seconds=_LEASE_SECONDS, holder=holder)

    async def forever(self, *, every: float = EVERY) -> None:
        """Update whenever it is due; returns at once without a source."""
        while self._source:
            try:
                await self.run_due()
            except task_lease.Failed as error:
                log.warning("prices not compared with their source: %s", type(error).__name__)
            await asyncio.sleep(every)

    async def run_due(self, *, now: datetime | None = None) -> Checked | None:
        """Update if the last comparison is a day old; None if nothing was done."""
        now = now or datetime.now(UTC)
        if not self._is_due(await versions.checked(self._js), now) or not await self._lease.take():
            return None
        if not self._is_due(await versions.checked(self._js), now):  # done by the one who had the lease before
            return None
        record = await self._compare(now)
        await versions.note_checked(self._js, record)
        self._metrics.price_updates.labels(outcome=record.outcome).inc()
        level = logging.INFO if record.outcome in (versions.ACCEPTED, versions.UNCHANGED) else logging.WARNING
        log.log(level, "prices compared with %s: %s. %s", record.source, record.outcome, record.text)
        return record

    def _is_due(self, last: Checked | None, now: datetime) -> bool:
        if last is None:
            return True
        return now - last.at >= (RETRY if last.outcome == versions.FAILED else DAILY)

    async def _compare(self, now: datetime) -> Checked:
        source = urls.masked(self._source)
        try:
            fetched = await sources.fetch(self._source, ca_file=self._ca_file)
            release = await asyncio.to_thread(genai_release.read, fetched.data)
            known = await versions.read(self._js)
            in_use = versions.current(known)
            found = await asyncio.to_thread(candidate.propose, release, in_use.catalog() if in_use else None)
        except (sources.SourceError, genai_release.UnreadableRelease) as error:
            return Checked(at=now, source=source, outcome=versions.FAILED, text=str(error)[:1000])
        if not found.differences:
            return Checked(at=now, source=fetched.origin, outcome=versions.UNCHANGED, fresh_at=now)
        if found.objections:
            text = "; ".join(objection.text for objection in found.objections)
            return Checked(at=now, source=fetched.origin, outcome=versions.REFUSED, text=text[:1000])
        number = max(known, default=0) + 1
        version = versions.create(found.catalog, number=number, by=f"logger {HOLDER}", source=fetched.origin, now=now)
        try:
            await versions.publish(self._js, version)
        except (versions.Conflict, ValueError) as error:
            text = str(error) or "someone else accepted prices at the same time"
            return Checked(at=now, source=fetched.origin, outcome=versions.FAILED, text=text)
        await _record(self._js, version, found.differences)
        return Checked(at=now, source=fetched.origin, outcome=versions.ACCEPTED, text=version.name, fresh_at=now)


async def _record(js: JetStreamContext, version: PriceVersion, changes: Sequence[object]) -> None:
    actor = audit.Actor(by=version.by, via=audit.LOGGER, address="")
    details = {"version": version.name, "source": version.source, "changes": str(len(changes))}
    if failure := await audit.write(js, actor.record("prices", "update", version.name, details=details)):
        log.warning("price version %s: %s", version.name, failure)
