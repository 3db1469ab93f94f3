"""Event streams in every form the standard allows, with their events as a browser would dispatch them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

LINE_ENDS = ("\n", "\r\n", "\r")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class SseEvent:
    """One dispatched event. `event` is "" where the stream names none (a browser calls it "message")."""

    data: str
    event: str = ""


@dataclass(frozen=True)
class SseSample:
    """A stream and what a conforming reader dispatches; `chunks` are its bytes, cut anywhere."""

    body: bytes
    chunks: tuple[bytes, ...]
    events: tuple[SseEvent, ...]
    unfinished: SseEvent | None  # an event without its blank line: the standard drops it, a lenient reader may take it
    last_id: str


def parse(body: bytes) -> list[SseEvent]:
    """Read a whole stream by the standard (WHATWG HTML 9.2.6), slowly: the oracle for readers that read in pieces."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    events: list[SseEvent] = []
    data: list[str] = []
    event = ""
    for line in _LINE_END.split(text)[:-1]:  # what follows the last line end is no line yet
        name, colon, value = line.partition(":")
        value = value.removeprefix(" ") if colon else ""
        if not line:
            if data:
                events.append(SseEvent("\n".join(data), event))
            data, event = [], ""
        elif name == "data":
            data.append(value)
        elif name == "event":
            event = value
    return events


@st.composite
def chunked(draw: DrawFn, body: bytes, *, most: int = 8) -> tuple[bytes, ...]:
    """The bytes in up to `most` pieces, cut anywhere (within a character, between CR and LF), none of them empty."""
    if len(body) < 2:
        return (body,) if body else ()
    cuts = sorted(draw(st.sets(st.integers(1, len(body) - 1), max_size=most - 1)))
    return tuple(body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True))


_words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff"), max_size=12)
plain_data = st.lists(_words, min_size=1, max_size=3).map("\n".join)
_comments = st.builds(lambda text: ":" + text, _words)
_other_fields = st.one_of(
    _comments,
    st.just("retry: 3000"),
    st.just("retry:x"),
    st.just("unknown: 1"),
    st.just("unknown"),
    st.just(" data: indented, so another field"),
    st.just("Data: other letters, so another field"),
)


@st.composite
def sse_samples(
    draw: DrawFn,
    data: SearchStrategy[str] | Sequence[str] = plain_data,
    *,
    names: SearchStrategy[str] | None = None,
    most: int = 6,
) -> SseSample:
    """A stream whose events carry `data`: text drawn for each, or a fixed sequence, in order (JSON may hold "\\n").

    Each line of a text is a `data:` line of its own. `names`: what `event:` fields say.
    """
    texts = list(data) if not isinstance(data, SearchStrategy) else draw(st.lists(data, max_size=most))
    one_end = draw(st.sampled_from((*LINE_ENDS, None)))  # None: another for each line
    lines: list[str] = []
    events: list[SseEvent] = []
    last_id = ""
    for text in texts:
        name = draw(st.just("") | names) if names is not None else ""
        fields, identifier = _fields(draw, text, name)
        last_id = identifier if identifier is not None else last_id
        lines += [*fields, ""]
        events.append(SseEvent(text, name))
        if draw(st.integers(0, 4)) == 0:
            lines += draw(st.sampled_from(([""], ["event: nothing", ""], [": alive", ""], ["id", ""])))
            last_id = "" if lines[-2:] == ["id", ""] else last_id
    unfinished = None
    if events and lines[-2].startswith("data") and draw(st.integers(0, 4)) == 0:
        lines.pop()
        unfinished = events.pop()
    body = _joined(draw, lines, one_end).encode()
    if draw(st.integers(0, 3)) == 0:
        body = b"\xef\xbb\xbf" + body
    return SseSample(body, draw(chunked(body)), tuple(events), unfinished, last_id)


def _fields(draw: DrawFn, text: str, name: str) -> tuple[list[str], str | None]:
    """The lines of one event, and the id it sets."""
    lines = []
    for part in text.split("\n"):
        if not part and draw(st.booleans()):
            lines.append("data")  # a field without a colon has an empty value
        else:
            lines.append("data:" + (" " if part[:1] == " " or draw(st.booleans()) else "") + part)
    extra = draw(st.lists(_other_fields, max_size=2))
    at = draw(st.integers(0, len(lines)))
    lines[at:at] = extra
    identifier = draw(st.none() | st.sampled_from(("1", "", "ä")))
    if identifier is not None:
        lines.insert(0, f"id: {identifier}")
    if name:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(("event:", "event: "))) + name)
    return lines, identifier


def _joined(draw: DrawFn, lines: Sequence[str], one_end: str | None) -> str:
    """The lines with their ends. A blank line after CR must not be ended by LF: both would be one line end."""
    written = ""
    for line in lines:
        end = one_end or draw(st.sampled_from(LINE_ENDS))
        if not line and end == "\n" and written.endswith("\r"):
            end = "\r"
        written += line + end
    return written
