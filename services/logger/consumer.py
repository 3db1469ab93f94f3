"""Event consumer: pull, decode, price, insert, and only then acknowledge."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.logger import dead_letters, insert, rows
from services.logger.decode import BAD_ROW, BadEvent, unpack
from services.logger.metrics import Metrics
from services.logger.prices.current import CurrentPrices
from services.logger.pull_consumer import ACK, NAK, WORKING, PullConsumer, ack
from services.logger.rows import Row
from services.logger.telemetry.stored_request import StoredRequest
from shared import clickhouse, retry
from shared import events as event_types
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)

# Backoff of a failed insert, in seconds.
RETRY_FIRST = 0.25
RETRY_MOST = 5.0

YIELD_EVERY = 200  # events after which the event loop gets a turn


class Batch(msgspec.Struct):
    """Messages not yet acknowledged, with the rows and bad events in them."""

    messages: list[Msg] = []
    rows: list[Row] = []
    finished: list[StoredRequest] = []  # those of the rows that are exported once they are stored
    bad_events: list[tuple[Msg, BadEvent]] = []


class Consumer:
    """Stores events from the shared JetStream consumer, in any number of replicas."""

    def __init__(
        self,
        nc: Client,
        client: AsyncClient,
        *,
        metrics: Metrics,
        prices: CurrentPrices,
        batch_events: int = 5000,
        linger: float = 0.5,
        redeliver_after: float = 60.0,
        estimate: bool = True,
        on_stored: Callable[[Collection[str]], None] = lambda accounts: None,
        export: Callable[[Iterable[StoredRequest]], None] | None = None,
    ) -> None:
        """`on_stored` is called with the accounts of rows that were inserted, `export` with finished requests.

        Neither may fail or wait.
        """
        self._nc = nc
        self._client = client
        self._metrics = metrics
        self._prices = prices
        self._batch_events = batch_events
        self._linger = linger
        self._estimate = estimate
        self._on_stored = on_stored
        self._export = export
        self._working_every = redeliver_after / 3
        self._puller = PullConsumer(nc, stream=event_types.EVENTS_STREAM, durable=event_types.LOGGER_CONSUMER)
        self._batch = Batch()
        self._halt = dead_letters.Halt()
        self._stopped = asyncio.Event()
        self._stopped.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Store batch after batch until `stop`, then finish the current batch."""
        self._stopped.clear()
        try:
            await self._puller.start()
            while not stop.is_set():
                self._batch = await self._collect(stop)
                if self._batch.messages:
                    await self._finish(self._batch)
                    if self.halted:
                        await self._stay_halted(stop)
                        return
                    self._batch = Batch()
        finally:
            await self._give_back()
            self._stopped.set()

    async def wait_until_stopped(self, limit: float) -> bool:
        """Wait until `run` returns; False, and a log line, after `limit` seconds."""
        try:
            await asyncio.wait_for(self._stopped.wait(), limit)
        except TimeoutError:
            log.warning("stopped with %d messages not stored; they will be redelivered", len(self._batch.messages))
            return False
        return True

    def reconnected(self) -> None:
        """Forget the pull in flight after a NATS reconnect: its messages will not arrive."""
        self._puller.forget()

    async def _give_back(self) -> None:
        for message in self._batch.messages:
            await ack(self._nc, message, NAK)
        self._batch = Batch()
        with contextlib.suppress(Exception):  # if NATS is unreachable, the messages are redelivered after the ack wait
            await self._puller.stop()
            await self._nc.flush(timeout=2)

    async def _collect(self, stop: asyncio.Event) -> Batch:
        batch = Batch()
        until = time.monotonic() + 1.0
        while len(batch.rows) < self._batch_events and not stop.is_set():
            message = await self._puller.take(until - time.monotonic())
            if message is None:
                break
            if not batch.messages:
                until = time.monotonic() + self._linger
            await self._add(batch, message)
        return batch

    async def _add(self, batch: Batch, message: Msg) -> None:
        batch.messages.append(message)
        events, bad_events = unpack(message.data)
        table = self._prices.at(message.metadata.timestamp)
        batch.bad_events += [(message, bad_event) for bad_event in bad_events]
        for number, event in enumerate(events, 1):
            try:
                row = rows.row(event, table, estimate=self._estimate)
                batch.rows.append(row)
                if self._export and isinstance(event, event_types.ResponseEvent) and isinstance(row, rows.ResponseRow):
                    batch.finished.append(StoredRequest(row, event.traceparent, event.server))
            except Exception as error:
                log.exception("cannot convert an event to a row")
                batch.bad_events.append((message, BadEvent(BAD_ROW, str(error), event_types.encode(event))))
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        self._metrics.events.inc(len(events))

    @property
    def halted(self) -> bool:
        """Whether it has stopped storing because most events could not be read."""
        return bool(self._halt)

    async def _stay_halted(self, stop: asyncio.Event) -> None:
        """Return the batch to the stream, so that another release can store it, and wait for `stop`."""
        log.error("halted: most events cannot be read, so the events are not at fault; they stay in the event stream")
        self._metrics.halted.set(1)
        await self._give_back()
        await stop.wait()

    async def _finish(self, batch: Batch) -> None:
        async with self._in_progress(batch):
            refused = await self._insert(batch.rows)
            bad = len(batch.bad_events) + len(refused)
            self._halt.count(good=len(batch.rows) - len(refused), bad=bad)
            if self.halted:
                return
            for message, bad_event in batch.bad_events:
                await self._set_aside(bad_event, sequence=message.metadata.sequence.stream)
            for row, detail in refused:
                await self._set_aside(BadEvent(BAD_ROW, detail, msgspec.json.encode(row)), sequence=None)
        if self._export:
            refused_ids = {id(refusal.row) for refusal in refused}
            self._export(request for request in batch.finished if id(request.row) not in refused_ids)
        await self._acknowledge(batch)

    async def _set_aside(self, bad_event: BadEvent, *, sequence: int | None) -> None:
        await dead_letters.set_aside(self._nc, bad_event, sequence=sequence, blocked=self._metrics.halted)
        self._metrics.dead_letters.labels(reason=bad_event.reason).inc()

    async def _acknowledge(self, batch: Batch) -> None:
        for message in batch.messages:
            await ack(self._nc, message, ACK)

    async def _insert(self, batch: list[Row]) -> list[insert.Refused]:
        async def attempt() -> list[insert.Refused]:
            began = time.monotonic()
            refused = await insert.insert(self._client, batch)
            self._metrics.insert_seconds.observe(time.monotonic() - began)
            return refused

        def failed(error: BaseException, _failures: int, pause: float) -> None:
            log.warning("%d rows not inserted, retrying in %.1f s: %s", len(batch), pause, _brief(error))
            self._metrics.insert_failures.inc()

        refused = await retry.until_done(
            attempt, on=clickhouse.Failed, first=RETRY_FIRST, most=RETRY_MOST, failed=failed
        )
        self._metrics.rows.inc(len(batch) - len(refused))
        refused_ids = {id(refusal.row) for refusal in refused}
        self._metrics.costs.add(row for row in batch if id(row) not in refused_ids)
        self._on_stored({row.account for row in batch if isinstance(row, rows.ResponseRow)})
        return refused

    @contextlib.asynccontextmanager
    async def _in_progress(self, batch: Batch) -> AsyncIterator[None]:
        """Extend the ack wait of all pulled messages while the block runs, so none is redelivered."""

        async def extend() -> None:
            while True:
                await asyncio.sleep(self._working_every)
                for message in [*batch.messages, *self._puller.waiting()]:
                    await ack(self._nc, message, WORKING)

        extending = asyncio.create_task(extend())
        try:
            yield
        finally:
            await cancel_and_wait(extending)


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__} {str(error)[:200]}".strip()
