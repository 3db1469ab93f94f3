"""Strict parsing of URL settings, and masking of their credentials.

Lenient parsers read the host of `http://user:p@ss/w@host` as `ss`, so a password that is not percent-encoded would send
credentials to a foreign server. Error messages never contain the value.
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
    """The allowed format of a URL setting."""

    schemes: Sequence[str]
    example: str
    path: bool = False  # whether a path is allowed
    many: bool = False  # whether several are allowed, comma-separated
    default_scheme: str = ""  # added if there is none


CLICKHOUSE = Kind(("http", "https"), "http://user:password@host:8123")
NATS = Kind(("nats", "tls"), "nats:// or tls://[user:password@]host:port, or several with commas", many=True)
SMTP = Kind(("smtp", "smtps"), "smtp:// or smtps://[user:password@]host[:port]")
COLLECTOR = Kind(("http", "https"), "http://collector:4318", path=True)
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
    """Parse a URL, or several; the message of a ValueError never contains the value."""
    items = text.split(",") if kind.many else [text]
    parsed = [_parse_single(item.strip(), kind) for item in items if item.strip()]
    if not parsed:
        raise ValueError(_error(kind))
    return parsed


def masked(text: str) -> str:
    """Mask users and passwords of URLs in a text."""
    return _USERINFO.sub("***@", text)


def _parse_single(text: str, kind: Kind) -> Parts:
    if kind.default_scheme and "://" not in text:
        text = f"{kind.default_scheme}://{text}"
    match = _URL.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or match["scheme"] not in kind.schemes or (port is not None and not 0 < port < 65536):
        raise ValueError(_error(kind))
    path = match["path"] or ""
    if path.strip("/") and not kind.path:
        raise ValueError(_error(kind))
    user = match["user"]
    password = match["password"]
    return Parts(
        match["scheme"],
        None if user is None else unquote(user),
        None if password is None else unquote(password),
        match["host"].strip("[]"),
        port,
        path,
    )


def _error(kind: Kind) -> str:
    return f"must be {kind.example}; in user and password percent-encode @ : / ? # % and the like (@ is %40)"
