"""URL settings: strict reading that never takes a part of a password for a host, and masking for print.

Lenient parsers read `http://user:p@ss/w@host` as the host `ss`, so a password that is not percent-encoded would send
credentials to somebody else's server. Messages here never hold a value.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

_ENCODED = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<user>{_ENCODED}*)(?::(?P<password>(?:{_ENCODED}|:)*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\[\]@:/?#\\%,<>\"{}|^`]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^\s?#@\\]*)?",
    re.ASCII,
)
_USERINFO = re.compile(r"(?<=://)[^\s,\"']*@")


class Kind(NamedTuple):
    """What a URL setting may look like."""

    schemes: Sequence[str]
    example: str
    path: bool = False  # whether it may go on after the host
    many: bool = False  # whether several may stand there, with commas between
    default_scheme: str = ""  # put in front where there is none


CLICKHOUSE = Kind(("http", "https"), "http://user:password@host:8123")
NATS = Kind(("nats", "tls"), "nats:// or tls://[user:password@]host:port, or several with commas", many=True)
UPSTREAM = Kind(("http", "https"), "https://host", path=True)
PROXY = Kind(("http", "https"), "http://[user:password@]host:port", default_scheme="http")


class Parts(NamedTuple):
    """A URL's parts, decoded."""

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int | None
    path: str


def parse(text: str, kind: Kind) -> list[Parts]:
    """The parts of a URL, or of each of several; ValueError with what is wrong, never with the value."""
    found = [_one(part.strip(), kind) for part in (text.split(",") if kind.many else [text]) if part.strip()]
    if not found:
        raise ValueError(_wrong(kind))
    return found


def masked(text: str) -> str:
    """Text for print, with users and passwords in its URLs masked."""
    return _USERINFO.sub("***@", text)


def _one(text: str, kind: Kind) -> Parts:
    if kind.default_scheme and "://" not in text:
        text = f"{kind.default_scheme}://{text}"
    match = _URL.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or match["scheme"] not in kind.schemes or (port is not None and not 0 < port < 65536):
        raise ValueError(_wrong(kind))
    path = match["path"] or ""
    if path.strip("/") and not kind.path:
        raise ValueError(_wrong(kind))
    user, password = match["user"], match["password"]
    return Parts(
        match["scheme"],
        None if user is None else unquote(user),
        None if password is None else unquote(password),
        match["host"].strip("[]"),
        port,
        path,
    )


def _wrong(kind: Kind) -> str:
    return f"must be {kind.example}; in user and password percent-encode @ : / ? # % and the like (@ is %40)"
