"""Multipart forms as clients write them, odd but readable, with the fields a lenient reader finds."""

import string
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.support.json_samples import model_names

TRAITS = frozenset(
    {
        "boundary",  # characters that must be quoted, 70 of them, or with spaces around
        "duplicates",  # a field twice
        "empty_filename",  # a field with filename=""
        "extended_name",  # name*=UTF-8''model
        "file_named",  # a file whose field has the name of a wanted one
        "lf",  # line ends of LF alone
        "odd_header",  # letter case, spaces, order, single quotes, unquoted names, further headers
        "preamble",  # text before the first and after the last delimiter
        "unclosed",  # the last delimiter is missing
        "values_like_delimiters",  # a file that holds what is almost a delimiter
    }
)


@dataclass(frozen=True)
class FormSample:
    """A form. `fields`: each name's values in order, as any server might read them, files with a wanted name among them.

    A reader that grants rights must be content with all of them, for servers differ in which one they take.
    """

    body: bytes
    content_type: str
    boundary: str
    fields: Mapping[str, tuple[str, ...]]
    traits: frozenset[str]


_NEEDS_QUOTES = frozenset(" '()+_,-./:=?") - frozenset("'+_-.")
_boundary_letters = string.ascii_letters + string.digits
_odd_boundaries = st.one_of(
    st.text(st.sampled_from(_boundary_letters + "'()+_,-./:=?"), min_size=1, max_size=70),
    st.just("a" * 70),
    st.just("--"),
    st.just("-"),
    st.just("a b"),
    st.just("=_Part=1"),
)
form_fields: SearchStrategy[Mapping[str, str]] = st.fixed_dictionaries({"model": model_names})
_boundaries = st.text(st.sampled_from(_boundary_letters), min_size=1, max_size=30)


@st.composite
def form_samples(
    draw: DrawFn,
    fields: SearchStrategy[Mapping[str, str]] | Mapping[str, str] = form_fields,
    *,
    without: Collection[str] = (),
    at_least: Collection[str] = (),
) -> FormSample:
    """A form that holds `fields` among files and others, written with some of TRAITS."""
    wanted = draw(fields) if isinstance(fields, SearchStrategy) else fields
    available = sorted(TRAITS - set(without))
    traits = (draw(st.sets(st.sampled_from(available), max_size=3)) if available else set()) | set(at_least)
    boundary = draw(_odd_boundaries if "boundary" in traits else _boundaries)
    end = b"\n" if "lf" in traits else b"\r\n"
    parts = [(name, value, _head(draw, name, traits, end=end)) for name, value in wanted.items()]
    if "duplicates" in traits and wanted:
        name = draw(st.sampled_from(sorted(wanted)))
        parts.append((name, draw(model_names), _head(draw, name, traits, end=end)))
    if "file_named" in traits and wanted:
        name = draw(st.sampled_from(sorted(wanted)))
        parts.append((name, draw(model_names), _disposition(name, end=end, filename="a.txt")))
    content = "RIFF" + "x" * draw(st.sampled_from((0, 10, 3000, 70000)))
    if "values_like_delimiters" in traits:
        content += f"--{boundary[:-1]}\r\n-{boundary}\n--{boundary[:-1]}--" if len(boundary) > 1 else "\r\n-"
    parts.append(("file", content, _disposition("file", end=end, filename="audio.wav")))
    parts = draw(st.permutations(parts))
    body = _assembled(draw, parts, boundary=boundary, end=end, traits=traits)
    found = {name: tuple(value for other, value, _ in parts if other == name) for name in wanted}
    return FormSample(body, _content_type(draw, boundary, traits), boundary, found, frozenset(traits))


def _assembled(
    draw: DrawFn, parts: list[tuple[str, str, bytes]], *, boundary: str, end: bytes, traits: Collection[str]
) -> bytes:
    delimiter = b"--" + boundary.encode()
    padding = draw(st.sampled_from((b"", b" ", b"\t"))) if "odd_header" in traits else b""
    body = b"This is a form." + end if "preamble" in traits else b""
    for _, value, head in parts:
        body += delimiter + padding + end + head + end + value.encode() + end
    if "unclosed" in traits:
        return body
    return body + delimiter + b"--" + end + (b"The end." if "preamble" in traits else b"")


def _head(draw: DrawFn, name: str, traits: Collection[str], *, end: bytes) -> bytes:
    """The headers of a field's part, each with its line end."""
    if "extended_name" in traits:
        spelled = draw(st.sampled_from((f"name*=UTF-8''{name}", f"name*=utf-8''%{ord(name[0]):02x}{name[1:]}")))
        return f"Content-Disposition: form-data; {spelled}".encode() + end
    if "empty_filename" in traits:
        return _disposition(name, end=end, filename="")
    if "odd_header" in traits:
        write: Callable[[str], str] = draw(st.sampled_from(_ODD_HEADS))
        return write(name).replace("\n", end.decode()).encode() + end
    return _disposition(name, end=end)


_ODD_HEADS: tuple[Callable[[str], str], ...] = (
    lambda name: f'content-disposition:form-data;name="{name}"',
    lambda name: f'CONTENT-DISPOSITION: FORM-DATA; NAME="{name}"',
    lambda name: f"Content-Disposition: form-data; name={name}",
    lambda name: f'Content-Disposition: form-data ; name = "{name}"',
    lambda name: f'Content-Disposition: form-data; x="name=other"; name="{name}"',
    lambda name: f'Content-Type: text/plain; charset=utf-8\nContent-Disposition: form-data; name="{name}"',
    lambda name: f'Content-Disposition: form-data;\n name="{name}"',  # folded, as in mail
    lambda name: f'Content-Disposition: form-data; name="\\{name}"',  # a quoted pair
    lambda name: f'X-Note: name="other"\nContent-Disposition: form-data; name="{name}"\nContent-Length: 1',
)


def _disposition(name: str, *, end: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    kind = b"Content-Type: application/octet-stream" + end if filename else b""
    return f'Content-Disposition: form-data; name="{name}"{file}'.encode() + end + kind


def _content_type(draw: DrawFn, boundary: str, traits: Collection[str]) -> str:
    quote = bool(_NEEDS_QUOTES & set(boundary)) or draw(st.booleans())
    value = f'"{boundary}"' if quote else boundary
    if "boundary" not in traits:
        return f"multipart/form-data; boundary={value}"
    form = draw(
        st.sampled_from(
            (
                "multipart/form-data; boundary={}",
                "Multipart/Form-Data; Boundary={}",
                "multipart/form-data;boundary={}; charset=utf-8",
                "multipart/form-data; charset=utf-8 ; boundary={}",
            )
        )
    )
    return form.format(value)
