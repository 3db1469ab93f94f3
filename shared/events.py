"""What the gateway says and the logger hears: events, their framing, and the names of subjects and streams.

Every Struct is MessagePack, array-like and append-only: a field is added at the end with a default, never removed or
moved, so old bytes stay readable (tests/unit/shared/test_events.py holds such bytes).
"""

import zlib
from collections.abc import Iterator
from datetime import datetime
from struct import Struct as Layout

import msgspec

EVENTS_STREAM = "EVENTS"
EVENTS_SUBJECT = "metrion.events"  # + "." + gateway name
LOGGER_CONSUMER = "logger"
DEAD_STREAM = "DEAD"
DEAD_SUBJECT = "metrion.dead"
ACCOUNTS_BUCKET = "accounts"
DASHBOARD_BUCKET = "dashboard"  # people and their sessions
AUDIT_STREAM = "AUDIT"
AUDIT_SUBJECT = "metrion.audit"  # + "." + area
AUDIT_AREAS = ("account", "token", "key", "user", "session", "sql-user", "cache", "dead", "prices", "data")

# Outcomes of a request, as they stand in metrion.requests.
COMPLETE = "complete"
CLIENT_CLOSED = "client_closed"
UPSTREAM_CLOSED = "upstream_closed"
TIMEOUT = "timeout"
UPSTREAM_ERROR = "upstream_error"
INTERRUPTED = "interrupted"

# Values of `cache`: how the cache took part in a request that asked for it.
HIT, MISS, REFRESH = "HIT", "MISS", "REFRESH"

# Dialects: how an endpoint speaks, whoever offers it. One module each in services/logger/usage.
ANTHROPIC = "anthropic"  # every Anthropic endpoint
OPENAI_CHAT = "openai_chat"  # …/completions of OpenAI, Gemini-compatible, Mistral and Grok
OPENAI_RESPONSES = "openai_responses"
OPENAI_OTHER = "openai_other"  # embeddings, images, audio, moderations, files, batches, models …
GEMINI = "gemini"  # native generateContent, embedContent, countTokens …

# What is missing from truncated evidence.
GAP_USAGE = "usage"  # the last usage may be missing or outdated
GAP_TOOLS = "tools"  # counts of tool calls, and tiers beside the usage, may be missing or too low
GAP_LINES = "lines"  # of a batch's output: its sums are lower bounds
GAP_NAMES = "names"  # counts of unknown names were left out of the usage; all known ones are there
GAPS_ALL = (GAP_USAGE, GAP_TOOLS)

# Why it is missing.
UNREAD_TOO_LARGE = "too_large"
UNREAD_TOO_MANY = "too_many"  # elements, lines, names or nested values
UNREAD_CORRUPT = "corrupt"  # not compressed as it said
UNREAD_ENCODING = "unknown_encoding"  # compressed in a way that the gateway does not know
UNREAD_FAILED = "failed"  # a defect of the gateway: metrion_gateway_accounting_failures counts it


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Who numbered an event: a spool's id, its epoch (new at each start) and the number, from 1 without gaps."""

    spool: str
    epoch: int
    sequence: int


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """Who asked whom for what, and when: known before the provider is called, carried by both events of a request."""

    id: str  # UUIDv7 made by the gateway, canonical text
    account: str
    token: str  # the token's name, never the token; "" for open pass-through
    requester: str
    metadata: dict[str, str]
    provider: str  # anthropic, openai, gemini, mistral, grok
    dialect: str
    endpoint: str  # "POST /v1/chat/completions": method and upstream path without query; Gemini's model as {model}
    model: str  # as asked for; "" when the request names none
    stream: bool
    started_at: datetime  # aware, UTC
    gateway: str  # the gateway's name


class Estimate(msgspec.Struct, frozen=True, array_like=True):
    """Tokens that the gateway counted in a stream whose provider did not say: numbers, no content.

    None: it holds what is no text (images, audio, files, tools that the provider runs), or could not be read.
    """

    input: int | None = None  # of the request's prompt
    output: int | None = None  # of the answer, as far as it came
    sampled: bool = False  # one of them was too long to be counted whole, and is drawn up from a part


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """What the answer says about money and nothing else.

    `picks` are JSON objects in order of arrival that hold only the keys of services.gateway.usage.evidence.Pick.
    A JSON body gives one; a stream its first data line, each error line, and the first and last line with usage;
    a batch's output (JSON Lines) one per model, its usage added up, with "object": "batch.output".
    """

    picks: tuple[bytes, ...] = ()
    # Billable tool calls counted in the answer, by item type ("web_search_call.search"); "containers" that code ran in.
    tools: dict[str, int] = {}
    truncated: bool = False
    # What the request says about price: service_tier, speed, inference_geo, quality, size; characters (of a text to be
    # read out), annotated (pages), tools (JSON: type and model of hosted ones whose price depends on that), region (of
    # the upstream's host), stated_cost (the provider's usage.cost is its charge), model (of a form, when it stood
    # behind a file).
    request: dict[str, str] = {}
    headers: dict[str, str] = {}  # what the answer's headers say about price: x-gemini-service-tier
    estimate: Estimate | None = None  # None: usage is there, the answer is no stream, or counting is switched off
    # What is missing where `truncated` (GAP_*; () from a gateway that does not tell) and why (UNREAD_*).
    gaps: tuple[str, ...] = ()
    reason: str = ""
    interim: bool = False  # the last usage of a stream was stated before the answer was over: more may have followed


class RequestEvent(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """A request was accepted and is about to be sent upstream. Table request_events."""

    origin: Origin
    envelope: Envelope


class ResponseEvent(msgspec.Struct, frozen=True, array_like=True, tag="response"):
    """A request is over, well or badly. Table response_events."""

    origin: Origin
    envelope: Envelope
    status: int  # what the client was or would have been sent; 499 when it left before
    outcome: str
    error_type: str
    error_message: str  # at most 4 KB, credentials cut out
    provider_request_id: str
    latency_ms: int
    ttfb_ms: int | None  # None: no byte came from upstream
    request_bytes: int
    response_bytes: int  # as sent by upstream, encoded
    cache: str  # "", HIT, MISS, REFRESH
    drained: bool  # the client left and the gateway read the answer to its end
    upstream: bool  # the provider was connected to: False for refusals of our own, whose cost is 0
    evidence: Evidence


class GatewayBeat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """Every 10 s: how far an instance has numbered, so that a lost tail shows. Table gateways. Has no number itself."""

    spool: str
    epoch: int
    gateway: str
    at: datetime  # aware, UTC
    sequence: int  # the last number used
    dropped: int  # numbers used up by events that were dropped
    closing: bool
    pending_bytes: int


Event = RequestEvent | ResponseEvent | GatewayBeat

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)

FRAME = Layout("<II")  # length and CRC-32 of the bytes that follow


class BadFrame(ValueError):
    """Bytes that are no frame: cut short, or changed on the way."""


def decode(data: bytes | memoryview) -> Event:
    """One event from its MessagePack bytes; msgspec.MsgspecError when they are none."""
    return _decoder.decode(data)


def frame(data: bytes) -> bytes:
    """The header that goes before an event's bytes in a segment and in a message."""
    return FRAME.pack(len(data), zlib.crc32(data))


def frames(data: bytes) -> Iterator[bytes]:
    """The event bytes in a message or segment, in order; BadFrame at the first that is cut short or changed."""
    view, position = memoryview(data), 0
    while position < len(view):
        if position + FRAME.size > len(view):
            raise BadFrame(f"{len(view) - position} stray bytes at {position}")
        length, crc = FRAME.unpack_from(view, position)
        body = view[position + FRAME.size : position + FRAME.size + length]
        if len(body) != length or zlib.crc32(body) != crc:
            raise BadFrame(f"frame at {position} is cut short or changed")
        yield bytes(body)
        position += FRAME.size + length
