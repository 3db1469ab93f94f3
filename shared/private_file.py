"""Atomic replacement of files that only their owner may read."""

import os
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Replace a file atomically, with mode 0600 whatever the umask; raises OSError."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
