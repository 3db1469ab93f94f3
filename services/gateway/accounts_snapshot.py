"""Snapshot of the accounts mirror on disk; it contains no plain-text token or key."""

import logging
import threading
from pathlib import Path

import msgspec

from shared import private_file
from shared.accounts_model import Accounts

log = logging.getLogger(__name__)
_write_lock = threading.Lock()  # a write whose task was cancelled continues in its thread


class Snapshot(msgspec.Struct, frozen=True):
    """The bucket at one revision."""

    created: str  # creation time of the stream, which identifies it
    directory: Accounts


def load(path: Path) -> Snapshot | None:
    """Load the snapshot; None if there is none or it cannot be read, which is logged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.error("accounts: the snapshot %s cannot be read: %s", path, type(error).__name__)
        return None


def store(path: Path, data: bytes) -> None:
    """Replace the snapshot atomically, readable by its owner only; OSError on failure.

    `data`: from `encode`.
    """
    with _write_lock:
        path.parent.mkdir(parents=True, exist_ok=True)
        private_file.replace(path, data)


encode = msgspec.json.encode
