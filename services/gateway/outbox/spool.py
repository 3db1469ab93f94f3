"""Spool folder of an outbox: its lock, its identity and the epoch of each start."""

import fcntl
import os
import uuid
from pathlib import Path

LOCK, IDENTITY, EPOCH, COUNTER = "lock", "id", "epoch", "counter"  # file names


class SpoolLocked(OSError):
    """Another process has locked the folder."""


def lock(folder: Path) -> int:
    """Lock the folder, and return the file descriptor that holds the lock."""
    path = folder / LOCK
    while True:
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise SpoolLocked(f"{folder} belongs to another gateway process") from None
        except OSError:
            os.close(fd)
            raise
        os.close(fd)  # its owner has just deleted it: what is locked is no longer the folder's


def identity(folder: Path) -> str:
    """Return the folder's id; a new folder gets one."""
    path = folder / IDENTITY
    if not path.exists():
        _write_durably(path, uuid.uuid4().hex[:12])
    return path.read_text().strip()


def next_epoch(folder: Path) -> int:
    """Return the number of this start, which is on disk before it is used."""
    epoch = last_epoch(folder) + 1
    _write_durably(folder / EPOCH, str(epoch))
    return epoch


def last_epoch(folder: Path) -> int:
    """Return the number of the last start; 0 for none."""
    path = folder / EPOCH
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
        os.fsync(directory)  # without it, the new name itself may be lost in a power failure
    finally:
        os.close(directory)
