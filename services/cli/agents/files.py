"""Configuration files of coding agents: found, read, and shown as a diff."""

import difflib
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from services.cli.errors import Refused
from shared.agent_tools import merge
from shared.agent_tools.model import ConfigFile, Tool

BACKUP = ".before-metrion"
_LARGEST = 1 << 20  # bytes; tools' own files have a few thousand
_KEY = re.compile(r"\b(?:sk|pk|xai|gsk|ghp|AIza)[-_]?[A-Za-z0-9_-]{16,}")  # of a provider, wherever it stands

P = ParamSpec("P")
T = TypeVar("T")


class Unreadable(Refused):
    """An unreadable or malformed file of a tool; the message begins with its path."""


class Change(NamedTuple):
    """A file, its text now ("" if there is none), and what to write ("" to delete it).

    `keep`: whether the present text is kept as a backup; `drop`: whether the backup is deleted. `secrets` are masked
    in the diff, as are tokens of Metrion.
    """

    path: Path
    before: str
    after: str
    keep: bool = False
    drop: bool = False
    secrets: tuple[str, ...] = ()


def variants(tool: Tool) -> tuple[tuple[ConfigFile, ...], ...]:
    """Return the tool's sets of files: for a token as the key, for a subscription."""
    return (tool.files, tool.subscription) if tool.subscription else (tool.files,)


def edited(path: Path, edit: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function on the text of a file; Unreadable if that is malformed."""
    try:
        return edit(*arguments, **named)
    except ValueError as error:
        raise Unreadable(f"{path}: {error}") from None


def configured_files(tool: Tool, environ: Mapping[str, str]) -> tuple[ConfigFile, ...]:
    """Return the set of files that is set up; () if none is."""
    for files in variants(tool):
        paths = [(file, locate(file, environ)) for file in files]
        texts = [(file, path, text) for file, path in paths if (text := read(path))]
        found = [edited(path, merge.is_configured, file, text) for file, path, text in texts]
        is_complete = any(True for _ in tokens_in(files, environ))
        if any(found) and (is_complete or files is variants(tool)[-1]):
            return files
    return ()


def locate(file: ConfigFile, environ: Mapping[str, str]) -> Path:
    """Return the path of a file, which need not exist; Refused without a home."""
    folder = environ.get(file.folder_variable, "") if file.folder_variable else ""
    try:
        place = Path(folder).expanduser() if folder else home(environ) / file.folder
    except RuntimeError:
        raise Refused(f"{file.folder_variable} is {folder!r}: there is no such home directory") from None
    names = (file.name, *file.alternatives)
    return next((place / name for name in names if (place / name).exists()), place / file.name)


def home(environ: Mapping[str, str]) -> Path:
    """Return the home directory; Refused if there is none, or HOME names none."""
    folder = environ.get("HOME", "")
    if not folder:
        try:
            folder = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            raise Refused("there is no home directory: set HOME") from None
    path = Path(folder)
    if not path.is_absolute() or not path.is_dir():
        raise Refused(f"{folder!r} is not a home directory: set HOME")
    return path


def read(path: Path) -> str:
    """Return a file's text, with plain line ends and without a byte order mark.

    "" if there is none. Unreadable if it cannot be read.
    """
    return decode(path, load(path))


def load(path: Path) -> bytes:
    """Return a file's content, b"" if there is none; Unreadable if it is not regular."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(f"{path}: is not a regular file")
        if status.st_size > _LARGEST:
            raise Unreadable(f"{path}: is larger than {_LARGEST >> 20} MB")
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None


def decode(path: Path, content: bytes) -> str:
    """Return a file's content as `read` returns it."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(f"{path}: is not UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def backup_of(path: Path) -> Path:
    """Return where the text before the first set-up is kept."""
    return path.with_name(path.name + BACKUP)


def diff(change: Change) -> str:
    """Return a unified diff with one line of context and masked secrets."""
    lines = difflib.unified_diff(
        _masked(change, change.before),
        _masked(change, change.after),
        str(change.path),
        str(change.path),
        lineterm="",
        n=1,
    )
    return "".join(f"{line}\n" for line in lines)


def _masked(change: Change, text: str) -> list[str]:
    text = merge.TOKEN.sub(lambda match: mask(match.group()), text)
    for secret in change.secrets:
        text = text.replace(secret, _mask_of_another(secret))
    return _KEY.sub(lambda match: _mask_of_another(match.group()), text).splitlines()


def mask(token: str) -> str:
    """Return a token as it may be shown."""
    return f"sk-metrion-…{token[-4:]}"


def _mask_of_another(secret: str) -> str:
    return f"{secret[:3]}…{secret[-4:]}" if len(secret) >= 16 else "…"


def secrets_in(file: ConfigFile, text: str) -> tuple[str, ...]:
    """Return what is in the token's place, such as the user's own key."""
    if not text:
        return ()
    found = [value for setting, value in merge.values_in(file, text) if setting.has_token and value]
    return tuple(value for value in found if merge.TOKEN.search(value) is None and "\n" not in value)


def tokens_in(files: tuple[ConfigFile, ...], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the Metrion tokens that the files contain where the tool reads them."""
    for file in files:
        path = locate(file, environ)
        if text := read(path):
            for setting, value in edited(path, merge.values_in, file, text):
                if setting.has_token:
                    yield from merge.TOKEN.findall(value)
