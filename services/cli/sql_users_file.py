"""The file of the embedded engine's SQL users: one is added or removed at a time, in one step on disk."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from shared import sql_users
from shared.accounts_admin import AccountError
from shared.sql_users import SqlUser


def load(path: Path) -> tuple[SqlUser, ...]:
    """The users; AccountError when the file cannot be read."""
    try:
        return sql_users.read(path)
    except (OSError, ValueError) as error:
        raise AccountError(f"{path} cannot be read: {error}") from None


def add(path: Path, user: SqlUser) -> None:
    """Write one user more; AccountError when there is one of that name."""
    with _locked(path):
        found = load(path)
        if any(one.name == user.name for one in found):
            raise AccountError(f"there is a user {user.name} already")
        _replace(path, (*found, user))


def remove(path: Path, name: str) -> None:
    """Write one user less; AccountError when there is none of that name."""
    with _locked(path):
        found = load(path)
        rest = tuple(one for one in found if one.name != name)
        if len(rest) == len(found):
            raise AccountError(f"there is no SQL user {name}")
        _replace(path, rest)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise AccountError(f"{path} cannot be written: {error.strerror}") from None
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
