"""Writes changed configuration files: all of them, or none."""

import codecs
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from services.cli.agents import files
from services.cli.agents.files import Change
from services.cli.errors import Refused
from shared import private_file
from shared.agent_tools import merge


class _State(NamedTuple):
    """A file as it is; `content` is None if there is none."""

    path: Path
    content: bytes | None
    mode: int


def check(changes: Sequence[Change]) -> None:
    """Refused if a file may not be written, or has changed meanwhile."""
    for change in changes:
        path = _target(change)
        if files.decode(path, files.load(path)) != change.before:
            raise Refused(f"{change.path} was changed meanwhile; run the command again")
        if reason := _obstacle(path):
            raise Refused(f"{change.path}: {reason}")


def write(changes: Sequence[Change]) -> None:
    """Write all files through symbolic links; Refused if it fails, nothing changed.

    A file with a token in it can only be read by its owner.
    """
    check(changes)
    earlier: list[_State] = []
    for change in changes:
        path = _target(change)
        try:
            earlier += [_state(path), _state(files.backup_of(path))]
            _write(change, path)
        except OSError as error:
            _put_back(earlier)
            raise Refused(f"{change.path}: {error.strerror}") from None
        except Refused:
            _put_back(earlier)
            raise


def _write(change: Change, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    present = files.load(path)
    if files.decode(path, present) != change.before:
        raise Refused(f"{change.path} was changed meanwhile; run the command again")
    if change.keep:
        private_file.replace(files.backup_of(path), present)
    if change.after:
        mode = _mode(path, change.after)
        private_file.replace(path, _encoded(change.after, present))
        path.chmod(mode)
    else:
        path.unlink(missing_ok=True)
    if change.drop:
        files.backup_of(path).unlink(missing_ok=True)


def _target(change: Change) -> Path:
    """The file itself, if the path is a symbolic link."""
    return Path(os.path.realpath(change.path))


def _obstacle(path: Path) -> str:
    """Why a file may not be written; "" if it may.

    Replacing it would otherwise get around its permissions and change its owner.
    """
    folder = next(place for place in path.parents if place.exists())
    is_present = path.exists()
    status = path.stat() if is_present else folder.stat()
    if is_present and not status.st_mode & 0o222:
        return "is read-only"
    # A new file would belong to root, and the tool of the folder's owner could not read it.
    if status.st_uid != os.geteuid() and (is_present or os.geteuid() == 0):
        return "belongs to another user; run the command as that user"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} is read-only"
    return ""


def _state(path: Path) -> _State:
    if not path.exists():
        return _State(path, None, 0)
    return _State(path, path.read_bytes(), stat.S_IMODE(path.stat().st_mode))


def _put_back(states: Sequence[_State]) -> None:
    for state in states:
        if state == _state(state.path):
            continue
        if state.content is None:
            state.path.unlink()
        else:
            private_file.replace(state.path, state.content)
            state.path.chmod(state.mode)


def _encoded(text: str, present: bytes) -> bytes:
    """Return a text with the line ends and the byte order mark of the file."""
    if b"\r\n" in present and present.count(b"\n") == present.count(b"\r\n"):
        text = text.replace("\n", "\r\n")
    mark = codecs.BOM_UTF8 if present.startswith(codecs.BOM_UTF8) else b""
    return mark + text.encode()


def _mode(path: Path, text: str) -> int:
    if merge.TOKEN.search(text) or not path.exists():
        return 0o600
    return stat.S_IMODE(path.stat().st_mode)
