"""Edits JSON as text: formatting, comments and trailing commas stay as they are."""

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

_BLANK = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r"[-+.\w]+")
_MAX_DEPTH = 100


class _Member(NamedTuple):
    """A name with its value; `comma` is where the comma after it stands, -1 without one."""

    name: str
    start: int
    value: "_Node"
    comma: int


class _Node(NamedTuple):
    """A value from `start` to `end`; `members` of an object, in order."""

    start: int
    end: int
    value: Any
    members: tuple[_Member, ...] = ()


class JsonText:
    """A JSON object; raises ValueError for any other text."""

    def __init__(self, text: str) -> None:
        self.text = text if _BLANK.fullmatch(text) is None else f"{text.rstrip()}\n{{}}\n".lstrip()
        self._root = _parse(self.text)

    def get(self, path: tuple[str, ...]) -> Any:
        """Return the value at a path; None if there is none."""
        found = self._find(path)
        return found[-1].value if len(found) == len(path) + 1 else None

    def set(self, path: tuple[str, ...], value: Any) -> None:
        """Write a value, and the objects on the way to it."""
        found = self._find(path)
        node = found[-1]
        rest = path[len(found) - 1 :]
        if not rest:
            self._replace(node.start, node.end, json.dumps(value, ensure_ascii=False))
            return
        if not isinstance(node.value, dict):
            raise ValueError(f"{'.'.join(path[: len(found) - 1])} is not an object")
        for name in reversed(rest[1:]):
            value = {name: value}
        self._insert(node, rest[0], value)

    def delete(self, path: tuple[str, ...]) -> None:
        """Delete a value, and the objects around it that become empty."""
        found = self._find(path)
        if len(found) != len(path) + 1:
            return
        self._remove(found[-2], path[-1])
        parent = self._find(path[:-1])[-1]
        if len(path) > 1 and not parent.members and self.text[parent.start + 1 : parent.end - 1].strip() == "":
            self.delete(path[:-1])

    def _find(self, path: tuple[str, ...]) -> list[_Node]:
        """The nodes from the root along a path, as far as they exist."""
        found = [self._root]
        for name in path:
            inner = [member.value for member in found[-1].members if member.name == name]
            if not inner:
                break
            found.append(inner[-1])  # of a repeated name, the last one counts
        return found

    def _replace(self, start: int, end: int, text: str) -> None:
        self.text = self.text[:start] + text + self.text[end:]
        self._root = _parse(self.text)

    def _insert(self, node: _Node, name: str, value: Any) -> None:
        """Insert a member at the end of an object, formatted like the others."""
        text = self.text
        inside = text[node.start + 1 : node.end - 1]
        last = node.members[-1] if node.members else None
        comma = "" if last is None or last.comma >= 0 else ","
        closing = "," if last is not None and last.comma >= 0 else ""
        key = json.dumps(name, ensure_ascii=False)
        if last is not None and "\n" not in inside:
            added = f"{comma} {key}: {json.dumps(value, ensure_ascii=False)}{closing}"
            at = node.start + 1 + len(inside.rstrip())
            self._replace(at, at, added)
            return
        outer = self._indent(node.start)
        indent = self._indent(last.start) if last is not None else outer + self._unit()
        shown = json.dumps(value, ensure_ascii=False, indent=self._unit()).replace("\n", f"\n{indent}")
        kept = inside.rstrip()
        if last is not None and comma:
            at = last.value.end - node.start - 1
            kept = kept[:at] + comma + kept[at:]
        self._replace(node.start + 1, node.end - 1, f"{kept}\n{indent}{key}: {shown}{closing}\n{outer}")

    def _remove(self, node: _Node, name: str) -> None:
        """Remove the members with a name, each with its comma and its line."""
        index = max(number for number, member in enumerate(node.members) if member.name == name)
        member = node.members[index]
        is_last = index == len(node.members) - 1
        start = member.start
        end = (member.comma if member.comma >= 0 else member.value.end - 1) + 1
        before = len(self.text[:start].rstrip(" \t"))
        after = end + len(self.text[end:]) - len(self.text[end:].lstrip(" \t\r"))
        if self.text[before - 1] == "\n" and self.text[after] == "\n":
            start, end = before, after + 1
        elif is_last:
            start = before
        elif self.text[after] not in "/\n":
            end = after
        previous = node.members[index - 1] if index else None
        self.text = self.text[:start] + self.text[end:]
        if is_last and previous is not None and member.comma < 0:
            self.text = self.text[: previous.comma] + self.text[previous.comma + 1 :]
        self._root = _parse(self.text)
        if self._root_has(node.start, name):
            self._remove(next(one for one in _objects(self._root) if one.start == node.start), name)

    def _root_has(self, start: int, name: str) -> bool:
        return any(m.name == name for one in _objects(self._root) if one.start == start for m in one.members)

    def _indent(self, at: int) -> str:
        """White space at the beginning of the line of a position."""
        line = self.text[self.text.rfind("\n", 0, at) + 1 : at]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _unit(self) -> str:
        """One level of indentation, as the document has it."""
        first = self._root.members[0] if self._root.members else None
        return (self._indent(first.start) if first is not None else "") or "  "


def _objects(node: _Node) -> Iterator[_Node]:
    yield node
    for member in node.members:
        yield from _objects(member.value)


def _parse(text: str) -> _Node:
    node = _value(text, _skip(text, 0), depth=0)
    if not isinstance(node.value, dict):
        raise ValueError("not a JSON object")
    if _skip(text, node.end) != len(text):
        raise ValueError(_at("unexpected text", text, node.end))
    return node


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "matches nothing at least"
    return found.end()


def _value(text: str, at: int, *, depth: int) -> _Node:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if text.startswith("{", at):
        return _object(text, at, depth=depth)
    if text.startswith("[", at):
        return _array(text, at, depth=depth)
    if text.startswith('"', at):
        try:
            value, end = scanstring(text, at + 1, False)
        except ValueError:
            raise ValueError(_at("unfinished string", text, at)) from None
        return _Node(at, end, value)
    found = _SCALAR.match(text, at)
    if found is None:
        raise ValueError(_at("a value is missing", text, at))
    try:
        return _Node(at, found.end(), json.loads(found.group()))
    except ValueError:
        raise ValueError(_at(f"invalid value {found.group()[:40]!r}", text, at)) from None


def _object(text: str, start: int, *, depth: int) -> _Node:
    members: list[_Member] = []
    at = _skip(text, start + 1)
    while not text.startswith("}", at):
        if not text.startswith('"', at) or (members and members[-1].comma < 0):
            raise ValueError(_at("a name or } is missing", text, at))
        name = _value(text, at, depth=depth)
        colon = _skip(text, name.end)
        if not text.startswith(":", colon):
            raise ValueError(_at("a colon is missing", text, colon))
        value = _value(text, _skip(text, colon + 1), depth=depth + 1)
        comma = _skip(text, value.end)
        has_comma = text.startswith(",", comma)
        members.append(_Member(name.value, at, value, comma if has_comma else -1))
        at = _skip(text, comma + has_comma)
    return _Node(start, at + 1, {member.name: member.value.value for member in members}, tuple(members))


def _array(text: str, start: int, *, depth: int) -> _Node:
    values: list[Any] = []
    has_comma = True
    at = _skip(text, start + 1)
    while not text.startswith("]", at):
        if not has_comma:
            raise ValueError(_at("a comma or ] is missing", text, at))
        node = _value(text, at, depth=depth + 1)
        values.append(node.value)
        comma = _skip(text, node.end)
        has_comma = text.startswith(",", comma)
        at = _skip(text, comma + has_comma)
    return _Node(start, at + 1, values)


def _at(message: str, text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}: {message}"
