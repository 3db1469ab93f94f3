"""The event stream goes in, rows stand in ClickHouse: pull, decode, price, insert, and only then acknowledge."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.logger import dead_letters, insert, rows
from services.logger.decode import BAD_ROW, BadEvent, unpack
from services.logger.metrics import Metrics
from services.logger.price_file import PriceFile
from services.logger.pull_consumer import ACK, NAK, WORKING, PullConsumer, ack
from shared import clickhouse, retry
from shared import events as event_types
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 0.25, 5.0  # seconds before the same insert is tried again
BREATHE = 200  # events between two turns of the event loop


class Batch(msgspec.Struct):
    """Messages in hand, with the rows and the poison found in them."""

    messages: list[Msg] = []
    found: list[rows.Row] = []
    poison: list[tuple[Msg, BadEvent]] = []


class Consumer:
    """One replica's share of the line. Any number may run on the same consumer."""

    def __init__(
        self,
        nc: Client,
        client: AsyncClient,
        *,
        metrics: Metrics,
        prices: PriceFile,
        batch_events: int = 5000,
        linger: float = 0.5,
        redeliver_after: float = 60.0,
        estimate: bool = True,
    ) -> None:
        self._nc, self._client, self._metrics, self._prices = nc, client, metrics, prices
        self._batch_events, self._linger, self._estimate = batch_events, linger, estimate
        self._working_every = redeliver_after / 3
        self._puller = PullConsumer(nc, stream=event_types.EVENTS_STREAM, durable=event_types.LOGGER_CONSUMER)
        self._batch = Batch()
        self._halt = dead_letters.Halt()
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Batch after batch until `stop`; the batch in hand then is still finished."""
        self._ended.clear()
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
            self._ended.set()

    async def ended(self, limit: float) -> bool:
        """Wait until `run` came to its end; False, and a word about what is cut, after `limit` seconds."""
        try:
            await asyncio.wait_for(self._ended.wait(), limit)
        except TimeoutError:
            log.warning("stopped with %d messages not stored: they will be delivered again", len(self._batch.messages))
            return False
        return True

    def reconnected(self) -> None:
        """The NATS connection is new: whatever was pulled for on the old one will not come."""
        self._puller.forget()

    async def _give_back(self) -> None:
        for message in self._batch.messages:
            await ack(self._nc, message, NAK)
        self._batch = Batch()
        with contextlib.suppress(Exception):  # the server may be away: then the ack wait does the same, later
            await self._puller.stop()
            await self._nc.flush(timeout=2)

    async def _collect(self, stop: asyncio.Event) -> Batch:
        batch, until = Batch(), time.monotonic() + 1.0
        while len(batch.found) < self._batch_events and not stop.is_set():
            message = await self._puller.take(until - time.monotonic())
            if message is None:
                break
            if not batch.messages:
                until = time.monotonic() + self._linger
            await self._add(batch, message)
        return batch

    async def _add(self, batch: Batch, message: Msg) -> None:
        batch.messages.append(message)
        events, poison = unpack(message.data)
        batch.poison += [(message, piece) for piece in poison]
        for number, event in enumerate(events, 1):
            try:
                batch.found.append(rows.row(event, self._prices.table, estimate=self._estimate))
            except Exception as error:
                log.exception("an event cannot become a row")
                batch.poison.append((message, BadEvent(BAD_ROW, str(error), event_types.encode(event))))
            if number % BREATHE == 0:
                await asyncio.sleep(0)
        self._metrics.events.inc(len(events))

    @property
    def halted(self) -> bool:
        """Whether it stores nothing more, because most of what came could not be read."""
        return bool(self._halt)

    async def _stay_halted(self, stop: asyncio.Event) -> None:
        """Give back what is in hand, so that another release can store it, and wait for the end."""
        log.error("halted: most events cannot be read, so the fault is not in them; they stay in the event stream")
        self._metrics.halted.set(1)
        await self._give_back()
        await stop.wait()

    async def _finish(self, batch: Batch) -> None:
        async with self._in_progress(batch):
            refused = await self._insert(batch.found)
            bad = len(batch.poison) + len(refused)
            self._halt.count(good=len(batch.found) - len(refused), bad=bad)
            if self.halted:
                return
            for message, piece in batch.poison:
                await self._set_aside(piece, sequence=message.metadata.sequence.stream)
            for row, detail in refused:
                await self._set_aside(BadEvent(BAD_ROW, detail, msgspec.json.encode(row)), sequence=None)
        await self._acknowledge(batch)

    async def _set_aside(self, piece: BadEvent, *, sequence: int | None) -> None:
        await dead_letters.set_aside(self._nc, piece, sequence=sequence, blocked=self._metrics.halted)
        self._metrics.dead_letters.labels(reason=piece.reason).inc()

    async def _acknowledge(self, batch: Batch) -> None:
        for message in batch.messages:
            await ack(self._nc, message, ACK)

    async def _insert(self, batch: list[rows.Row]) -> list[insert.Refused]:
        async def attempt() -> list[insert.Refused]:
            began = time.monotonic()
            refused = await insert.insert(self._client, batch)
            self._metrics.insert_seconds.observe(time.monotonic() - began)
            return refused

        def failed(error: BaseException, _failures: int, pause: float) -> None:
            log.warning("%d rows not inserted, again in %.1f s: %s", len(batch), pause, _brief(error))
            self._metrics.insert_failures.inc()

        refused = await retry.until_done(
            attempt, on=clickhouse.Failed, first=RETRY_FIRST, most=RETRY_MOST, failed=failed
        )
        self._metrics.rows.inc(len(batch) - len(refused))
        rejected = {id(one.row) for one in refused}
        self._metrics.takings.add(row for row in batch if id(row) not in rejected)
        return refused

    @contextlib.asynccontextmanager
    async def _in_progress(self, batch: Batch) -> AsyncIterator[None]:
        """Keep the consumer from delivering again what is in hand, for as long as the block takes."""

        async def remind() -> None:
            while True:
                await asyncio.sleep(self._working_every)
                for message in [*batch.messages, *self._puller.waiting()]:
                    await ack(self._nc, message, WORKING)

        reminding = asyncio.create_task(remind())
        try:
            yield
        finally:
            await cancel_and_wait(reminding)


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__} {str(error)[:200]}".strip()
