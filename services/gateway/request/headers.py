"""Request headers by purpose: to forward, to authenticate with, and Metrion's own."""

import base64
import binascii
import re
from collections.abc import Iterable
from urllib.parse import unquote, unquote_plus

import msgspec
from multidict import CIMultiDict

from services.gateway.request import wire_text
from services.gateway.request.errors import Refusal
from services.gateway.request.header_names import CREDENTIALS, HeaderName
from shared.accounts_admin import TOKEN_PREFIX

_QUERY_KEYS = frozenset({"key", "$key"})  # Google accepts its key by either name
_MAX_VALUE = 256  # bytes of a requester, a metadata key or a metadata value
_MAX_META = 16
MAX_AGE_DEFAULT, MAX_AGE_LIMIT = 7 * 86400, 365 * 86400
_MAX_AGE = re.compile(r"max-age\s*=\s*0*(\d+)$")
_NOT_CACHED = ("no-store", "no-cache")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ParsedHeaders(msgspec.Struct):
    """A request's headers, sorted."""

    forward: CIMultiDict[str]
    credentials: list[str]  # in order of arrival, without duplicates and empty ones
    tokens: list[str] = []  # values of x-metrion-token, without duplicates
    native_key: bool = False  # a credential came as x-goog-api-key or ?key=
    misplaced: str = ""  # where a Metrion token was found that does not belong there
    has_non_ascii: bool = False  # a value to forward has characters other than ASCII
    metrion: dict[str, list[str]] = {}  # the other x-metrion-* headers: lower case, without the prefix
    identifying: dict[str, str] = {}  # headers that identify client, session or agent, by name in lower case


class MetrionHeaders(msgspec.Struct, frozen=True):
    """Content of a request's x-metrion-* headers."""

    requester: str = ""
    metadata: dict[str, str] = {}
    cache: str = ""  # "", "true", "refresh"
    max_age: int = MAX_AGE_DEFAULT  # seconds
    namespace: str = ""  # separates cached responses within an account
    session: str = ""
    agent: str = ""


def read(names: Iterable[HeaderName], values: Iterable[str], query: str) -> tuple[ParsedHeaders, str]:
    """Sort the headers, and take `key=` out of the query: (headers, query to forward)."""
    forward = CIMultiDict({"Host": ""})  # Host comes first; its value is set once the provider is known
    identifying: dict[str, str] = {}
    parsed = ParsedHeaders(forward, [], metrion={}, identifying=identifying)
    named_by_connection: list[str] = []
    add = forward.add
    for (name, lower, forwarded, identifies), value in zip(names, values, strict=True):
        if forwarded:
            add(name, value)
            if identifies:
                identifying[lower] = value
        elif lower in CREDENTIALS:
            _credential(parsed, lower, value)
        elif lower == "x-metrion-token":
            _add_token(parsed, value.strip())
        elif lower.startswith("x-metrion-"):
            parsed.metrion.setdefault(lower[10:], []).append(value)
        elif lower == "connection" and value.lower() not in ("keep-alive", "close"):
            named_by_connection += [part.strip().lower() for part in value.split(",")]
    values = "\n".join(parsed.forward.values())
    parsed.has_non_ascii = not values.isascii()
    if TOKEN_PREFIX in values:
        parsed.misplaced = next(name for name, value in parsed.forward.items() if TOKEN_PREFIX in value)
    for lower in named_by_connection:
        parsed.forward.popall(lower, None)
    if query and ("key" in query or "%" in query or TOKEN_PREFIX in query):
        query = _key_from_query(parsed, query)
    return parsed, query


def _credential(parsed: ParsedHeaders, name: str, value: str) -> None:
    if name == "authorization":
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "bearer":
            value = rest
        elif scheme.lower() == "basic" and TOKEN_PREFIX in _basic(rest):
            parsed.misplaced = "Authorization: Basic"
    elif name == "x-goog-api-key":
        parsed.native_key = True
    value = value.strip()
    if TOKEN_PREFIX in value and not value.startswith(TOKEN_PREFIX):
        parsed.misplaced = name
    if value and value not in parsed.credentials:
        parsed.credentials.append(value)


def _add_token(parsed: ParsedHeaders, token: str) -> None:
    if token and token not in parsed.tokens:
        parsed.tokens = [*parsed.tokens, token]


def _basic(value: str) -> str:
    """User and password of Basic authentication; "" for any other credential."""
    try:
        return base64.b64decode(value.strip(), validate=False).decode("latin-1")
    except (binascii.Error, ValueError):
        return ""


def _key_from_query(parsed: ParsedHeaders, query: str) -> str:
    forwarded = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if unquote(name) in _QUERY_KEYS:
            if value:
                parsed.native_key = True
                _credential(parsed, "key", unquote_plus(value))
        else:
            forwarded.append(part)
            if TOKEN_PREFIX in unquote(part):
                parsed.misplaced = f"the query parameter {name[:40]}"
    return "&".join(forwarded)


def read_metrion(metrion: dict[str, list[str]], cache_control: str, *, cache_default: bool = False) -> MetrionHeaders:
    """Parse the x-metrion-* headers; Refusal 400 names an invalid one.

    `cache_default`: cache unless the request says otherwise.
    """
    if not metrion and not cache_default:
        return MetrionHeaders()
    requester = _text("x-metrion-user", metrion["user"][-1]) if "user" in metrion else ""
    metadata = {}
    for name, values in metrion.items():
        if name.startswith("meta-"):
            metadata[_text(f"x-metrion-{name}", name[5:])] = _text(f"x-metrion-{name}", values[-1])
    if len(metadata) > _MAX_META:
        raise Refusal(
            400, "invalid_header", f"At most {_MAX_META} x-metrion-meta-* headers are allowed, not {len(metadata)}."
        )
    cache = metrion["cache"][-1].strip().lower() if "cache" in metrion else ""
    if cache not in ("", "true", "refresh") or ("cache" in metrion and not cache):
        raise Refusal(400, "invalid_header", "x-metrion-cache must be true or refresh.")
    cache = cache or ("true" if cache_default else "")
    max_age = _max_age(cache_control) if cache else MAX_AGE_DEFAULT
    if cache_control and any(part.strip().lower().startswith(_NOT_CACHED) for part in cache_control.split(",")):
        cache = ""
    namespace = (
        _text("x-metrion-cache-namespace", metrion["cache-namespace"][-1]) if "cache-namespace" in metrion else ""
    )
    session = _text("x-metrion-session", metrion["session"][-1]) if "session" in metrion else ""
    agent = _text("x-metrion-agent", metrion["agent"][-1]) if "agent" in metrion else ""
    return MetrionHeaders(requester, metadata, cache, max_age, namespace, session, agent)


def _text(name: str, value: str) -> str:
    """Decode a header's text, stripped; Refusal 400 if it is invalid."""
    value = wire_text.decode(value.strip()).strip()
    if _CONTROL.search(value):
        raise Refusal(400, "invalid_header", f"{_ascii(name)} must not contain control characters.")
    size = len(value.encode())
    if size > _MAX_VALUE:
        raise Refusal(400, "invalid_header", f"{_ascii(name)} has {size} bytes; at most {_MAX_VALUE} are allowed.")
    return value


def _ascii(name: str) -> str:
    return name[:80].encode("ascii", "replace").decode()


def _max_age(cache_control: str) -> int:
    for part in cache_control.split(","):
        directive = part.strip().lower()
        if directive.startswith("max-age"):
            match = _MAX_AGE.match(directive)
            if not match:
                raise Refusal(400, "invalid_header", "Cache-Control: max-age must be a whole number of seconds.")
            seconds = match.group(1)
            return MAX_AGE_LIMIT if len(seconds) > 12 else min(int(seconds), MAX_AGE_LIMIT)
    return MAX_AGE_DEFAULT


def has_raw_bytes(parsed: ParsedHeaders) -> bool:
    """Whether a header to forward has bytes that are not UTF-8, such as Latin-1.

    They arrive as lone surrogates.
    """
    return parsed.has_non_ascii and any(map(_has_surrogates, parsed.forward.values()))


def _has_surrogates(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False
