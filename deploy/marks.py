"""Replaces generated parts, between two marks, of files written by hand."""

import textwrap

# The marks before and after a generated part, which gets the indentation of the first.
_BEGIN, _END = "{}: `make {}` writes from here", "{}: to here"


def replaced(text: str, part: str, written: str, *, target: str) -> str:
    """The text with the part between its marks replaced; ValueError if one is missing."""
    lines = text.splitlines()
    begin, end = _only(lines, _BEGIN.format(part, target)), _only(lines, _END.format(part))
    indent = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())]
    return "\n".join([*lines[: begin + 1], textwrap.indent(written, indent), *lines[end:]]) + "\n"


def _only(lines: list[str], mark: str) -> int:
    found = [number for number, line in enumerate(lines) if mark in line]
    if len(found) != 1:
        raise ValueError(f"{len(found)} lines contain {mark!r}, expected one")
    return found[0]
