"""Cache plans: under which key a request's response is stored, how long and in which form."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.cache import convert
from services.gateway.request.headers import MetrionHeaders
from services.gateway.request.routing import Route
from shared import cache_protocol, events

JSON, EVENTS, ARRAY = "json", "events", "array"  # forms of an answer; the last is how Gemini streams without alt=sse

# Parameters that do not change what is asked: the one list, by every name that a dialect has for them.
IGNORED = frozenset(
    {
        *("stream", "stream_options"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample", "maxOutputTokens"),
        *("temperature", "top_p", "top_k", "topP", "topK"),
        *("seed", "random_seed"),
        *("frequency_penalty", "presence_penalty", "frequencyPenalty", "presencePenalty"),
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    }
)
# Headers that do not change what is asked. Every other one that is forwarded is part of the key.
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
        # What coding agents say about a session.
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
# Where Gemini keeps its parameters; the others stand at the top.
_CONFIG = ("generationConfig", "generation_config")
# An answer to these depends on more than the request, or is not there yet.
_STATEFUL = ("background", "previous_response_id", "conversation", "container")

_MAX_MARKS = 200_000  # commas and opening brackets of a body; reading and sorting more would hold up other requests

_GENERATE, _STREAM = ":generateContent", ":streamGenerateContent"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


class CachePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What caching is to do for a request. `refresh`: nothing kept will do, but the answer is to be kept."""

    key: str
    ttl: int  # seconds, at least 1
    refresh: bool
    form: str  # the form the client understands
    usage: bool  # it asked an OpenAI-style stream for its usage chunk


def plan(
    body: object,
    *,
    method: str,
    route: Route,
    query: str,
    headers: Mapping[str, str],
    account: str,
    facts: MetrionHeaders,
) -> CachePlan | None:
    """The plan; None where caching makes no sense or keeps nothing: other endpoints, stateful calls, max-age=0."""
    if method != "POST" or not isinstance(body, bytes) or facts.max_age <= 0:
        return None
    if not convert.known(route.dialect, route.path):
        return None
    asked = _asked(body)
    if asked is None:
        return None
    essence, ignored = _split(asked)
    text = _encode(essence)
    if _colons(text) + _colons(_encode(ignored)) != _colons(body):
        return None  # a name stands twice
    for name in _STATEFUL:
        if asked.get(name):
            return None
    options = asked.get("stream_options")
    model = route.model or asked.get("model")
    parts = [
        account,
        facts.namespace,
        route.provider.name,
        route.path.replace(_STREAM, _GENERATE),
        sorted(part for part in query.split("&") if part and part.partition("=")[0] != "alt"),
        _bearing(headers),
        msgspec.Raw(text),
    ]
    digest = hashlib.sha256(_encode(parts)).hexdigest()
    return CachePlan(
        key=cache_protocol.key(account=account, model=f"{route.provider.name}/{model}", digest=digest),
        ttl=facts.max_age,
        refresh=facts.cache == "refresh",
        form=_form(route, query, stream=asked.get("stream") is True),
        usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _asked(body: bytes) -> dict[str, Any] | None:
    """The body as an object; None where it is none, has too many values, or hides colons (see `_colons`)."""
    if len(body) > _MAX_MARKS and sum(map(body.count, (b",", b"[", b"{"))) > _MAX_MARKS:
        return None
    try:
        asked = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(asked, dict) or b"\\u003a" in body or b"\\u003A" in body:
        return None
    return asked


def _colons(text: bytes) -> int:
    """How many colons there are in a JSON text, which tells whether a member was dropped when it was decoded.

    Servers differ in which of two members of the same name they take, so the answer may be that of another question. A
    colon stands between each name and its value; only the escape \\u003a could hide one. Replacing is faster than
    `count`, which looks at each byte.
    """
    return len(text) - len(text.replace(b":", b""))


def _bearing(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers that may bear on the response: beta features, organization, project, field masks, unknown ones."""
    bearing = []
    for name, value in headers.items():
        lower = name.lower()
        if lower not in _IGNORED_HEADERS and not lower.startswith(_IGNORED_HEADER_PREFIXES):
            bearing.append((lower, value))
    return sorted(bearing)


def _split(asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(What is asked, the members that do not change it). Every member is in exactly one of them."""
    essence: dict[str, Any] = {}
    ignored: dict[str, Any] = {}
    for name, value in asked.items():
        if name in IGNORED:
            ignored[name] = value
        else:
            essence[name] = value
    rest = [ignored]
    for name in _CONFIG:
        config = essence.get(name)
        if not isinstance(config, dict):
            continue
        kept = {key: value for key, value in config.items() if key not in IGNORED}
        if kept:
            essence[name] = kept
            rest.append({key: value for key, value in config.items() if key in IGNORED})
        else:
            ignored[name] = essence.pop(name)
    return essence, rest


def _form(route: Route, query: str, *, stream: bool) -> str:
    if route.dialect == events.GEMINI:
        if not route.path.endswith(_STREAM):
            return JSON
        return EVENTS if "alt=sse" in query.split("&") else ARRAY
    return EVENTS if stream else JSON
