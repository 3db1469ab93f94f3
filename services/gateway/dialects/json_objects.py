"""Strict reading of a response's JSON, and merging of a stream's pieces.

Any other shape than the expected one raises Unconvertible.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

Object = dict[str, Any]
Join = Callable[[list[Any]], Any]

_NOTHING: tuple[Any, ...] = (None, "", [], {})

encode = msgspec.json.Encoder().encode


class Unconvertible(ValueError):
    """A response that cannot be converted; it counts as a cache miss."""


def decode(data: bytes) -> Object:
    """Decode one JSON object."""
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unconvertible(f"no JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise Unconvertible("JSON, but no object")
    return decoded


def failed(document: Object) -> bool:
    """Whether the object states an error."""
    return bool(document.get("error")) or "error" in (document.get("type"), document.get("object"))


def inside(parent: Object, key: str) -> Object:
    """The object under `key`."""
    value = parent.get(key)
    if not isinstance(value, dict):
        raise Unconvertible(f"{key} is not an object")
    return value


def objects(parent: Object, key: str) -> list[Object]:
    """The objects listed under `key`; [] when it is absent or null."""
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Unconvertible(f"{key} lists other things than objects")
    return value


def text(value: object) -> str:
    """The value as a string."""
    if not isinstance(value, str):
        raise Unconvertible("a text is not a string")
    return value


def empty(value: object) -> bool:
    """Whether the value is null, or a string, list or object with nothing in it."""
    return value in _NOTHING


def fold(pieces: Iterable[Object], joins: Mapping[str, Join], *, without: Collection[str] = ()) -> Object:
    """Merge many objects into one.

    Each key's values, in order, are merged by its function in `joins`, or by `once` where there is none.
    """
    gathered: dict[str, list[Any]] = {}
    for piece in pieces:
        for key, value in piece.items():
            if key in gathered:
                gathered[key].append(value)
            elif key not in without:
                gathered[key] = [value]
    return {key: joins.get(key, once)(values) for key, values in gathered.items()}


def once(values: list[Any]) -> Any:
    """The value that is stated once, or always the same.

    How different values belong together is unknown here.
    """
    if values.count(values[0]) == len(values):
        return values[0]
    present = [value for value in values if not empty(value)]
    if any(value != present[0] for value in present):
        raise Unconvertible("two different values")
    return present[0] if present else values[0]


def last(values: list[Any]) -> Any:
    """The last value: for cumulative counts, and for what only the end can state."""
    present = [value for value in values if not empty(value)]
    return present[-1] if present else values[-1]


def joined(values: list[Any]) -> Any:
    """Fragments of a text as one; None when all are null.

    Values that are no text must be stated once.
    """
    present = [value for value in values if value is not None]
    if not all(isinstance(value, str) for value in present):
        return once(values)
    return "".join(present) if present else None


def concatenated(values: list[Any]) -> Any:
    """Lists as one list; None when all are null."""
    present = [value for value in values if value is not None]
    if not all(isinstance(value, list) for value in present):
        raise Unconvertible("a value that should be a list is not")
    return [one for value in present for one in value] if present else None


def same_keys(join: Join) -> Join:
    """A function that merges objects, each key in one way; None when all are null."""

    def folded(values: list[Any]) -> Any:
        present = [value for value in values if value is not None]
        if not all(isinstance(value, dict) for value in present):
            raise Unconvertible("a value that should be an object is not")
        return fold(present, {key: join for value in present for key in value}) if present else None

    return folded
