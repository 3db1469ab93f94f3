"""Outbox of a gateway: events on disk until NATS has stored them."""

import asyncio
import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from services.gateway.outbox import event_counter
from services.gateway.outbox.segment import Segment, numbers
from services.gateway.outbox.shares import Shares
from shared import events
from shared.events import GatewayBeat, Origin

log = logging.getLogger(__name__)

LOCK, IDENTITY, EPOCH, COUNTER = "lock", "id", "epoch", "counter"
# Segment numbers are part of message ids, so none is used twice: each start has its own, even when no file is left.
_EPOCH_BITS = 32
LARGEST_EVENT = 7 << 20  # bytes: what the server would never take must not stand in the way of what it takes
_LARGEST_RESERVE = 4 << 20  # bytes kept for the answers of requests that are open when the outbox counts as full


class SpoolLocked(OSError):
    """Another process owns the folder."""


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
        self.folder, self._gateway, self._max_bytes = folder, gateway, max_bytes
        # Several segments fit below the cap: only a whole one can be freed, and only one that is not written to.
        self._segment_bytes = self._rotate_at = min(segment_bytes, max_bytes // 8)
        self._reserve = min(_LARGEST_RESERVE, max_bytes // 8)
        self.segments: list[Segment] = []
        self.appended = self.dropped = self.last_sequence = self.epoch = 0
        self.torn_bytes = 0  # found behind the last whole frames: what a crash cut off, or the disk changed
        self.wake = asyncio.Event()
        self._refused = False  # the last event found no room
        self._shares = Shares()
        # Last beats of earlier starts, which may have been killed before they could say how far they had numbered.
        self.unsaid: list[GatewayBeat] = []
        self._counter: event_counter.Numbers = event_counter.unmapped()
        self._lock = _lock(folder / LOCK)
        try:
            self.spool = _identity(folder / IDENTITY)
            self._load()
            self.unsaid = self._last_beats()
            if not orphan:
                self.epoch = _next_epoch(folder / EPOCH)
                self._current = self._open_segment()
                self._counter = event_counter.create(folder / COUNTER, epoch=self.epoch)
        except BaseException:
            self.close()
            raise
        self.pending_bytes = sum(segment.end - segment.acked for segment in self.segments)
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
        if size > LARGEST_EVENT:
            self._drop(event)
            return False
        free = self._max_bytes - self._disk_bytes
        segment = self._current
        if not self._shares.take(event, size, segment=segment.number, free=free, reserve=self._reserve // 2):
            self._drop(event)
            return False
        if size > free or not segment.write(header, body):
            self._shares.give_back(event, size, segment=segment.number)
            self._refuse(event)
            return False
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

    def forgo(self, origin: Origin) -> None:
        """Count a number as dropped whose event cannot be written.

        Otherwise it would be reported as missing forever.
        """
        self._count_drop()

    def acked(self, segment: Segment, start: int, end: int) -> None:
        """Record that NATS has stored a message; delete a fully stored segment.

        Never raises on a disk error.
        """
        before = segment.acked
        try:
            segment.ack(start, end)
        except OSError as error:  # forgotten at a restart, when it is published again under the same id
            log.error("outbox: what is acked could not be noted: %s", error.strerror)
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

    def say_unsaid(self) -> None:
        """Append the last beats of earlier starts, as far as there is room."""
        while self.unsaid and self.append(self.unsaid[0]):
            self.unsaid.pop(0)

    def close(self) -> None:
        """Release the folder; what is not acknowledged is shipped at the next start.

        Later events are dropped.
        """
        if self._lock < 0:
            return
        self._counter[event_counter.CLOSED] = 1
        self._counter = event_counter.unmapped()  # the file is the next owner's
        self._max_bytes = -1  # a closed file's number may be another file's by now: nothing is written to it
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
            if path.name != LOCK:
                path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)  # unless a new gateway has just moved in

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

    def _last_beats(self) -> list[GatewayBeat]:
        """A last heartbeat for each earlier start: `closing` if its count is exact, so that its end is known."""
        return [
            GatewayBeat(
                spool=self.spool,
                epoch=count.epoch,
                gateway=self._gateway,
                at=count.heard_at,
                sequence=count.sequence,
                dropped=count.dropped,
                closing=count.proven,
                pending_bytes=0,
            )
            for count in event_counter.read(self.folder / COUNTER, last_epoch=_last_epoch(self.folder / EPOCH))
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
            log.error("outbox: no new segment: %s", error.strerror)
            self._rotate_at = self._current.end + self._segment_bytes
            return False
        self._rotate_at = self._segment_bytes
        return True

    def _free(self, segment: Segment) -> None:
        """Delete an acknowledged segment; the current one only if it is large enough to be worth a new file."""
        current = bool(self.epoch) and segment is self._current  # an orphan has no current one
        if current and (segment.end < self._segment_bytes // 8 or not self._rotate()):
            return
        self._disk_bytes -= segment.end
        self._shares.free(segment.number)
        self._refused = False
        self.segments.remove(segment)
        try:
            segment.delete()
        except OSError as error:  # the next start finds it acked and tries again
            log.error("outbox: segment %d stays on the disk: %s", segment.number, error.strerror)

    def _refuse(self, event: events.Event) -> None:
        """Drop an event for lack of room, and free a segment whose deletion failed earlier."""
        self._refused = True
        self._drop(event)
        if not self._current.closed and self._current.acked == self._current.end:
            self._free(self._current)

    def _drop(self, event: events.Event) -> None:
        if not isinstance(event, GatewayBeat):  # beats bear no number
            self._count_drop()

    def _count_drop(self) -> None:
        self.dropped += 1
        self._counter[event_counter.DROPPED] = self.dropped
        if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8 …: loud, but no flood
            log.error("outbox or an account's share of it full, or disk broken: %d events dropped so far", self.dropped)


def adopt(root: Path, *, own: int, workers: int) -> Iterator[Outbox]:
    """Spools of gateways that are not started any more (their number is beyond the workers') and that nobody locks."""
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if not folder.name.isdigit() or int(folder.name) < workers or int(folder.name) == own:
            continue
        try:
            orphan = Outbox(folder, gateway="", max_bytes=0, orphan=True)
        except SpoolLocked:
            continue
        except (OSError, ValueError) as error:  # one that cannot be read keeps no other from being shipped
            log.error("outbox: the orphan spool %s cannot be opened: %s", folder, error)
            continue
        yield orphan


def _lock(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise SpoolLocked(f"{path.parent} belongs to another gateway process") from None
        except OSError:
            os.close(fd)
            raise
        os.close(fd)  # its owner has just removed it: what is locked is no longer the folder's


def _identity(path: Path) -> str:
    if not path.exists():
        _write_durably(path, uuid.uuid4().hex[:12])
    return path.read_text().strip()


def _next_epoch(path: Path) -> int:
    """One more than the last start's, on disk before it is used."""
    epoch = _last_epoch(path) + 1
    _write_durably(path, str(epoch))
    return epoch


def _last_epoch(path: Path) -> int:
    return int(path.read_text()) if path.exists() else 0


def _write_durably(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    fd = os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    scratch.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # without it the new name itself may be lost with the power
    finally:
        os.close(directory)
