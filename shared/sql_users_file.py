"""The file of the embedded engine's SQL users, replaced atomically under a lock."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from shared import sql_users
from shared.accounts_admin import AccountError
from shared.sql_users import SqlUser


def load(path: Path) -> tuple[SqlUser, ...]:
    """Read the users; AccountError if the file cannot be read."""
    try:
        return sql_users.read(path)
    except (OSError, ValueError) as error:
        raise AccountError(f"cannot read {path}: {error}") from None


def add(path: Path, user: SqlUser) -> None:
    """Add a user; AccountError if the name exists."""
    with _locked(path):
        users = load(path)
        if any(known.name == user.name for known in users):
            raise AccountError(sql_users.exists(user.name))
        _replace(path, (*users, user))


def remove(path: Path, name: str) -> None:
    """Remove a user; AccountError if the name is unknown."""
    with _locked(path):
        users = load(path)
        rest = tuple(user for user in users if user.name != name)
        if len(rest) == len(users):
            raise AccountError(sql_users.unknown(name))
        _replace(path, rest)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise AccountError(f"cannot write {path}: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, users: tuple[SqlUser, ...]) -> None:
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(sql_users.encode(users))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
