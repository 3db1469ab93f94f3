"""The shape of a batch's usage objects, so that they are summed in C.

It is learnt from some lines; all others are decoded by it.

A usage object that does not fit the shape makes the decoder fail, so nothing is missed: its line is read by itself,
and the shape learns from it.
"""

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec

Counts = dict[str, Any]
# Names of counts: whatever else they hold is invalid.
COUNT_NAME = re.compile(r"(?:tokens|TokenCount|_requests|pages_processed|_calls)$|^(?:tokenCount|count)$")
_COUNT = Annotated[int, msgspec.Meta(ge=0)]
_MAX_FIELDS = 64  # of one object
_MAX_DEPTH = 4
_OTHER = str | int | float | bool | list[msgspec.Raw] | None  # with int, or counts would be decoded as float


class CountShape:
    """Names of an object's counts, and the shapes of nested objects.

    `usable`: everything that was learnt fits.
    """

    def __init__(self, *, depth: int = _MAX_DEPTH) -> None:
        self.usable = True
        self.struct: Any = None  # the type of the objects, set by `build`
        self._depth = depth
        self._counts: set[str] = set()
        self._others: set[str] = set()
        self._objects: dict[str, CountShape] = {}
        self._fields: dict[str, str] = {}  # attribute by name
        self._built: dict[str, str] = {}  # the same of the type that was built last

    def widen(self, counts: Counts) -> None:
        """Widen the shape so that this object fits.

        Names beyond the largest size are left out.
        """
        for name, value in counts.items():
            if name not in self._fields:
                if len(self._fields) >= _MAX_FIELDS:
                    continue
                self._fields[name] = f"field_{len(self._fields)}"
            if type(value) is int:
                self._counts.add(name)
            elif not isinstance(value, dict):
                self._others.add(name)
            elif self._depth:
                inner = self._objects.setdefault(name, CountShape(depth=self._depth - 1))
                inner.widen(value)
                self.usable = self.usable and inner.usable
            else:
                self.usable = False

    def build(self, *, strict: bool) -> Any:
        """The type of the objects. `strict`: an object with another name does not fit."""
        fields: list[tuple[str, Any, Any]] = []
        for name, attribute in self._fields.items():
            kinds: Any = type(None)
            if name in self._others:
                kinds = None | list[msgspec.Raw] if COUNT_NAME.search(name) else _OTHER
            if name in self._objects:
                kinds = kinds | self._objects[name].build(strict=strict)
            if name in self._counts:
                kinds = kinds | (int if name in self._others and not COUNT_NAME.search(name) else _COUNT)
            fields.append((attribute, kinds, None))
        self._built = dict(self._fields)
        self.struct = msgspec.defstruct(
            "Usage",
            fields,
            rename={attribute: name for name, attribute in self._fields.items()},
            forbid_unknown_fields=strict,
            gc=False,
        )
        return self.struct

    def total(self, objects: Sequence[Any]) -> Counts:
        """The sums of the counts of objects of this shape, by name."""
        totals: Counts = {}
        for name, attribute in self._built.items():
            values = [value for value in map(attrgetter(attribute), objects) if value is not None]
            if not values:
                continue
            if name in self._others or name in self._objects:
                within = [value for value in values if isinstance(value, msgspec.Struct)]
                if within:
                    totals[name] = self._objects[name].total(within)
                values = [value for value in values if type(value) is int]
            if values:
                totals[name] = sum(values)
        return totals
