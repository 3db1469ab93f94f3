"""A whole answer in, the same in its other form out, or whether it ended well enough to be kept: one module a dialect.

An answer has two forms: a document, which is one JSON object, and a stream, which is server-sent events. Gemini has a
third, a stream as one JSON array; `to_array` and `from_array` take it from and to events.
"""

from collections.abc import Callable

from services.gateway.cache.convert import anthropic, gemini, openai_chat, openai_responses, shape
from services.gateway.cache.convert.shape import Object, Unconvertible
from services.gateway.parsing import sse
from services.gateway.parsing.sse import events
from shared.events import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_OTHER, OPENAI_RESPONSES

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

_ENDED: dict[str, Callable[[Object], bool]] = {
    ANTHROPIC: anthropic.ended,
    OPENAI_CHAT: openai_chat.ended,
    OPENAI_RESPONSES: openai_responses.ended,
    GEMINI: gemini.ended,
}
_STREAM_ENDED: dict[str, Callable[[list[bytes]], bool]] = {
    ANTHROPIC: anthropic.stream_ended,
    OPENAI_CHAT: openai_chat.stream_ended,
    OPENAI_RESPONSES: openai_responses.stream_ended,
    GEMINI: gemini.stream_ended,
}
# What odd JSON raises beside Unconvertible: a list where a name should be, nesting beyond reason.
_ODD = (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, UnicodeError)

# Endpoints whose answers are known here, by how their path ends: those with two forms, and those with one.
_TWO_FORMS = {
    ANTHROPIC: ("/messages",),
    OPENAI_CHAT: ("/completions",),
    OPENAI_RESPONSES: ("/responses",),
    GEMINI: (":generateContent", ":streamGenerateContent"),
}
# The key under which such an answer lists or holds its vectors.
_ONE_FORM = {
    OPENAI_OTHER: {"/embeddings": "data"},
    GEMINI: {":embedContent": "embedding", ":batchEmbedContents": "embeddings"},
}

# Providers of chat completions whose usage rides on the last chunk that has choices, asked for or not.
_RIDING_USAGE = frozenset({"mistral", "gemini"})


def known(dialect: str, endpoint: str) -> bool:
    """Whether good answers of this endpoint, or path, can be told from others: none of another is ever storable."""
    return _has_two_forms(dialect, endpoint) or endpoint.endswith(tuple(_ONE_FORM.get(dialect, ())))


def storable(dialect: str, endpoint: str, body: bytes, *, stream: bool) -> bool:
    """Whether an answer that arrived whole ended normally: no error inside, every choice finished by the model itself,
    not by a length, a filter or a pause. `stream`: it came as a stream; of Gemini as events or as an array.

    Never raises. What is not known to be good is not: another endpoint, another reason to finish.
    """
    try:
        if not stream:
            return _document_ended(dialect, endpoint, shape.decode(body))
        datas = sse.datas(_as_events(dialect, body))
        return _has_two_forms(dialect, endpoint) and bool(datas) and _STREAM_ENDED[dialect](datas)
    except (Unconvertible, *_ODD):
        return False


def to_stream(dialect: str, endpoint: str, document: bytes, *, usage: bool, provider: str = "") -> bytes:
    """A non-stream answer as the events its provider would have streamed, each text and each tool call in one delta.

    `usage`: an OpenAI-style client asked for include_usage. `provider`: its name, for what chat completions differ in.
    """
    found = shape.decode(document)
    if not _has_two_forms(dialect, endpoint) or shape.failed(found):
        raise Unconvertible(f"no answer of {endpoint} that could be a stream")
    try:
        if dialect == ANTHROPIC:
            return anthropic.to_stream(found)
        if dialect == OPENAI_RESPONSES:
            return openai_responses.to_stream(found)
        if dialect == GEMINI:
            return gemini.to_stream(document)
        return openai_chat.to_stream(found, usage=usage, rides=provider in _RIDING_USAGE)
    except _ODD as error:
        raise Unconvertible(f"an odd answer: {error}") from error


def to_document(dialect: str, endpoint: str, events: bytes, *, provider: str = "") -> bytes:
    """A stream's events (Gemini's array too) as the one JSON answer.

    A chat completion's stream must have its usage, whether the client asked for it or not: no answer is without.
    """
    datas = sse.datas(_as_events(dialect, events))
    if not datas or not _has_two_forms(dialect, endpoint):
        raise Unconvertible(f"no stream of {endpoint}")
    try:
        if dialect == ANTHROPIC:
            return anthropic.to_document(datas)
        if dialect == OPENAI_RESPONSES:
            return openai_responses.to_document(datas)
        if dialect == GEMINI:
            return gemini.to_document(datas)
        return openai_chat.to_document(datas, indexed=provider == "mistral")
    except _ODD as error:
        raise Unconvertible(f"an odd stream: {error}") from error


def to_array(events: bytes) -> bytes:
    """Gemini's stream as the JSON array of its chunks, for a client that did not say alt=sse."""
    return gemini.to_array(sse.datas(events))


def from_array(array: bytes) -> bytes:
    """Gemini's JSON array of chunks as a stream of events."""
    return gemini.from_array(array)


def media_type(dialect: str, *, stream: bool, array: bool = False) -> str:
    """The Content-Type of a form. `array`: Gemini's stream as one JSON array."""
    if stream and not array:
        return "text/event-stream" if dialect == GEMINI else "text/event-stream; charset=utf-8"
    return "application/json; charset=UTF-8" if dialect == GEMINI else "application/json"


def _has_two_forms(dialect: str, endpoint: str) -> bool:
    return endpoint.endswith(_TWO_FORMS.get(dialect, ()))


def _document_ended(dialect: str, endpoint: str, document: Object) -> bool:
    if shape.failed(document):
        return False
    if _has_two_forms(dialect, endpoint):
        return _ENDED[dialect](document)
    one_form = _ONE_FORM.get(dialect, {})
    return any(endpoint.endswith(ending) and bool(document.get(key)) for ending, key in one_form.items())


def _as_events(dialect: str, stream: bytes) -> bytes:
    """Gemini's array as events; no event begins like one."""
    return gemini.from_array(stream) if dialect == GEMINI and stream.lstrip()[:1] == b"[" else stream
