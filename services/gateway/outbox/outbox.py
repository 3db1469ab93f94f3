"""Outbox of a gateway: events on disk until NATS has stored them."""

import asyncio
import logging
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from services.gateway.outbox import event_counter, spool
from services.gateway.outbox.segment import Segment, numbers
from services.gateway.outbox.shares import Shares
from shared import events
from shared.events import GatewayBeat, Origin

log = logging.getLogger(__name__)

# Segment numbers are part of message ids, so none is ever reused: each epoch has its own, even if no file is left.
_EPOCH_BITS = 32
MAX_EVENT_BYTES = 7 << 20  # a larger one would be refused by NATS forever, and block those behind it
_MAX_RESERVE = 4 << 20  # bytes kept for the responses of open requests when the outbox is full for new ones


class Outbox:
    """A locked folder of segments, written by one process.

    Its Shipper ships it, in the same event loop.
    """

    def __init__(
        self, folder: Path, *, gateway: str, max_bytes: int, segment_bytes: int = 32 << 20, orphan: bool = False
    ) -> None:
        """Take the folder over; SpoolLocked if another process has it.

        `orphan`: only to ship what is there.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self.folder = folder
        self._gateway = gateway
        self._max_bytes = max_bytes
        # Several segments fit below the cap: only a whole one can be deleted, and not the current one.
        self._segment_bytes = min(segment_bytes, max_bytes // 8)
        self._rotate_at = self._segment_bytes
        self._reserve = min(_MAX_RESERVE, max_bytes // 8)
        self.segments: list[Segment] = []
        self.appended = 0
        self.dropped = 0
        self.last_sequence = 0
        self.epoch = 0
        self.torn_bytes = 0  # behind the last complete frames: torn by a crash, or corrupted on disk
        self.wake = asyncio.Event()  # set when an event was appended
        self._refused = False  # the last event was dropped for lack of room
        self._shares = Shares()
        # Last heartbeats of earlier starts, which may have been killed before they could send one.
        self.last_beats: list[GatewayBeat] = []
        self._counter: event_counter.Numbers = event_counter.unmapped()
        self._lock = spool.lock(folder)
        try:
            self.spool = spool.identity(folder)
            self._load()
            self.last_beats = self._read_last_beats()
            if not orphan:
                self.epoch = spool.next_epoch(folder)
                self._current = self._open_segment()
                self._counter = event_counter.create(folder / spool.COUNTER, epoch=self.epoch)
        except BaseException:
            self.close()
            raise
        self.pending_bytes = sum(segment.end - segment.acked for segment in self.segments)
        self._stream_sequence = 0  # the highest number of a message that NATS has stored
        self.pending_since = time.monotonic()  # when `pending_bytes` last rose from 0
        self._disk_bytes = sum(segment.end for segment in self.segments)

    @property
    def full(self) -> bool:
        """Whether the next event may be dropped: the disk is nearly full or failed."""
        return self._refused or self._disk_bytes + self._reserve > self._max_bytes

    def is_full_for(self, account: str) -> bool:
        """Whether the next event of this account may be dropped."""
        return self.full or self._shares.is_full(account)

    @property
    def is_full_for_some(self) -> bool:
        """Whether an account has used up its share."""
        return self._shares.any_full

    @property
    def disk_bytes(self) -> int:
        """Size of the segments on disk, which `max_bytes` limits.

        Acknowledged events of a segment count until it is deleted.
        """
        return self._disk_bytes

    def origin(self) -> Origin:
        """Number the next event."""
        self.last_sequence += 1
        self._counter[event_counter.SEQUENCE] = self.last_sequence
        return Origin(self.spool, self.epoch, self.last_sequence)

    def append(self, event: events.Event) -> bool:
        """Write one event; False if it had to be dropped, which is counted.

        Never raises on a disk error.
        """
        body = events.encode(event)
        header = events.frame(body)
        size = len(header) + len(body)
        if size > MAX_EVENT_BYTES:
            self._drop(event)
            return False
        free = self._max_bytes - self._disk_bytes
        segment = self._current
        if not self._shares.take(event, size, segment=segment.number, free=free, reserve=self._reserve // 2):
            self._drop(event)
            return False
        if size > free or not segment.write(header, body):
            self._shares.give_back(event, size, segment=segment.number)
            return self._append_elsewhere(event)
        if not self.pending_bytes:
            self.pending_since = time.monotonic()
        self.appended += 1
        self.pending_bytes += size
        self._disk_bytes += size
        self._refused = False
        if self._current.end >= self._rotate_at:
            self._rotate()
        if not self.wake.is_set():
            self.wake.set()
        return True

    def count_dropped(self, origin: Origin) -> None:
        """Count a number as dropped whose event cannot be written.

        Otherwise it would be reported as missing forever.
        """
        self._count_drop()

    def position(self) -> tuple[int, int]:
        """Return the position behind the newest event: segment and offset."""
        return self._current.number, self._current.end

    def stored(self, position: tuple[int, int]) -> int:
        """Return a stream sequence number that all events before a position are below.

        0 if NATS has not stored all of them.
        """
        number, end = position
        for segment in self.segments:
            if segment.number > number:
                break
            if segment.acked < (end if segment.number == number else segment.end):
                return 0
        return self._stream_sequence

    def acked(self, segment: Segment, start: int, end: int, *, sequence: int = 0) -> None:
        """Record that NATS has stored a message; delete a fully stored segment.

        `sequence`: its number in the stream. Never raises on a disk error.
        """
        highest = self._stream_sequence
        if sequence > highest or 0 < sequence < highest // 2:  # acks overtake one another; a new stream begins anew
            self._stream_sequence = sequence
        before = segment.acked
        try:
            segment.ack(start, end)
        except OSError as error:  # after a restart it is published again under the same id
            log.error("outbox: an ack could not be written: %s", error.strerror)
        self.pending_bytes -= segment.acked - before
        if segment.acked == segment.end:
            self._free(segment)

    def beat(self, *, closing: bool = False) -> GatewayBeat:
        """Build a heartbeat with the last sequence number."""
        at = datetime.now(UTC)
        self._counter[event_counter.BEAT_AT] = int(at.timestamp() * 1e6)
        return GatewayBeat(
            spool=self.spool,
            epoch=self.epoch,
            gateway=self._gateway,
            at=at,
            sequence=self.last_sequence,
            dropped=self.dropped,
            closing=closing,
            pending_bytes=self.pending_bytes,
        )

    def append_last_beats(self) -> None:
        """Append the last heartbeats of earlier starts, as far as there is room."""
        while self.last_beats and self.append(self.last_beats[0]):
            self.last_beats.pop(0)

    def close(self) -> None:
        """Release the folder; what is not acknowledged is shipped at the next start.

        Later events are dropped.
        """
        if self._lock < 0:
            return
        self._counter[event_counter.CLOSED] = 1
        self._counter = event_counter.unmapped()  # the file belongs to the next owner now
        self._max_bytes = -1  # drops all later events: a closed file descriptor may be another file's by now
        for segment in self.segments:
            segment.close()
        os.close(self._lock)
        self._lock = -1

    def remove(self) -> None:
        """Delete an orphan's folder once all of it is shipped.

        The lock file goes last, so that nobody else uses the folder before.
        """
        if self.pending_bytes:
            return
        for path in self.folder.iterdir():
            if path.name != spool.LOCK:
                path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)  # fails if a new gateway has just taken the folder over

    def _load(self) -> None:
        """Open the segments of earlier starts up to their last complete frame; delete acknowledged ones."""
        for number in numbers(self.folder):
            segment = Segment(self.folder, number)
            if segment.torn:
                self.torn_bytes += segment.torn
                log.warning("outbox %s: %d bytes of segment %d are torn", self.folder.name, segment.torn, number)
            if segment.acked == segment.end:
                segment.delete()
            else:
                self.segments.append(segment)

    def _read_last_beats(self) -> list[GatewayBeat]:
        """A last heartbeat for each earlier start: `closing` if its count is exact, so that its end is known."""
        return [
            GatewayBeat(
                spool=self.spool,
                epoch=count.epoch,
                gateway=self._gateway,
                at=count.ended_at,
                sequence=count.sequence,
                dropped=count.dropped,
                closing=count.exact,
                pending_bytes=0,
            )
            for count in event_counter.read(self.folder / spool.COUNTER, last_epoch=spool.last_epoch(self.folder))
        ]

    def _open_segment(self) -> Segment:
        """Open a new segment: an old one, whose end may be torn, is never appended to."""
        newest = self.segments[-1].number if self.segments else 0
        segment = Segment(self.folder, max(newest, self.epoch << _EPOCH_BITS) + 1)
        self.segments.append(segment)
        return segment

    def _rotate(self) -> bool:
        """Switch to a new segment; False if the disk refuses one: the old one is then extended."""
        try:
            self._current = self._open_segment()
        except OSError as error:
            log.error("outbox: cannot create a segment: %s", error.strerror)
            self._rotate_at = self._current.end + self._segment_bytes
            return False
        self._rotate_at = self._segment_bytes
        return True

    def _free(self, segment: Segment) -> None:
        """Delete an acknowledged segment.

        The one in use only if it is large enough to be worth a new file, or the disk is full.
        """
        if self.epoch and segment is self._current:  # an orphan has no current one
            if not segment.end or (segment.end < self._segment_bytes // 8 and not self._refused):
                return
            if self._refused:
                segment.give_back()  # a new file needs room
            if not self._rotate():
                return
        self._disk_bytes -= segment.end
        self._shares.free(segment.number)
        self._refused = False
        self.segments.remove(segment)
        try:
            segment.delete()
        except OSError as error:  # the next start tries again
            log.error("outbox: segment %d cannot be deleted: %s", segment.number, error.strerror)

    def _append_elsewhere(self, event: events.Event) -> bool:
        """Append an event for which there is no room to a new segment, if all of the full one is acknowledged.

        False if it had to be dropped.
        """
        self._refused = True
        full = self._current
        if not full.closed and full.acked == full.end:
            self._free(full)
        if self._current is not full:
            return self.append(event)
        self._drop(event)
        return False

    def _drop(self, event: events.Event) -> None:
        if not isinstance(event, GatewayBeat) and event.origin.sequence:  # heartbeats and imports have no number
            self._count_drop()

    def _count_drop(self) -> None:
        self.dropped += 1
        self._counter[event_counter.DROPPED] = self.dropped
        if self.dropped & (self.dropped - 1) == 0:  # the 1st, 2nd, 4th, 8th …: no flood
            log.error("outbox, or an account's share of it, full or disk failing: %d events dropped", self.dropped)
