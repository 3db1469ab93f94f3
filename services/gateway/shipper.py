"""Frames in the outbox go in, messages stored by JetStream come out, each exactly once."""

import asyncio
import contextlib
import logging
import time

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.gateway.outbox import Outbox
from services.gateway.segment import Segment

log = logging.getLogger(__name__)

RETRY_EVERY = 0.2  # seconds between two looks for messages that are due again
REFUSED_PAUSE = 1.0  # seconds before a message that the server refused is tried again


class _Ack(msgspec.Struct):
    """What JetStream answers a publish."""

    error: msgspec.Raw = msgspec.Raw()
    duplicate: bool = False


class _Flight(msgspec.Struct):
    """A message that is published and not yet acked."""

    segment: Segment
    end: int
    due: float  # monotonic time to publish it again


_decode_ack = msgspec.json.Decoder(_Ack).decode


class Shipper:
    """Publishes with its own inbox and a window: nats-py's own futures never resolve when the server refuses."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        subject: str,
        window: int = 32,
        message_bytes: int = 256 << 10,
        linger: float = 0.02,
        ack_timeout: float = 5.0,
    ) -> None:
        self._outbox, self._subject, self._window, self._message_bytes = outbox, subject, window, message_bytes
        self._linger, self._ack_timeout = linger, ack_timeout
        self._flights: dict[tuple[int, int], _Flight] = {}
        self._space = asyncio.Event()
        self.messages = self.retries = self.refused = self.duplicates = 0
        self._inbox = ""

    async def run(self, nc: Client) -> None:
        """Ship until cancelled. Whatever was in flight on an older connection is published again, with the same id."""
        self._inbox = nc.new_inbox()
        subscription = await nc.subscribe(f"{self._inbox}.*", cb=self._on_ack)
        for flight in self._flights.values():
            flight.due = 0.0
        retrying = asyncio.create_task(self._retry(nc))
        try:
            while True:
                for segment in list(self._outbox.segments):
                    while (cut := segment.next_cut(self._message_bytes)) is not None:
                        await self._send(nc, segment, *cut)
                self._outbox.wake.clear()
                if not any(segment.sent < segment.end for segment in self._outbox.segments):
                    await self._outbox.wake.wait()
                    await asyncio.sleep(self._linger)  # more events make a better message
        finally:
            retrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await retrying
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def flush(self, seconds: float) -> int:
        """Wait until all is acked, at most `seconds`; the bytes that are not."""
        until = time.monotonic() + seconds
        while self._outbox.pending_bytes and time.monotonic() < until:  # noqa: ASYNC110 — only at a stop
            await asyncio.sleep(0.02)
        return self._outbox.pending_bytes

    async def _send(self, nc: Client, segment: Segment, start: int, end: int) -> None:
        while len(self._flights) >= self._window:
            self._space.clear()
            await self._space.wait()
        key = (segment.number, start)
        self._flights[key] = flight = _Flight(segment, end, time.monotonic() + self._ack_timeout)
        await self._publish(nc, key, flight)

    async def _publish(self, nc: Client, key: tuple[int, int], flight: _Flight) -> None:
        number, start = key
        data = flight.segment.read(start, flight.end)
        self.messages += 1
        try:
            await nc.publish(
                self._subject,
                data,
                reply=f"{self._inbox}.{number}-{start}",
                headers={"Nats-Msg-Id": f"{self._outbox.spool}-{number}-{start}"},
            )
        except nats.errors.Error as error:
            log.debug("not published, again soon: %s", type(error).__name__)

    async def _retry(self, nc: Client) -> None:
        while True:
            await asyncio.sleep(RETRY_EVERY)
            now = time.monotonic()
            for key, flight in list(self._flights.items()):
                if flight.due <= now and nc.is_connected and key in self._flights:
                    flight.due = now + self._ack_timeout
                    self.retries += 1
                    await self._publish(nc, key, flight)

    async def _on_ack(self, message: Msg) -> None:
        number, _, start = message.subject.rpartition(".")[2].partition("-")
        key = (int(number), int(start))
        flight = self._flights.get(key)
        if flight is None:
            return  # acked already: this answers a repeat
        try:
            ack = _decode_ack(message.data)
        except msgspec.MsgspecError:  # no stream listens (status 503), or not JetStream's words
            ack = _Ack(error=msgspec.Raw(b"{}"))
        if ack.error:
            self.refused += 1
            flight.due = time.monotonic() + REFUSED_PAUSE
            if self.refused & (self.refused - 1) == 0:
                log.warning("JetStream refused %d messages so far: %s", self.refused, bytes(ack.error)[:200].decode())
            return
        self.duplicates += ack.duplicate
        del self._flights[key]
        self._outbox.acked(flight.segment, key[1], flight.end)
        self._space.set()
