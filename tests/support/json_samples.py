"""JSON bodies as real clients and servers write them, strict or not, with the fields a lenient reader finds."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import brotli
import zstandard
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

TRAITS = frozenset(
    {
        "compressed",  # Content-Encoding, also twice, several gzip members, raw deflate
        "constants",  # NaN, Infinity, -Infinity
        "content_type",  # other than application/json
        "control",  # raw control characters within strings
        "deep",  # 1,000 to 20,000 levels in a member that nobody needs
        "duplicate_keys",  # a field twice; the last one counts
        "encoding",  # BOM, UTF-16, UTF-32
        "escaped_names",  # "mo\u0064el"
        "invalid_utf8",  # bytes that are no UTF-8, in a string that nobody needs
        "long_number",  # 5,000 digits: Python's int() refuses those
        "lone_surrogate",  # "\ud83d" in a value or a name
        "spaces",  # whitespace wherever it is allowed
    }
)
CONTENT_TYPES = (
    "Application/JSON",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-16",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "application/vnd.api+json",
    "text/plain",
    "",  # no header at all
)
ENCODINGS: Mapping[str, tuple[bytes, str]] = {
    "utf-8 with BOM": (b"\xef\xbb\xbf", "utf-8"),
    "utf-16le with BOM": (b"\xff\xfe", "utf-16-le"),
    "utf-16be with BOM": (b"\xfe\xff", "utf-16-be"),
    "utf-16le": (b"", "utf-16-le"),
    "utf-16be": (b"", "utf-16-be"),
    "utf-32le with BOM": (b"\xff\xfe\x00\x00", "utf-32-le"),
    "utf-32be with BOM": (b"\x00\x00\xfe\xff", "utf-32-be"),
    "utf-32le": (b"", "utf-32-le"),
    "utf-32be": (b"", "utf-32-be"),
}


@dataclass(frozen=True)
class JsonSample:
    """One body and what a lenient reader gets: of a name that stands twice the last value, as most parsers do."""

    body: bytes
    fields: Mapping[str, Any]
    values: Mapping[str, tuple[Any, ...]]  # every value of each field, in order; several only for duplicate keys
    content_type: str  # "" for none
    content_encoding: str  # "" for none
    traits: frozenset[str]
    text: str  # what `body` encodes; invalid UTF-8 as lone surrogates U+DC80 to U+DCFF

    @property
    def headers(self) -> dict[str, str]:
        """Content-Type and Content-Encoding, those that are set."""
        named = {"Content-Type": self.content_type, "Content-Encoding": self.content_encoding}
        return {name: value for name, value in named.items() if value}


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _two_members(data: bytes) -> bytes:
    middle = len(data) // 2
    return gzip.compress(data[:middle]) + gzip.compress(data[middle:])


COMPRESSIONS: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "gzip members": ("gzip", _two_members),
    "gzip twice": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "identity": ("identity", bytes),
}

_plain_text = st.text(st.characters(codec="utf-8"), max_size=8)
plain_values: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_plain_text, inner, max_size=3),
    max_leaves=6,
)
model_names = st.from_regex(re.compile(r"[a-z][a-z0-9.-]{0,20}", re.ASCII), fullmatch=True)
request_fields: SearchStrategy[Mapping[str, Any]] = st.fixed_dictionaries(
    {"model": model_names}, optional={"stream": st.booleans()}
)


@st.composite
def json_samples(
    draw: DrawFn,
    fields: SearchStrategy[Mapping[str, Any]] | Mapping[str, Any] = request_fields,
    *,
    without: Collection[str] = (),
    at_least: Collection[str] = (),
) -> JsonSample:
    """An object that holds `fields` at its top level among other members, written with some of TRAITS.

    `without`: traits that are never drawn; `at_least`: traits that always are.
    """
    wanted = draw(fields) if isinstance(fields, SearchStrategy) else fields
    available = sorted(TRAITS - set(without))
    traits = draw(st.sets(st.sampled_from(available), max_size=4)) if available else set()
    traits |= set(at_least)
    if "encoding" in traits:
        traits.discard("invalid_utf8")
    members = [(name, json.dumps(value, ensure_ascii=draw(st.booleans()))) for name, value in wanted.items()]
    noise = [
        (f"x-{name}", json.dumps(value))
        for name, value in draw(st.dictionaries(_plain_text, plain_values, max_size=2)).items()
    ]
    members = draw(st.permutations(members + noise + _noise_of(draw, traits)))
    values: dict[str, tuple[Any, ...]] = {name: (value,) for name, value in wanted.items()}
    if "duplicate_keys" in traits and wanted:
        name = draw(st.sampled_from(sorted(wanted)))
        earlier = draw(model_names | st.booleans() | st.none())
        members = [(name, json.dumps(earlier)), *members]
        values[name] = (earlier, wanted[name])
    text = _written(draw, members, traits)
    body = _encoded(draw, text, traits)
    encoding = ""
    pack: Callable[[bytes], bytes] = bytes
    if "compressed" in traits:
        encoding, pack = COMPRESSIONS[draw(st.sampled_from(sorted(COMPRESSIONS)))]
    content_type = draw(st.sampled_from(CONTENT_TYPES)) if "content_type" in traits else "application/json"
    return JsonSample(pack(body), dict(wanted), values, content_type, encoding, frozenset(traits), text)


def _noise_of(draw: DrawFn, traits: Collection[str]) -> list[tuple[str, str]]:
    """Members that carry a trait and nothing else."""
    found = []
    if "constants" in traits:
        found.append(("temperature", draw(st.sampled_from(("NaN", "Infinity", "-Infinity")))))
    if "lone_surrogate" in traits:
        half = draw(st.sampled_from(("\\ud83d", "\\udc00", "\\ud83d\\ud83d", "\\uDBFF x")))
        found.append(
            draw(st.sampled_from((("user", f'"{half}"'), (half, "1"), ("messages", f'[{{"content": "{half}"}}]'))))
        )
    if "control" in traits:
        found.append(("note", f'"a{draw(st.sampled_from((chr(1), chr(9), chr(10), chr(13), chr(31), chr(127))))}b"'))
    if "long_number" in traits:
        found.append(("seed", draw(st.sampled_from(("9" * 5000, "-" + "1" * 5000, "1e999", "0." + "3" * 5000)))))
    if "invalid_utf8" in traits:
        found.append(
            (
                "author",
                '"'
                + draw(st.sampled_from((b"\xff", b"\xe4", b"\xc3", b"\xed\xa0\xbd"))).decode("utf-8", "surrogateescape")
                + '"',
            )
        )
    if "deep" in traits:
        levels = draw(st.sampled_from((500, 990, 1000, 1100, 5000, 20000)))
        opening, closing = draw(st.sampled_from((("[", "]"), ('{"a":', "}"))))
        found.append(("input", opening * levels + "1" + closing * levels))
    return found


def _written(draw: DrawFn, members: list[tuple[str, str]], traits: Collection[str]) -> str:
    spaces = st.sampled_from(("", " ", "\n", "\t \r\n"))

    def gap() -> str:
        return draw(spaces) if "spaces" in traits else ""

    parts = []
    for name, value in members:
        if "escaped_names" in traits and "\\" not in name:
            chosen = draw(st.sets(st.integers(0, max(len(name) - 1, 0)), max_size=3))
            name = "".join(
                f"\\u{ord(letter):04x}" if at in chosen and ord(letter) < 0x10000 else _quoted(letter)
                for at, letter in enumerate(name)
            )
        elif "\\" not in name or name.startswith("x-"):
            name = "".join(_quoted(letter) for letter in name)
        parts.append(f'{gap()}"{name}"{gap()}:{gap()}{value}{gap()}')
    return gap() + "{" + ",".join(parts) + "}" + gap()


def _quoted(letter: str) -> str:
    return json.dumps(letter, ensure_ascii=False)[1:-1]


def _encoded(draw: DrawFn, text: str, traits: Collection[str]) -> bytes:
    if "encoding" in traits:
        mark, codec = ENCODINGS[draw(st.sampled_from(sorted(ENCODINGS)))]
        return mark + text.encode(codec)
    return text.encode("utf-8", "surrogateescape")
