"""Events in, files on disk: what a gateway has said survives its death, until NATS has stored it."""

import asyncio
import fcntl
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from services.gateway.segment import Segment, numbers
from shared import contract
from shared.contract import GatewayBeat, Origin

log = logging.getLogger(__name__)

LOCK, IDENTITY, EPOCH = "lock", "id", "epoch"
# Segment numbers are part of message ids, so none is used twice: each start has its own, even when no file is left.
_EPOCH_BITS = 20


class SpoolLocked(OSError):
    """Another process owns the folder."""


class Outbox:
    """A locked folder of segments. Written by one process, shipped by its Shipper, both in one event loop."""

    def __init__(
        self, folder: Path, *, gateway: str, max_bytes: int, segment_bytes: int = 32 << 20, orphan: bool = False
    ) -> None:
        """Take the folder over. `orphan`: only to ship what is there; SpoolLocked when somebody else has it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self.folder, self._gateway, self._max_bytes, self._segment_bytes = folder, gateway, max_bytes, segment_bytes
        self._lock = _lock(folder / LOCK)
        self.spool = _identity(folder / IDENTITY)
        self.segments = [Segment(folder, number) for number in numbers(folder)]
        for segment in list(self.segments):
            if segment.acked == segment.end:
                self.segments.remove(segment)
                segment.delete()
            elif segment.torn:
                log.warning("outbox %s: segment %d ends in %d torn bytes", folder.name, segment.number, segment.torn)
        self.appended = self.dropped = self.last_sequence = 0
        self.pending_bytes = sum(segment.end - segment.acked for segment in self.segments)
        self._disk_bytes = sum(segment.end for segment in self.segments)
        self.wake = asyncio.Event()
        self.epoch = 0
        if not orphan:
            self.epoch = _next_epoch(folder / EPOCH)
            self._current = self._open_segment()

    @property
    def full(self) -> bool:
        """The next event would be dropped."""
        return self._disk_bytes >= self._max_bytes

    def origin(self) -> Origin:
        """The next number: of an event that is about to be appended."""
        self.last_sequence += 1
        return Origin(self.spool, self.epoch, self.last_sequence)

    def append(self, event: contract.Event) -> bool:
        """Write one event. False when it had to be dropped, which is counted; never raises for the disk's sake."""
        body = contract.encode(event)
        header = contract.frame(body)
        size = len(header) + len(body)
        if self._disk_bytes + size > self._max_bytes or not self._current.write(header, body):
            self._drop(event)
            return False
        self.appended += 1
        self.pending_bytes += size
        self._disk_bytes += size
        if self._current.end >= self._segment_bytes:
            self._current = self._open_segment()
        if not self.wake.is_set():
            self.wake.set()
        return True

    def acked(self, segment: Segment, start: int, end: int) -> None:
        """NATS has stored a message: free what is acked to its end."""
        self.pending_bytes -= segment.ack(start, end)
        if segment.acked < segment.end:
            return
        if self.epoch and segment is self._current:
            if segment.end < self._segment_bytes // 8:
                return  # too small to be worth a new file
            self._current = self._open_segment()
        self._disk_bytes -= segment.end
        self.segments.remove(segment)
        segment.delete()

    def beat(self, *, closing: bool = False) -> GatewayBeat:
        """How far this instance has numbered."""
        return GatewayBeat(
            spool=self.spool,
            epoch=self.epoch,
            gateway=self._gateway,
            at=datetime.now(UTC),
            sequence=self.last_sequence,
            dropped=self.dropped,
            closing=closing,
            pending_bytes=self.pending_bytes,
        )

    def close(self) -> None:
        """Give the folder back; what is not acked is shipped at the next start."""
        for segment in self.segments:
            segment.close()
        os.close(self._lock)

    def remove(self) -> None:
        """Delete an orphan's folder once all of it is shipped."""
        if not self.pending_bytes:
            shutil.rmtree(self.folder)

    def _open_segment(self) -> Segment:
        """A new segment: an old one, whose end may be torn, is never appended to."""
        newest = self.segments[-1].number if self.segments else 0
        segment = Segment(self.folder, max(newest, self.epoch << _EPOCH_BITS) + 1)
        self.segments.append(segment)
        return segment

    def _drop(self, event: contract.Event) -> None:
        if not isinstance(event, GatewayBeat):  # beats bear no number
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8 …: loud, but no flood
                log.error("outbox full or broken: %d events dropped so far", self.dropped)


def adopt(root: Path, *, own: int, workers: int) -> Iterator[Outbox]:
    """Spools of gateways that are not started any more (their number is beyond the workers') and that nobody locks."""
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if not folder.name.isdigit() or int(folder.name) < workers or int(folder.name) == own:
            continue
        try:
            yield Outbox(folder, gateway="", max_bytes=0, orphan=True)
        except SpoolLocked:
            continue


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise SpoolLocked(f"{path.parent} belongs to another gateway process") from None
    return fd


def _identity(path: Path) -> str:
    if not path.exists():
        _write_durably(path, uuid.uuid4().hex[:12])
    return path.read_text().strip()


def _next_epoch(path: Path) -> int:
    """One more than the last start's, on disk before it is used."""
    epoch = int(path.read_text()) + 1 if path.exists() else 1
    _write_durably(path, str(epoch))
    return epoch


def _write_durably(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    fd = os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    scratch.replace(path)
