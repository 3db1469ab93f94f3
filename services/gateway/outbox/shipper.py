"""Ships the outbox's frames to JetStream, each exactly once."""

import asyncio
import contextlib
import logging
import time
import zlib

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.segment import Segment
from shared.process import run_all

log = logging.getLogger(__name__)

RETRY_EVERY = 0.2  # seconds between two scans for messages to publish again
REFUSED_PAUSE = 0.25  # seconds before a refused message is published again; doubles with each refusal,
REFUSED_DOUBLINGS = 6  # at most this often: 16 seconds
DISK_PAUSE = 1.0  # seconds before a segment is tried again after a disk error


class _Ack(msgspec.Struct):
    """JetStream's reply to a publish."""

    error: msgspec.Raw = msgspec.Raw()
    duplicate: bool = False
    seq: int = 0


class _Flight(msgspec.Struct):
    """A published message without an ack."""

    segment: Segment
    end: int
    since: float  # monotonic time of its cut
    due: float  # monotonic time to publish it again
    refusals: int = 0  # in a row


_decode_ack = msgspec.json.Decoder(_Ack).decode


class Shipper:
    """Publisher with its own inbox and a window of in-flight messages.

    nats-py's own futures never resolve when the server refuses a message.
    """

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
        self._outbox = outbox
        self._subject = subject
        self._window = window
        self._message_bytes = message_bytes
        self._linger = linger
        self._ack_timeout = ack_timeout
        self._flights: dict[tuple[int, int], _Flight] = {}  # in the order of their cuts
        self._idle_since = 0.0  # monotonic time at which the last message in flight was acked
        self._window_open = asyncio.Event()
        self.messages = 0
        self.retries = 0
        self.refused = 0
        self.duplicates = 0
        self._inbox = ""

    async def run(self, nc: Client) -> None:
        """Ship until cancelled.

        Messages in flight on an older connection are published again, with the same id.
        """
        self._inbox = nc.new_inbox()
        subscription = await nc.subscribe(f"{self._inbox}.*", cb=self._on_ack)
        self._publish_again()
        try:
            await run_all(self._retry(nc), self._ship(nc))
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    def oldest_pending_seconds(self) -> float:
        """Age of the oldest event that NATS has not stored; 0.0 if all are stored."""
        if self._flights:
            return time.monotonic() - next(iter(self._flights.values())).since
        if self._outbox.pending_bytes:
            return time.monotonic() - max(self._outbox.pending_since, self._idle_since)
        return 0.0

    @property
    def in_flight(self) -> int:
        """Number of published messages without an ack."""
        return len(self._flights)

    async def flush(self, seconds: float) -> int:
        """Wait until all is acknowledged, at most `seconds`; returns the remaining bytes."""
        until = time.monotonic() + seconds
        while self._outbox.pending_bytes and time.monotonic() < until:  # noqa: ASYNC110 — only at a stop
            await asyncio.sleep(0.02)
        return self._outbox.pending_bytes

    async def _ship(self, nc: Client) -> None:
        while True:
            for segment in list(self._outbox.segments):
                while segment.sent < segment.end and await self._send(nc, segment):
                    pass
            self._outbox.wake.clear()
            if not any(segment.sent < segment.end for segment in self._outbox.segments):
                await self._outbox.wake.wait()
                await asyncio.sleep(self._linger)  # more events make a better message

    async def _send(self, nc: Client, segment: Segment) -> bool:
        """Publish the next message of a segment; False on a disk error, which affects no other segment."""
        while len(self._flights) >= self._window:
            self._window_open.clear()
            await self._window_open.wait()
        # Nothing is awaited between the cut and its flight: a cut without one would not be shipped before a restart.
        try:
            cut = segment.next_cut(self._message_bytes)
        except OSError as error:
            log.error("outbox: segment %d cannot be cut: %s", segment.number, error.strerror)
            await asyncio.sleep(DISK_PAUSE)
            return False
        if cut is None:
            return False
        now = time.monotonic()
        key = (segment.number, cut[0])
        self._flights[key] = flight = _Flight(segment, cut[1], now, now + self._ack_timeout)
        await self._publish(nc, key, flight)
        return True

    async def _publish(self, nc: Client, key: tuple[int, int], flight: _Flight) -> None:
        number, start = key
        self.messages += 1
        try:
            data = flight.segment.read(start, flight.end)
            # The checksum tells events apart that follow on an older copy of the outbox: a restored volume goes on with
            # numbers that were used before.
            message_id = f"{self._outbox.spool}-{number}-{start}-{flight.end}-{zlib.crc32(data):08x}"
            await nc.publish(
                self._subject, data, reply=f"{self._inbox}.{number}-{start}", headers={"Nats-Msg-Id": message_id}
            )
        except nats.errors.Error as error:
            log.debug("publish failed, will retry: %s", type(error).__name__)
        except OSError as error:
            log.error("outbox: segment %d cannot be read at %d: %s", number, start, error.strerror)

    async def _retry(self, nc: Client) -> None:
        reconnects = nc.stats["reconnects"]
        while True:
            await asyncio.sleep(RETRY_EVERY)
            now = time.monotonic()
            if nc.stats["reconnects"] != reconnects:  # acks in transit are lost: do not wait for them
                reconnects = nc.stats["reconnects"]
                self._publish_again()
            for key, flight in list(self._flights.items()):
                if flight.due <= now and nc.is_connected and key in self._flights:
                    flight.due = now + self._ack_timeout
                    self.retries += 1
                    await self._publish(nc, key, flight)

    def _publish_again(self) -> None:
        """Make all messages in flight due to be published again now."""
        for flight in self._flights.values():
            flight.due = 0.0
            flight.refusals = 0

    async def _on_ack(self, message: Msg) -> None:
        number, _, start = message.subject.rpartition(".")[2].partition("-")
        key = (int(number), int(start))
        flight = self._flights.get(key)
        if flight is None:
            return  # acked before: this is the ack of a repeat
        try:
            ack = _decode_ack(message.data)
        except msgspec.MsgspecError:  # no stream (status 503), or not a reply of JetStream
            ack = _Ack(error=msgspec.Raw(b"{}"))
        if ack.error:
            self._refuse(flight, bytes(ack.error))
            return
        self.duplicates += ack.duplicate
        del self._flights[key]
        if not self._flights:
            self._idle_since = time.monotonic()
        if flight.refusals:  # the server accepts messages again: retry the others now
            for other in self._flights.values():
                if other.refusals:
                    other.refusals = 0
                    other.due = 0.0
        self._outbox.acked(flight.segment, key[1], flight.end, sequence=ack.seq)
        self._window_open.set()

    def _refuse(self, flight: _Flight, reason: bytes) -> None:
        """Schedule a retry with backoff: the stream is full or does not exist yet."""
        flight.due = time.monotonic() + REFUSED_PAUSE * 2 ** min(flight.refusals, REFUSED_DOUBLINGS)
        flight.refusals += 1
        self.refused += 1
        if self.refused & (self.refused - 1) == 0:  # the 1st, 2nd, 4th, 8th …: no flood
            log.warning("JetStream refused %d messages so far: %s", self.refused, reason[:200].decode(errors="replace"))
