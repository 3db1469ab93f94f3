"""Sets of request headers as clients send them, with what may be forwarded and what a text in them means."""

from dataclasses import dataclass
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

# Names that HTTP allows once and clients send twice all the same.
SINGLETONS = ("User-Agent", "Content-Type", "Accept", "Authorization", "ETag", "Referer", "Content-Encoding")
HARMLESS = ("User-Agent", "Accept", "X-Request-Id", "X-Stainless-Lang", "Accept-Language", "OpenAI-Beta")


@dataclass(frozen=True)
class HeaderSample:
    """Headers in wire order. `passed`: lower-case names that a proxy may forward; `dropped`: those it must not."""

    items: tuple[tuple[bytes, bytes], ...]
    passed: frozenset[str]
    dropped: frozenset[str]
    repeated: frozenset[str]  # lower-case names that come several times

    @property
    def wire(self) -> bytes:
        """The header lines, each with its CRLF."""
        return b"".join(name + b": " + value + b"\r\n" for name, value in self.items)


@dataclass(frozen=True)
class TextSample:
    """Text in a header value: the bytes that were sent and what was meant. `form` names the convention."""

    wire: bytes
    text: str
    form: str


_words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="%"),
    min_size=1,
    max_size=24,
).filter(lambda text: text == text.strip() and not text.isspace())
_latin_words = st.text(st.characters(min_codepoint=0xC0, max_codepoint=0xFF), min_size=1, max_size=8)


@st.composite
def header_texts(draw: DrawFn) -> TextSample:
    """A person's name in a header: ASCII, UTF-8, Latin-1 as fetch() and Node send it, percent-encoded, RFC 8187."""
    form = draw(st.sampled_from(("ascii", "latin-1", "percent", "rfc8187", "utf-8")))
    if form == "latin-1":
        text = "Jos" + draw(_latin_words) + " B"  # no valid UTF-8: a byte above 0xBF must be followed by one below
        return TextSample(text.encode("latin-1"), text, form)
    text = draw(_words)
    if form == "ascii":
        text = text.encode("ascii", "ignore").decode().strip() or "ann"
    if form == "percent":
        return TextSample(quote(text, safe="").encode(), text, form)
    if form == "rfc8187":
        return TextSample(b"UTF-8''" + quote(text, safe="").encode(), text, form)
    return TextSample(text.encode(), text, form)


@st.composite
def header_samples(draw: DrawFn) -> HeaderSample:
    """Harmless headers, some of them repeated, some named by Connection, some with bytes beyond ASCII."""
    items: list[tuple[bytes, bytes]] = []
    names = draw(st.lists(st.sampled_from(HARMLESS), unique=True, min_size=1, max_size=4))
    repeated: set[str] = set()
    for name in names:
        spelled = draw(st.sampled_from((name, name.lower(), name.upper()))).encode()
        value = draw(st.sampled_from((b"a/1.0", b"", b"x y", b"caf\xe9", "café".encode(), b"a,b", b"*/*")))
        items.append((spelled, value))
        if draw(st.integers(0, 3)) == 0:
            repeated.add(name.lower())
            items.append((spelled, draw(st.sampled_from((value, b"b/2.0")))))
    dropped: set[str] = set()
    if draw(st.booleans()):
        options = draw(
            st.lists(st.sampled_from(("X-Hop", "x-secret-hop", "Keep-Alive", "close", "TE")), min_size=1, unique=True)
        )
        separator = draw(st.sampled_from((b",", b", ", b" ,\t", b", ,")))
        items.append((b"Connection", separator.join(option.encode() for option in options)))
        for option in options:
            if option != "close":
                items.append((option.encode(), b"1" if option != "TE" else b"trailers"))
                dropped.add(option.lower())
    ordered = draw(st.permutations(items))
    return HeaderSample(
        tuple(ordered),
        frozenset(name.lower() for name in names),
        frozenset(dropped | {"connection"}),
        frozenset(repeated),
    )
