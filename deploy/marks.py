"""A file written by hand goes in, with one part of it written anew by the code; what stands outside the marks stays."""

import textwrap

# A line that says so begins what is written, one that says the other ends it; their indentation is that of the text.
_BEGIN, _END = "{}: `make {}` writes from here", "{}: to here"


def replaced(text: str, part: str, written: str, *, target: str) -> str:
    """The text with what stands between the marks of `part` replaced; ValueError when it has lost one."""
    lines = text.splitlines()
    begin, end = _only(lines, _BEGIN.format(part, target)), _only(lines, _END.format(part))
    indent = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())]
    return "\n".join([*lines[: begin + 1], textwrap.indent(written, indent), *lines[end:]]) + "\n"


def _only(lines: list[str], mark: str) -> int:
    found = [number for number, line in enumerate(lines) if mark in line]
    if len(found) != 1:
        raise ValueError(f"{len(found)} lines say {mark!r}, one ought to")
    return found[0]
