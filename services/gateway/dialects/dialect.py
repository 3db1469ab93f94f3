"""The Dialect record: everything the gateway knows about a wire format.

One module of this folder holds one record, and `dialects.DIALECTS` lists them. The mirror image of such a module, which
turns the picked usage into canonical counts, is `services/logger/usage/<dialect>.py`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from services.gateway.dialects.json_objects import Object

Texts = Iterator[tuple[str, str]]  # (place in the response, text): pieces of one place make one text


class Overhead(NamedTuple):
    """Tokens that a provider counts beside the texts.

    `scale`: how much finer than OpenAI's models its models cut a text.
    """

    message: int
    prompt: int
    call: int
    scale: float = 1.0


class Variant(NamedTuple):
    """What a converted response depends on beside its dialect."""

    include_usage: bool = False  # the client asked an OpenAI-style stream for its usage
    usage_on_last_choice: bool = False  # the provider states usage on the last chunk with choices, unasked
    indexed_tool_calls: bool = False  # the provider's documents number their tool calls


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """The two formats of a response, document and stream, and how each ends normally."""

    endpoints: tuple[str, ...]  # how their paths end
    is_finished: Callable[[Object], bool]
    is_stream_finished: Callable[[list[bytes]], bool]
    to_stream: Callable[[bytes, Object, Variant], bytes]
    to_document: Callable[[list[bytes], Variant], bytes]
    # For a dialect that can stream as one JSON array, too.
    to_array: Callable[[list[bytes]], bytes] | None = None
    from_array: Callable[[bytes], bytes] | None = None


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One wire format."""

    name: str  # as in events and in the column `dialect`
    api: str  # the API that speaks it (shared.providers): providers of that API use this dialect
    path: re.Pattern[str] | None = None  # the paths that speak it; None: all that no other dialect of the API claims

    # Streams: how they end, and which events bear on money. Marks are searched as bytes.
    terminal_types: frozenset[str] = frozenset()  # `type` of the event that ends a stream
    has_end: bool = False  # a stream has such an event, or [DONE]
    may_omit_end: bool = False  # compatible servers may leave it out after a finish reason and usage
    usage_marks: tuple[bytes, ...] = ()
    null_usage: bool = False  # chunks may have `"usage":null`: only another value counts
    event_marks: tuple[bytes, ...]  # of events that say more than usage
    marks_beside_usage: tuple[bytes, ...] = ()  # of what matters only in events with usage
    finish_reason_before_usage: bool = False  # the finish reason may stand in an earlier event than usage
    response_mark: re.Pattern[bytes] | None = None  # a response has begun that needs a finish reason
    can_ask_usage: bool = False  # takes stream_options.include_usage

    # Evidence: which keys are picked out of a response.
    usage_names: tuple[str, ...] = ()  # counts that prices may rest on

    # Counting tokens: where the text stands. None: tokens are not counted.
    overhead: Overhead | None = None
    request_text: Callable[[Object], Iterator[str]] | None = None
    response_text: Callable[[Object], Texts] | None = None

    # Requests: parameters and places that name a model.
    ignored_parameters: frozenset[str] = frozenset()  # do not change the response that a cache may give
    output_maxima: tuple[str, ...] = ()  # state the most tokens of a response
    maxima_in: str = ""  # the object in the request that holds them; "": the request itself
    prompt_is_stored: bool = False  # a top-level `prompt` refers to a stored one, which names a model of its own
    stream_path: str = ""  # how the path of a stream ends, where the path and not the body asks for it
    document_path: str = ""  # how the same path ends for a document

    # Cached responses.
    conversion: Conversion | None = None
    document_only: Mapping[str, str] = {}  # path ending → the key that holds the result, of endpoints without streams
    event_stream_type: str = "text/event-stream; charset=utf-8"
    document_type: str = "application/json"

    # Headers of responses that state rate limits: `part` is limit, remaining or reset, `measure` requests or tokens.
    limit_header: str = "x-ratelimit-{part}-{measure}"
    limit_reset_is_time: bool = False  # the reset is a time, as in RFC 3339, and not a duration such as 12s
