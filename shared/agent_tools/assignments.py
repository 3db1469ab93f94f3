"""Assignments in dotenv files and shell scripts, read and written by name."""

import re
import shlex
from typing import Any

from shared.agent_tools.model import Path

# An assignment up to the end of its last line: in quotes a value may have several. In dotenv files there may be quotes
# around a name and spaces around "=".
_QUOTED = r"""'(?:\\'|[^']){0,9999}'|"(?:\\"|[^"]){0,9999}"|`(?:\\`|[^`]){0,9999}`"""
_DOTENV = re.compile(
    r"[ \t]*(?:export[ \t]+)?(?P<quote>'?)(?P<name>[A-Za-z_][\w.-]*)(?P=quote)[ \t]*=[ \t]*"
    rf"(?P<value>(?:{_QUOTED})(?=[ \t]*(?:#|$))|[^\n]*?(?=[ \t]+#|[ \t]*$))[^\n]*\n?",
    re.MULTILINE,
)
_SHELL = re.compile(
    r"[ \t]*(?:export[ \t]+)?(?P<name>(?:alias[ \t]+)?[A-Za-z_]\w*)="
    r"""(?P<value>(?:\$'(?:\\.|[^'\\])*'|(?<!\$)'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\;&|<>()])*)[^\n]*\n?""",
    re.DOTALL,
)
_LINE = re.compile(r"[^\n]*\n?")
_PLAIN = re.compile(r"[\w./:@%+-]*")


class Dotenv:
    """A dotenv file: NAME=value; the last one of a name counts.

    What is kept of a line is all but its value. Tools' parsers differ: quotes are chosen such that each takes a value
    literally.
    """

    _pattern = _DOTENV

    def __init__(self, text: str) -> None:
        self._text = text if text.endswith("\n") or not text else text + "\n"

    @property
    def text(self) -> str:
        """The whole text, as it is to be written."""
        return self._text

    def get(self, path: Path) -> Any:
        """Return the last value of a name; None without one."""
        (name,) = path
        found = self._find(str(name))
        return self._parse(found[-1]["value"]) if found else None

    def set(self, path: Path, value: str | bool) -> None:
        """Replace the last value of a name, or append an assignment."""
        (name,) = path
        found = self._find(str(name))
        if not found:
            self._text += self._line(str(name), str(value)) + "\n"
            return
        start, end = found[-1].span("value")
        rest = self._text[end:]
        space = " " if rest.startswith("#") else ""
        self._text = self._text[:start] + self._quoted(str(value)) + space + rest

    def delete(self, path: Path) -> None:
        """Delete all assignments to a name."""
        (name,) = path
        for match in reversed(self._find(str(name))):
            self._text = self._text[: match.start()] + self._text[match.end() :]

    def _find(self, name: str) -> list[re.Match[str]]:
        """The assignments to a name. Lines within a value in quotes are none."""
        found = []
        at = 0
        while at < len(self._text):
            match = self._pattern.match(self._text, at)
            if match is not None and match["name"] == name:
                found.append(match)
            end = match or _LINE.match(self._text, at)
            assert end is not None, "a line matches anything"
            at = end.end()
        return found

    def _parse(self, text: str) -> str:
        is_quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'`"
        return text[1:-1] if is_quoted else text

    def _line(self, name: str, value: str) -> str:
        return f"{name}={self._quoted(value)}"

    def _quoted(self, value: str) -> str:
        if _PLAIN.fullmatch(value):
            return value
        quotes = "'\"`" if re.search(r'["$\\]', value) else "\"'`"
        for quote in quotes:
            if quote not in value:
                return quote + value + quote
        raise ValueError(f"there are no quotes in which {value!r} could be written")


class ShellScript(Dotenv):
    """A script of exports and aliases."""

    _pattern = _SHELL

    def _parse(self, text: str) -> str:
        if text.startswith("$'") and text.endswith("'"):  # as _quoted writes it
            return text[2:-1].replace("\\n", "\n")
        try:
            return "".join(shlex.split(text))
        except ValueError:
            return text

    def _line(self, name: str, value: str) -> str:
        return ("" if name.startswith("alias ") else "export ") + super()._line(name, value)

    def _quoted(self, value: str) -> str:
        return "$'{}'".format(value.replace("\n", "\\n")) if "\n" in value else shlex.quote(value)
