"""Spellings of a request path that servers read differently, with what the path means after decoding once."""

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
Change = Literal[
    "plain", "escaped_unreserved", "escaped_reserved", "double_escaped", "dots", "slashes", "tail", "suffix"
]


@dataclass(frozen=True)
class PathSample:
    """A request target's path as it is sent, and its reading.

    `same`: RFC 3986 section 6.2.2 makes both the same path, so they must be treated the same. Otherwise a gateway may
    refuse it (400), or treat it as `plain` or as a path of its own, but never with the rights or the price of another.
    """

    raw: str
    plain: str  # the canonical path this was made from
    same: bool
    change: Change


def _escape(letter: str, *, lower: bool) -> str:
    code = f"%{ord(letter):02x}"
    return code if lower else code.upper()


@st.composite
def path_samples(draw: DrawFn, paths: SearchStrategy[str] | str) -> PathSample:
    """A canonical path such as /v1/chat/completions (no escapes, no trailing slash), spelled in another way."""
    plain = draw(paths) if isinstance(paths, SearchStrategy) else paths
    change = draw(st.sampled_from(sorted(_CHANGES)))
    raw = _CHANGES[change](draw, plain)
    return PathSample(raw, plain, raw == plain or change == "escaped_unreserved", change)


def _plain(draw: DrawFn, path: str) -> str:
    return path


def _escaped_unreserved(draw: DrawFn, path: str) -> str:
    """Some letters percent-encoded: equivalent by RFC 3986."""
    places = [at for at, letter in enumerate(path) if letter in UNRESERVED]
    chosen = draw(st.sets(st.sampled_from(places), min_size=1, max_size=5)) if places else set()
    lower = draw(st.booleans())
    return "".join(_escape(letter, lower=lower) if at in chosen else letter for at, letter in enumerate(path))


def _escaped_reserved(draw: DrawFn, path: str) -> str:
    """A slash or colon percent-encoded: other segments by RFC 3986, the same ones to many servers."""
    places = [at for at, letter in enumerate(path) if letter in "/:" and at]
    if not places:
        return path + "%2f"
    at = draw(st.sampled_from(places))
    return path[:at] + _escape(path[at], lower=draw(st.booleans())) + path[at + 1 :]


def _double_escaped(draw: DrawFn, path: str) -> str:
    """A letter percent-encoded twice: decoding once leaves an escape, decoding twice another path."""
    at = draw(st.integers(1, len(path) - 1))
    return path[:at] + "%25" + f"{ord(path[at]):02x}" + path[at + 1 :]


DOTS = ("..", ".", "%2e%2e", ".%2e", "%2E.", "%2e", "..;", "..;x=1", "%2e%2e;", "...", "..%00", "..%09")
SLASHES = ("/", "%2f", "%2F", "\\", "%5c", "%5C", "//", "/\\", "%252f")


def _dots(draw: DrawFn, path: str) -> str:
    """A dot segment, in one of its spellings, after another segment."""
    cuts = [at for at, letter in enumerate(path) if letter == "/"]
    at = draw(st.sampled_from(cuts))
    before, after = draw(st.sampled_from(SLASHES)), draw(st.sampled_from(SLASHES))
    segment = draw(st.sampled_from(("", "x", "files", "models")))
    return (
        path[:at] + (f"/{segment}" if segment else "") + before + draw(st.sampled_from(DOTS)) + after + path[at + 1 :]
    )


def _slashes(draw: DrawFn, path: str) -> str:
    """A slash written otherwise: doubled, backslash, escaped."""
    cuts = [at for at, letter in enumerate(path) if letter == "/"]
    at = draw(st.sampled_from(cuts))
    return path[:at] + draw(st.sampled_from(("//", "\\", "/\\", "%5c", "///", "/./"))) + path[at + 1 :]


def _tail(draw: DrawFn, path: str) -> str:
    """What follows the last segment and is often cut off: slashes, spaces, NUL, parameters."""
    return path + draw(
        st.sampled_from(("/", "//", "/.", "%20", "%00", "%0a", ";", ";v=1", "%3b", ".json", "%23", "#", "%3f"))
    )


def _suffix(draw: DrawFn, path: str) -> str:
    """Another endpoint's name behind a delimiter: a rule that looks at the end of a path takes it for that one."""
    delimiter = draw(st.sampled_from(("#", ";", "%23", "%3b", "%3f", "\\", "%5c", "%00", "/")))
    return path + delimiter + draw(st.sampled_from(("/files", "/moderations", "/models", "files", "count_tokens")))


_CHANGES: dict[Change, Callable[[DrawFn, str], str]] = {
    "plain": _plain,
    "escaped_unreserved": _escaped_unreserved,
    "escaped_reserved": _escaped_reserved,
    "double_escaped": _double_escaped,
    "dots": _dots,
    "slashes": _slashes,
    "tail": _tail,
    "suffix": _suffix,
}
