"""Segment of an outbox on disk: frames (.log), message cuts (.idx), acks (.ack)."""

import logging
import os
import zlib
from pathlib import Path
from struct import Struct

from shared.events import FRAME

log = logging.getLogger(__name__)

_OFFSET = Struct("<Q")
_SUFFIXES = ("log", "idx", "ack")
_CUTS_BYTES = 64 << 10  # reserved for cuts and acks of a segment, so that it can be shipped from a full disk


class Segment:
    """One segment. Offsets are bytes from its start, always between two frames.

    `end`: end of the complete frames; `sent`: end of those cut into messages; `acked`: end of the acknowledged ones.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._paths = [folder / f"{number:08d}.{suffix}" for suffix in _SUFFIXES]
        self.closed = False
        self._fds: list[int] = []
        try:
            for path in self._paths:
                flags = os.O_APPEND if path.suffix == ".log" else 0
                self._fds.append(os.open(path, os.O_CREAT | os.O_RDWR | flags, 0o600))
            self._log, self._idx, self._ack = self._fds
            os.posix_fallocate(self._idx, 0, _CUTS_BYTES)
            os.posix_fallocate(self._ack, 0, _OFFSET.size)
            acked = _offsets(self._ack)[0]
            cuts = _offsets(self._idx)
            self.end, self.torn = _whole(self._log, acked)
        except BaseException:
            self.close()
            raise
        self._cut_at = _OFFSET.size * max((at + 1 for at, cut in enumerate(cuts) if cut), default=0)
        self.acked = min(acked, self.end)
        self.sent = self.acked
        self.cuts = [cut for cut in cuts if self.acked < cut <= self.end]
        self._ragged = False  # an incomplete frame that did not fit is behind `end`
        self._failing = False  # the last write failed, which was logged
        self._spent = False  # its bytes were given back: nothing is appended any more
        self._acked_later: dict[int, int] = {}  # acked messages behind a gap: start → end

    def write(self, header: bytes, body: bytes) -> bool:
        """Append one frame with one system call; False if the disk does not take it."""
        if self._spent:
            return False
        size = len(header) + len(body)
        try:
            if self._ragged:
                os.ftruncate(self._log, self.end)
                self._ragged = False
            if os.writev(self._log, (header, body)) != size:
                self._ragged = True
                return False
        except OSError as error:
            if not self._failing:
                log.error("outbox: cannot write: %s", error.strerror)
            self._failing = True
            return False
        self._failing = False
        self.end += size
        return True

    def read(self, start: int, end: int) -> bytes:
        """Read the frames between two cuts."""
        return os.pread(self._log, end - start, start)

    def next_cut(self, max_bytes: int) -> tuple[int, int] | None:
        """(Start, end) of the next message to publish, None if all are cut.

        Its end is on disk before this returns: after a crash the same frames make the same message with the same id.
        """
        start = self.sent
        if start >= self.end:
            return None
        end = next((cut for cut in self.cuts if cut > start), 0)
        if not end:
            end = self.end
            if end - start > max_bytes:
                end = start + _fitting(self.read(start, start + max_bytes))
            if end == start:  # an event larger than `max_bytes` goes alone
                end = start + FRAME.size + FRAME.unpack(self.read(start, start + FRAME.size))[0]
            os.pwrite(self._idx, _OFFSET.pack(end), self._cut_at)
            self._cut_at += _OFFSET.size
            self.cuts.append(end)
        self.sent = end
        return start, end

    def ack(self, start: int, end: int) -> int:
        """Record that a message was stored; returns by how many bytes `acked` advanced."""
        self._acked_later[start] = end
        before = self.acked
        while (reached := self._acked_later.pop(self.acked, None)) is not None:
            self.acked = reached
        if self.acked != before:
            os.pwrite(self._ack, _OFFSET.pack(self.acked), 0)
            self.cuts = [cut for cut in self.cuts if cut > self.acked]
        return self.acked - before

    def give_back(self) -> None:
        """Give the bytes of an acknowledged segment back to a full disk.

        Nothing is appended any more. After a restart it is empty, and deleted.
        """
        try:
            os.ftruncate(self._log, 0)
        except OSError as error:
            log.error("outbox: cannot truncate segment %d: %s", self.number, error.strerror)
            return
        self._spent = True

    def close(self) -> None:
        """Close its files; what is not acknowledged stays for the next start."""
        if not self.closed:
            self.closed = True
            for fd in self._fds:
                os.close(fd)

    def delete(self) -> None:
        """Delete a fully acknowledged segment.

        The log goes first: an .ack without it does no harm.
        """
        self.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


def numbers(folder: Path) -> list[int]:
    """Numbers of the segments in a folder, oldest first."""
    return sorted(int(path.stem) for path in folder.glob("*.log") if path.stem.isdigit())


def _whole(fd: int, acked: int) -> tuple[int, int]:
    """(Bytes of complete frames, bytes after them that a crash tore). Acknowledged bytes are complete."""
    size = os.fstat(fd).st_size
    position = min(acked, size)
    while position + FRAME.size <= size:
        length, crc = FRAME.unpack(os.pread(fd, FRAME.size, position))
        if not length or position + FRAME.size + length > size:
            break  # no event is empty: zeros are a page that was not written before a power failure
        if zlib.crc32(os.pread(fd, length, position + FRAME.size)) != crc:
            break
        position += FRAME.size + length
    return position, size - position


def _offsets(fd: int) -> list[int]:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    return [_OFFSET.unpack_from(data, at)[0] for at in range(0, len(data) - _OFFSET.size + 1, _OFFSET.size)]


def _fitting(data: bytes) -> int:
    """Number of bytes of `data` that are complete frames."""
    position = 0
    while position + FRAME.size <= len(data):
        step = FRAME.size + FRAME.unpack_from(data, position)[0]
        if position + step > len(data):
            break
        position += step
    return position
