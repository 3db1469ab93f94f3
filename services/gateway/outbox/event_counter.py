"""Durable event counter of a gateway, readable after its process was killed.

It is a memory-mapped file: a store costs nanoseconds and survives a kill. It does not survive a crash of the machine,
so the file names the boot in which it was written: after another boot its numbers prove nothing.
"""

import mmap
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Words: epoch, last sequence number, dropped events, whether it stopped cleanly, microseconds of its last heartbeat.
EPOCH, SEQUENCE, DROPPED, CLOSED, BEAT_AT = _WORDS = range(5)
_NUMBERS_BYTES = len(_WORDS) * 8
BEAT_EVERY = timedelta(seconds=10)
_LATEST = 253_402_300_799_000_000 - 86_400_000_000  # microseconds: a day before the last year of `datetime` ends
_SIZE = _NUMBERS_BYTES + 36  # and the boot's UUID

Numbers = memoryview | list[int]  # indexed by the words above


class Count(msgspec.Struct, frozen=True):
    """Last sequence number of one start (epoch) of a gateway."""

    epoch: int
    sequence: int
    dropped: int
    ended_at: datetime  # estimated end: one interval after its last heartbeat
    exact: bool  # it stopped cleanly, or the machine has not been rebooted since


def read(path: Path, *, last_epoch: int) -> list[Count]:
    """Read the counts of the start that wrote the file and of later, unnumbered ones.

    `last_epoch`: the last start, which may have been killed before it created its counter.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    if len(data) != _SIZE:
        return []
    epoch, sequence, dropped, closed, beat_at = memoryview(data)[:_NUMBERS_BYTES].cast("Q")
    exact = bool(closed) or (bool(boot()) and data[_NUMBERS_BYTES:] == boot())
    now = datetime.now(UTC)
    ended_at = min(datetime.fromtimestamp(beat_at / 1e6, UTC) + BEAT_EVERY, now) if 0 < beat_at < _LATEST else now
    later = range(epoch + 1, last_epoch + 1)
    return [
        Count(epoch, sequence, dropped, ended_at, exact),
        *(Count(unused, 0, 0, now, exact) for unused in later),
    ]


def create(path: Path, *, epoch: int) -> Numbers:
    """Create a counter at 0; in memory only if the file system cannot map files."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(fd, 0, _SIZE)
        mapped = mmap.mmap(fd, _SIZE)
    except OSError:
        os.ftruncate(fd, 0)
        return unmapped()
    finally:
        os.close(fd)
    mapped[_NUMBERS_BYTES:] = boot().ljust(_SIZE - _NUMBERS_BYTES, b"\0")
    numbers = memoryview(mapped)[:_NUMBERS_BYTES].cast("Q")
    for word in _WORDS:
        numbers[word] = 0
    numbers[EPOCH] = epoch
    return numbers


def unmapped() -> Numbers:
    """Create a counter that is not backed by a file."""
    return [0] * len(_WORDS)


def boot() -> bytes:
    """ID of this boot of the machine; empty if the system does not provide it."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""
