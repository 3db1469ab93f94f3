"""Configuration files as documents: values are read, written and deleted by path.

All that is not written stays as it is, comments included.
"""

import re
import shlex
from collections.abc import Callable, MutableMapping, MutableSequence
from io import StringIO
from typing import Any, Protocol

from shared.agent_tools.json_text import JsonText
from shared.agent_tools.model import DOTENV, JSON, SHELL, TOML, YAML, Item, Path

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
_STRING = "tag:yaml.org,2002:str"
_MAX_DEPTH = 100
_PLAIN = re.compile(r"[\w./:@%+-]*")


class Document(Protocol):
    """A parsed file."""

    def get(self, path: Path) -> Any:
        """Return the value at a path; None if there is none."""

    def set(self, path: Path, value: str | bool) -> None:
        """Write a value, and what it is in; ValueError if something else is there."""

    def delete(self, path: Path) -> None:
        """Delete a value, and what it was in once that is empty."""

    @property
    def text(self) -> str:
        """The whole text, as it is to be written."""


def parse(file_format: str, text: str) -> Document:
    """Parse a file of a format (model.JSON …); raises ValueError."""
    return _FORMATS[file_format](text)


class _Json:
    def __init__(self, text: str) -> None:
        self._document = JsonText(text)

    @property
    def text(self) -> str:
        return self._document.text

    def get(self, path: Path) -> Any:
        return self._document.get(_names(path))

    def set(self, path: Path, value: str | bool) -> None:
        self._document.set(_names(path), value)

    def delete(self, path: Path) -> None:
        self._document.delete(_names(path))


class _Tree:
    """A document that a library has parsed into mappings and lists of its own."""

    root: Any

    def _map(self) -> Any:
        raise NotImplementedError

    def _list(self) -> Any:
        raise NotImplementedError

    def get(self, path: Path) -> Any:
        found = self._find(path)
        return found[-1] if len(found) == len(path) + 1 else None

    def set(self, path: Path, value: str | bool) -> None:
        found = self._find(path[:-1])
        place = found[-1]
        for part, following in zip(path[len(found) - 1 : -1], path[len(found) :], strict=True):
            place = self._add(place, part, self._list() if isinstance(following, Item) else self._map())
        if not isinstance(place, MutableMapping):
            raise ValueError(f"{_shown(path[:-1])} is not a mapping")
        place[path[-1]] = self._scalar(value)

    def _scalar(self, value: str | bool) -> Any:
        return value

    def delete(self, path: Path) -> None:
        found = self._find(path)
        if len(found) != len(path) + 1:
            return
        _remove(found[-2], path[-1])
        for depth in range(len(path) - 1, 0, -1):
            part, value = path[depth - 1], found[depth]
            if len(value) > (1 if isinstance(part, Item) else 0):
                break
            _remove(found[depth - 1], part)

    def _find(self, path: Path) -> list[Any]:
        """The values from the root along a path, as far as they exist."""
        found = [self.root]
        for part in path:
            value = _child(found[-1], part)
            if value is None:
                break
            found.append(value)
        return found

    def _add(self, place: Any, part: str | Item, value: Any) -> Any:
        if isinstance(part, Item):
            if not isinstance(place, MutableSequence):
                raise ValueError("a list is expected where something else is")
            value[part.field] = part.value
            place.append(value)
        elif isinstance(place, MutableMapping):
            place[part] = value
        else:
            raise ValueError(f"{part} cannot be written: it is not in a mapping")
        return _child(place, part)


class _Toml(_Tree):
    def __init__(self, text: str) -> None:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        self._tomlkit = tomlkit
        try:
            self.root = tomlkit.parse(text)
        except TOMLKitError as error:
            raise ValueError(str(error)) from None

    @property
    def text(self) -> str:
        return self._tomlkit.dumps(self.root)

    def _map(self) -> Any:
        return self._tomlkit.table()

    def _list(self) -> Any:
        return self._tomlkit.aot()


class _Yaml(_Tree):
    def __init__(self, text: str) -> None:
        from ruamel.yaml import YAML as RoundTrip
        from ruamel.yaml.error import YAMLError
        from ruamel.yaml.util import load_yaml_guess_indent

        self._yaml = RoundTrip()
        self._yaml.preserve_quotes = True
        self._yaml.width = 1 << 16  # never folds a line
        if _depth(text) > _MAX_DEPTH:  # which takes the parser forever
            raise ValueError("nested too deeply")
        try:
            self.root = self._yaml.load(text)
            _, indent, offset = load_yaml_guess_indent(text)
        except YAMLError as error:
            raise ValueError(" ".join(str(error).split())[:200]) from None
        if indent is not None and offset is not None and indent >= offset + 2:
            self._yaml.indent(mapping=2, sequence=indent, offset=offset)
        self._comments = _comment_lines(text)
        self._before = "" if self.root is not None else self._comments

    @property
    def text(self) -> str:
        if not self.root:
            return self._comments
        written = StringIO()
        self._yaml.dump(self.root, written)
        return self._before + written.getvalue()

    def set(self, path: Path, value: str | bool) -> None:
        if self.root is None:
            self.root = self._list() if isinstance(path[0], Item) else self._map()
        super().set(path, value)

    def _scalar(self, value: str | bool) -> Any:
        """The value, in quotes if readers of YAML 1.1 such as PyYAML would take it for another than a string."""
        from ruamel.yaml.nodes import ScalarNode
        from ruamel.yaml.resolver import VersionedResolver
        from ruamel.yaml.scalarstring import SingleQuotedScalarString

        if (
            isinstance(value, bool)
            or VersionedResolver(version=(1, 1)).resolve(ScalarNode, value, (True, False)) == _STRING
        ):
            return value
        return SingleQuotedScalarString(value)

    def _map(self) -> Any:
        from ruamel.yaml.comments import CommentedMap

        return CommentedMap()

    def _list(self) -> Any:
        from ruamel.yaml.comments import CommentedSeq

        return CommentedSeq()


def _comment_lines(text: str) -> str:
    """What remains of a YAML document without values: a null that is written out does not, as nothing can follow it."""
    lines = text.splitlines(keepends=True)
    return "".join(
        line for line in lines if not line.strip() or line.lstrip().startswith("#") or line.startswith("---")
    )


class _Assignments:
    """A dotenv file: NAME=value; the last one of a name counts.

    What is kept of a line is all but its value. Tools' parsers differ: quotes are chosen such that each takes a value
    literally.
    """

    _pattern = _DOTENV

    def __init__(self, text: str) -> None:
        self._text = text if text.endswith("\n") or not text else text + "\n"

    @property
    def text(self) -> str:
        return self._text

    def get(self, path: Path) -> Any:
        (name,) = path
        found = self._find(str(name))
        return self._parse(found[-1]["value"]) if found else None

    def set(self, path: Path, value: str | bool) -> None:
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


class _Shell(_Assignments):
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


_FORMATS: dict[str, Callable[[str], Document]] = {
    JSON: _Json,
    TOML: _Toml,
    YAML: _Yaml,
    DOTENV: _Assignments,
    SHELL: _Shell,
}


def _names(path: Path) -> tuple[str, ...]:
    assert all(isinstance(part, str) for part in path), "lists in JSON files are not supported"
    return tuple(str(part) for part in path)


def _child(place: Any, part: str | Item) -> Any:
    if isinstance(part, Item):
        entries = place if isinstance(place, MutableSequence) else ()
        return next((entry for entry in entries if _field(entry, part.field) == part.value), None)
    return place.get(part) if isinstance(place, MutableMapping) else None


def _field(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, MutableMapping) else None


def _remove(place: Any, part: str | Item) -> None:
    if isinstance(part, Item):
        del place[next(index for index, entry in enumerate(place) if _field(entry, part.field) == part.value)]
    else:
        del place[part]


def _depth(text: str) -> int:
    """How deeply brackets are nested at most, those in strings and comments included."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _shown(path: Path) -> str:
    return ".".join(part if isinstance(part, str) else part.value for part in path)
