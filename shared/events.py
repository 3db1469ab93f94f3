"""Events from gateway to logger: their format, framing, subjects and streams.

Every Struct is MessagePack, array-like and append-only: fields are added at the end with a default, never removed or
moved, so old bytes stay readable (tests/unit/shared/test_events.py has samples of them).
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
DASHBOARD_BUCKET = "dashboard"  # users and their sessions
AUDIT_STREAM = "AUDIT"
AUDIT_SUBJECT = "metrion.audit"  # + "." + area
AUDIT_AREAS = (
    "account", "token", "key", "user", "session", "sql-user", "cache", "dead", "prices", "data", "limit", "alert",
    "api-key", "view",
)  # fmt: skip

# Outcomes of a request, as in metrion.requests.
COMPLETE = "complete"
CLIENT_CLOSED = "client_closed"
UPSTREAM_CLOSED = "upstream_closed"
TIMEOUT = "timeout"
UPSTREAM_ERROR = "upstream_error"
INTERRUPTED = "interrupted"

# Values of `cache`, for requests that asked for the cache.
HIT = "HIT"
MISS = "MISS"
REFRESH = "REFRESH"

SUBSCRIPTION = "subscription"  # value of `billing`

# Dialects: the wire format of an endpoint, whichever provider offers it. One module each in services/logger/usage.
ANTHROPIC = "anthropic"  # all Anthropic endpoints
OPENAI_CHAT = "openai_chat"  # …/completions of OpenAI, Gemini-compatible, Mistral and Grok
OPENAI_RESPONSES = "openai_responses"
OPENAI_OTHER = "openai_other"  # embeddings, images, audio, moderations, files, batches, models …
GEMINI = "gemini"  # the native API: generateContent, embedContent, countTokens …
OPENAI_REALTIME = "openai_realtime"  # conversations over a WebSocket, of OpenAI and Grok
GEMINI_LIVE = "gemini_live"  # the same of Gemini: BidiGenerateContent

# What is missing from truncated evidence.
GAP_USAGE = "usage"  # the last usage may be missing or outdated
GAP_TOOLS = "tools"  # counts of tool calls, and the service tier outside the usage, may be missing or too low
GAP_LINES = "lines"  # lines of a batch's output, so its sums are lower bounds
GAP_NAMES = "names"  # counts with unknown names were left out of the usage; all known ones are included
GAPS_ALL = (GAP_USAGE, GAP_TOOLS)

# Why evidence is missing.
UNREAD_TOO_LARGE = "too_large"
UNREAD_TOO_MANY = "too_many"  # too many elements, lines, names or nested values
UNREAD_CORRUPT = "corrupt"  # not compressed as declared, or no JSON
UNREAD_ENCODING = "unknown_encoding"  # a compression that the gateway does not support
UNREAD_FAILED = "failed"  # a bug in the gateway, counted by metrion_gateway_accounting_failures


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Origin and number of an event.

    A spool's id, its epoch (new at each start) and the sequence number, from 1 without gaps; 0 for an event that is not
    numbered.
    """

    spool: str
    epoch: int
    sequence: int


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a request before the upstream call; part of both its events."""

    id: str  # UUIDv7 made by the gateway, canonical text
    account: str
    token: str  # the token's name, never the token itself; "" for open pass-through
    requester: str
    metadata: dict[str, str]
    provider: str  # anthropic, openai, gemini, mistral, grok
    dialect: str
    endpoint: str  # "POST /v1/chat/completions": method and upstream path without query; Gemini's model as {model}
    model: str  # as requested; "" if the request names none
    stream: bool
    started_at: datetime  # aware, UTC
    gateway: str  # the gateway's name
    # What the client says of itself: headers that it sends without configuration, at most 256 bytes each.
    client: str = ""  # the User-Agent's first product
    client_version: str = ""
    session: str = ""
    agent: str = ""
    billing: str = ""  # SUBSCRIPTION if the provider gets the sign-in of one instead of an API key
    connection: str = ""  # id of the WebSocket connection that the response came over; "" for plain HTTP
    turn: str = ""  # the client's own id of the user's turn, else `id` if the request begins one; "" if it begins none


class Estimate(msgspec.Struct, frozen=True, array_like=True):
    """The gateway's token count for a stream without usage: numbers, no content.

    None: it contains non-text content (images, audio, files, hosted tools), or could not be read.
    """

    input: int | None = None  # tokens of the prompt
    output: int | None = None  # tokens of the response, as far as it was received
    sampled: bool = False  # a text was too long to be counted whole and was extrapolated from a part


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """The parts of a response that determine its cost, and nothing else.

    `picks` are JSON objects in order of arrival, reduced to the keys of services.gateway.usage.evidence.Pick.
    A JSON body yields one. A stream yields its first data line, each error line, and the first and last line with
    usage. A batch's output (JSON Lines) yields one per model with summed usage and "object": "batch.output".
    """

    picks: tuple[bytes, ...] = ()
    # Billable tool calls in the response, by item type ("web_search_call.search"); "containers" counts code containers.
    tools: dict[str, int] = {}
    truncated: bool = False
    # Request fields that affect the price: service_tier, speed, inference_geo, quality, size; characters (length of
    # the text to speak), annotated (OCR pages), tools (JSON: type and model of hosted tools, where the price depends
    # on them), region (of the upstream's host), stated_cost (the provider's usage.cost is its charge), model (of a
    # multipart form, if it came after a file).
    request: dict[str, str] = {}
    headers: dict[str, str] = {}  # response headers that affect the price: x-gemini-service-tier
    estimate: Estimate | None = None  # None: usage is present, the response is no stream, or counting is off
    # If `truncated`: what is missing (GAP_*; () from older gateways) and why (UNREAD_*).
    gaps: tuple[str, ...] = ()
    reason: str = ""
    interim: bool = False  # the last usage of a stream was stated before its end: more may have followed


class RequestEvent(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """A request was accepted and is about to be sent upstream. Table request_events."""

    origin: Origin
    envelope: Envelope


class ResponseEvent(msgspec.Struct, frozen=True, array_like=True, tag="response"):
    """A request has finished, successfully or not. Table response_events."""

    origin: Origin
    envelope: Envelope
    status: int  # sent to the client, or what would have been; 499 if it left earlier
    outcome: str
    error_type: str
    error_message: str  # at most 4 KB, credentials removed
    provider_request_id: str
    latency_ms: int
    ttfb_ms: int | None  # None: no byte arrived from upstream
    request_bytes: int
    response_bytes: int  # as sent by upstream, encoded
    cache: str  # "", HIT, MISS, REFRESH
    drained: bool  # the client left and the gateway read the response to its end
    upstream: bool  # whether the gateway connected to the provider; False: it refused the request, so the cost is 0
    evidence: Evidence
    traceparent: str = ""  # the caller's W3C trace context: validated, 55 characters
    server: str = ""  # the provider's host, and its port unless that is 443: api.openai.com, localhost:11434
    imported: bool = False  # from telemetry that a client sent of a request which did not pass the gateway; no number


class GatewayBeat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """Heartbeat of a gateway every 10 s. Table gateways.

    It reports the last sequence number, so that lost events are noticed; it has no number itself.
    """

    spool: str
    epoch: int
    gateway: str
    at: datetime  # aware, UTC
    sequence: int  # the last number used
    dropped: int  # numbers of events that were dropped
    closing: bool
    pending_bytes: int


Event = RequestEvent | ResponseEvent | GatewayBeat

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)

FRAME = Layout("<II")  # length and CRC-32 of the bytes that follow


class BadFrame(ValueError):
    """Bytes that are not a valid frame: truncated or corrupt."""


def decode(data: bytes | memoryview) -> Event:
    """Decode an event from MessagePack; raises msgspec.MsgspecError."""
    return _decoder.decode(data)


def frame(data: bytes) -> bytes:
    """The frame header that precedes an event's bytes in a segment or message."""
    return FRAME.pack(len(data), zlib.crc32(data))


def frames(data: bytes) -> Iterator[bytes]:
    """The events' bytes in a message or segment; BadFrame at the first invalid frame."""
    view = memoryview(data)
    position = 0
    while position < len(view):
        if position + FRAME.size > len(view):
            raise BadFrame(f"{len(view) - position} stray bytes at {position}")
        length, crc = FRAME.unpack_from(view, position)
        body = view[position + FRAME.size : position + FRAME.size + length]
        if len(body) != length or zlib.crc32(body) != crc:
            raise BadFrame(f"frame at {position} is truncated or corrupt")
        yield bytes(body)
        position += FRAME.size + length
