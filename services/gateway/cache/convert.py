"""Conversion of stored responses between document, stream and array.

A document is one JSON object, a stream is server-sent events, an array is how Gemini streams without alt=sse.
"""

from services.gateway.dialects import DIALECTS, json_objects
from services.gateway.dialects.dialect import Conversion, Variant
from services.gateway.dialects.json_objects import Object, Unconvertible
from services.gateway.parsing import sse
from services.gateway.parsing.sse import events
from shared.providers import BUILT_IN

__all__ = [
    "Unconvertible",
    "events",
    "from_array",
    "known",
    "media_type",
    "storable",
    "to_array",
    "to_document",
    "to_stream",
]

# What odd JSON raises beside Unconvertible: a list where a name should be, nesting beyond reason.
_ODD = (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, UnicodeError)


def known(dialect: str, endpoint: str) -> bool:
    """Whether responses of this endpoint may be stored at all.

    Those of an endpoint whose good responses cannot be told from others never are.
    """
    if _conversion(dialect, endpoint) is not None:
        return True
    record = DIALECTS.get(dialect)
    return record is not None and endpoint.endswith(tuple(record.document_only))


def storable(dialect: str, endpoint: str, body: bytes, *, stream: bool) -> bool:
    """Whether a response ended normally, every choice finished by the model itself.

    No error inside, no length, filter or pause. `stream`: it came as a stream; of Gemini as events or as an array.
    Never raises. What is not known to be good is not: another endpoint, another reason to finish.
    """
    try:
        if not stream:
            return _is_document_finished(dialect, endpoint, json_objects.decode(body))
        conversion = _conversion(dialect, endpoint)
        if conversion is None:
            return False
        datas = sse.datas(_as_events(conversion, body))
        return bool(datas) and conversion.is_stream_finished(datas)
    except (Unconvertible, *_ODD):
        return False


def to_stream(dialect: str, endpoint: str, document: bytes, *, usage: bool, provider: str = "") -> bytes:
    """A document as the events that its provider would have streamed.

    Each text and each tool call is in one delta. `usage`: an OpenAI-style client asked for include_usage. `provider`:
    its name, for what chat completions differ in.
    """
    found = json_objects.decode(document)
    conversion = _conversion(dialect, endpoint)
    if conversion is None or json_objects.failed(found):
        raise Unconvertible(f"no response of {endpoint} that could be a stream")
    try:
        return conversion.to_stream(document, found, _variant(provider, include_usage=usage))
    except _ODD as error:
        raise Unconvertible(f"an unexpected response: {error}") from error


def to_document(dialect: str, endpoint: str, events: bytes, *, provider: str = "") -> bytes:
    """A stream, or Gemini's array, as one JSON document.

    A chat completion's stream must have its usage, whether the client asked for it or not: no document is without.
    """
    conversion = _conversion(dialect, endpoint)
    datas = sse.datas(_as_events(conversion, events)) if conversion is not None else []
    if conversion is None or not datas:
        raise Unconvertible(f"no stream of {endpoint}")
    try:
        return conversion.to_document(datas, _variant(provider))
    except _ODD as error:
        raise Unconvertible(f"an unexpected stream: {error}") from error


def to_array(dialect: str, events: bytes) -> bytes:
    """A stream as one JSON array of chunks, for clients of Gemini without alt=sse."""
    conversion = DIALECTS[dialect].conversion
    if conversion is None or conversion.to_array is None:
        raise Unconvertible(f"{dialect} has no array")
    return conversion.to_array(sse.datas(events))


def from_array(dialect: str, array: bytes) -> bytes:
    """A JSON array of chunks as a stream of events."""
    conversion = DIALECTS[dialect].conversion
    if conversion is None or conversion.from_array is None:
        raise Unconvertible(f"{dialect} has no array")
    return conversion.from_array(array)


def media_type(dialect: str, *, stream: bool, array: bool = False) -> str:
    """The Content-Type of a converted response. `array`: a stream as one JSON array."""
    record = DIALECTS[dialect]
    return record.event_stream_type if stream and not array else record.document_type


def _conversion(dialect: str, endpoint: str) -> Conversion | None:
    """How responses of this endpoint are converted; None where they have one format only."""
    record = DIALECTS.get(dialect)
    conversion = record.conversion if record is not None else None
    return conversion if conversion is not None and endpoint.endswith(conversion.endpoints) else None


def _variant(provider: str, *, include_usage: bool = False) -> Variant:
    record = BUILT_IN.get(provider)
    if record is None:
        return Variant(include_usage=include_usage)
    return Variant(
        include_usage=include_usage,
        usage_on_last_choice=record.usage_on_last_choice,
        indexed_tool_calls=record.indexed_tool_calls,
    )


def _is_document_finished(dialect: str, endpoint: str, document: Object) -> bool:
    if json_objects.failed(document):
        return False
    if (conversion := _conversion(dialect, endpoint)) is not None:
        return conversion.is_finished(document)
    record = DIALECTS.get(dialect)
    results = record.document_only if record is not None else {}
    return any(endpoint.endswith(ending) and bool(document.get(key)) for ending, key in results.items())


def _as_events(conversion: Conversion, stream: bytes) -> bytes:
    """An array as events; no event begins like one."""
    is_array = conversion.from_array is not None and stream.lstrip()[:1] == b"["
    return conversion.from_array(stream) if is_array and conversion.from_array is not None else stream
