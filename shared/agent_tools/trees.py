"""TOML and YAML files as trees of mappings and lists; comments and layout stay."""

import re
from collections.abc import MutableMapping, MutableSequence
from io import StringIO
from typing import Any

from shared.agent_tools.model import Item, Path

_STRING = "tag:yaml.org,2002:str"
_MAX_DEPTH = 100


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


class Toml(_Tree):
    """A TOML file."""

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
        """The whole text, as it is to be written."""
        return self._tomlkit.dumps(self.root)

    def _map(self) -> Any:
        return self._tomlkit.table()

    def _list(self) -> Any:
        return self._tomlkit.aot()


class Yaml(_Tree):
    """A YAML file."""

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
        """The whole text, as it is to be written."""
        if not self.root:
            return self._comments
        written = StringIO()
        self._yaml.dump(self.root, written)
        return self._before + written.getvalue()

    def set(self, path: Path, value: str | bool) -> None:
        """Write a value, and what it is in; ValueError if something else is there."""
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
