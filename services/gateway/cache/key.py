"""Cache plans: the key, TTL and format of a request's cached response."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.cache import convert
from services.gateway.dialects import DIALECTS
from services.gateway.request.headers import MetrionHeaders
from services.gateway.request.routing import Route
from shared import cache_protocol

JSON, EVENTS, ARRAY = "json", "events", "array"  # body formats; Gemini streams an array without alt=sse

# Parameters that are not part of the key, by every name that a dialect has for them.
IGNORED = frozenset[str]().union(*(dialect.ignored_parameters for dialect in DIALECTS.values()))
# Headers that are not part of the key. All others that are forwarded are.
_IGNORED_HEADERS = frozenset(
    {
        *(
            "accept",
            "accept-charset",
            "accept-encoding",
            "accept-language",
            "baggage",
            "cache-control",
            "content-encoding",
        ),
        *("content-language", "content-type", "date", "dnt", "from", "host", "idempotency-key", "origin", "pragma"),
        *("priority", "referer", "save-data", "sentry-trace", "traceparent", "tracestate", "upgrade-insecure-requests"),
        *(
            "user-agent",
            "x-client-request-id",
            "x-correlation-id",
            "x-goog-api-client",
            "x-request-id",
            "x-requested-with",
        ),
        # Session headers of coding agents.
        *(
            "anthropic-dangerous-direct-browser-access",
            "originator",
            "session-id",
            "session_id",
            "thread-id",
            "x-affinity",
        ),
        *("x-app", "x-initiator", "x-interaction-type", "x-session-affinity", "x-session-id"),
    }
)
_IGNORED_HEADER_PREFIXES = ("sec-", "x-b3-", "x-claude-code-", "x-codex-", "x-datadog-", "x-stainless-")
# Members that hold Gemini's parameters; other APIs have theirs at the top level.
_CONFIG = ("generationConfig", "generation_config")
# With these the response depends on more than the request, or is not ready yet.
_STATEFUL = ("background", "previous_response_id", "conversation", "container")

_MAX_BODY = 4 << 20  # bytes of a body that is cacheable: a key takes some 4 ms a megabyte
_MAX_MARKS = 200_000  # commas, opening brackets and backslashes; parsing and sorting more would block other requests

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


class CachePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to cache one request. `refresh`: fetch a new response even if one is cached."""

    key: str
    ttl: int  # seconds, at least 1
    refresh: bool
    format: str  # body format that the client expects
    usage: bool  # the client requested the usage chunk of an OpenAI-style stream


def plan(
    body: object,
    *,
    method: str,
    route: Route,
    query: str,
    headers: Mapping[str, str],
    account: str,
    metrion_headers: MetrionHeaders,
) -> CachePlan | None:
    """Build a request's cache plan; None if it is not cacheable."""
    if method != "POST" or not isinstance(body, bytes) or len(body) > _MAX_BODY or metrion_headers.max_age <= 0:
        return None
    if not convert.known(route.dialect, route.path):
        return None
    asked = _parse(body)
    if asked is None:
        return None
    relevant, ignored = _split(asked)
    text = _encode(relevant)
    if _colons(text) + _colons(_encode(ignored)) != _colons(body):
        return None  # a name occurs twice
    for name in _STATEFUL:
        if asked.get(name):
            return None
    options = asked.get("stream_options")
    model = route.model or asked.get("model")
    parts = [
        account,
        metrion_headers.namespace,
        route.provider.name,
        _document_path(route),
        sorted(part for part in query.split("&") if part and part.partition("=")[0] != "alt"),
        _relevant_headers(headers),
        msgspec.Raw(text),
    ]
    digest = hashlib.sha256(_encode(parts)).hexdigest()
    return CachePlan(
        key=cache_protocol.key(account=account, model=f"{route.provider.name}/{model}", digest=digest),
        ttl=metrion_headers.max_age,
        refresh=metrion_headers.cache == "refresh",
        format=_format(route, query, stream=asked.get("stream") is True),
        usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _parse(body: bytes) -> dict[str, Any] | None:
    """Parse the body; None if it is not an object, has too many values, or hides colons (see `_colons`)."""
    if len(body) > _MAX_MARKS and sum(map(body.count, (b",", b"[", b"{", b"\\"))) > _MAX_MARKS:
        return None
    try:
        asked = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(asked, dict) or b"\\u003a" in body or b"\\u003A" in body:
        return None
    return asked


def _colons(text: bytes) -> int:
    """Count the colons of a JSON text, to find out whether decoding dropped a repeated member.

    Servers differ in which of two members of the same name they use, so such requests are not cached. A colon follows
    each name; only the escape \\u003a could hide one. `replace` is faster here than `count`.
    """
    return len(text) - len(text.replace(b":", b""))


def _relevant_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Headers that may affect the response: beta features, organization, project, field masks, unknown ones."""
    relevant = []
    for name, value in headers.items():
        lower = name.lower()
        if lower not in _IGNORED_HEADERS and not lower.startswith(_IGNORED_HEADER_PREFIXES):
            relevant.append((lower, value))
    return sorted(relevant)


def _split(asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(Members that are part of the key, ignored members). Every member is in exactly one of them."""
    relevant: dict[str, Any] = {}
    ignored: dict[str, Any] = {}
    for name, value in asked.items():
        if name in IGNORED:
            ignored[name] = value
        else:
            relevant[name] = value
    rest = [ignored]
    for name in _CONFIG:
        config = relevant.get(name)
        if not isinstance(config, dict):
            continue
        relevant_config = {key: value for key, value in config.items() if key not in IGNORED}
        if relevant_config:
            relevant[name] = relevant_config
            rest.append({key: value for key, value in config.items() if key in IGNORED})
        else:
            ignored[name] = relevant.pop(name)
    return relevant, rest


def _document_path(route: Route) -> str:
    """The path of the same request for a document, where the path asks for a stream."""
    dialect = DIALECTS[route.dialect]
    return route.path.replace(dialect.stream_path, dialect.document_path) if dialect.stream_path else route.path


def _format(route: Route, query: str, *, stream: bool) -> str:
    dialect = DIALECTS[route.dialect]
    if not dialect.stream_path:
        return EVENTS if stream else JSON
    if not route.path.endswith(dialect.stream_path):
        return JSON
    return EVENTS if "alt=sse" in query.split("&") else ARRAY
