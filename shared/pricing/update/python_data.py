"""Reads the data module of genai-prices without executing or compiling it.

The module is one large literal: calls with keyword arguments, lists, dicts, strings and numbers. A call becomes a dict
of its arguments, which is also the form of the library's JSON files. Unlike `ast`, the reader needs little memory, and
no input can exhaust the stack of the interpreter.
"""

import ast
import re
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Any

_DEPTH = 60
_TOKEN = re.compile(
    r"""
    (?P<skip>[\s\\]+|\#[^\n]*)
    | (?P<text>'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    | (?P<number>-?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*)
    | (?P<mark>[()\[\]{},:=])
    """,
    re.VERBOSE | re.DOTALL,
)
_START = re.compile(r"^providers\b[^=\n]*=", re.MULTILINE)
_WORDS = {"None": None, "True": True, "False": False, "datetime.timezone.utc": "Z", "datetime.UTC": "Z"}


def read(source: str) -> Any:
    """The value of the variable `providers`; ValueError if it is not plain data."""
    start = _START.search(source)
    if start is None:
        raise ValueError("the data module does not define `providers`")
    return _Reader(source, start.end()).value(0)


class _Reader:
    def __init__(self, source: str, position: int) -> None:
        self._source = source
        self._position = position
        self._kind = ""
        self._symbol = ""
        self._advance()

    def value(self, depth: int) -> Any:
        """Read one value and advance behind it."""
        if depth > _DEPTH:
            raise self._error("nested too deeply")
        kind, symbol = self._kind, self._symbol
        self._advance()
        if kind == "text":
            return self._texts(symbol)
        if kind == "number":
            digits = symbol.replace("_", "")
            return int(digits) if digits.lstrip("-").isdigit() else Decimal(digits)
        if kind == "name":
            return self._call(symbol, depth) if self._symbol == "(" else self._word(symbol)
        if symbol == "[":
            return self._items("]", depth)
        if symbol == "(":
            return self._items(")", depth)
        if symbol == "{":
            return self._pairs(depth)
        raise self._error(f"unexpected {symbol or 'end'!r}")

    def _texts(self, first: str) -> str:
        """Adjacent strings are one."""
        texts = [first]
        while self._kind == "text":
            texts.append(self._symbol)
            self._advance()
        try:
            return "".join(ast.literal_eval(text) for text in texts)
        except (ValueError, SyntaxError):
            raise self._error("invalid string") from None

    def _word(self, name: str) -> Any:
        if name not in _WORDS:
            raise self._error(f"unexpected name {name!r}")
        return _WORDS[name]

    def _call(self, name: str, depth: int) -> Any:
        self._advance()
        positional: list[Any] = []
        named: dict[str, Any] = {}
        while not self._ends(")"):
            if self._kind == "name" and self._source[self._position : self._position + 1] == "=":
                key = self._symbol
                self._advance()
                self._advance()
                if key in named:
                    raise self._error(f"{key} is given twice")
                named[key.rstrip("_")] = self.value(depth + 1)
            else:
                positional.append(self.value(depth + 1))
            self._separate(")")
        return _built(name, positional, named, self._error)

    def _items(self, end: str, depth: int) -> list[Any]:
        items = []
        while not self._ends(end):
            items.append(self.value(depth + 1))
            self._separate(end)
        return items

    def _pairs(self, depth: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while not self._ends("}"):
            key = self.value(depth + 1)
            if not isinstance(key, str) or self._symbol != ":":
                raise self._error("expected a string and a colon")
            self._advance()
            pairs[key] = self.value(depth + 1)
            self._separate("}")
        return pairs

    def _ends(self, mark: str) -> bool:
        if self._kind == "mark" and self._symbol == mark:
            self._advance()
            return True
        return False

    def _separate(self, end: str) -> None:
        if self._kind == "mark" and self._symbol == ",":
            self._advance()
        elif self._symbol != end:
            raise self._error(f"expected a comma or {end!r}")

    def _advance(self) -> None:
        while True:
            match = _TOKEN.match(self._source, self._position)
            if match is None:
                if self._position < len(self._source):
                    raise self._error("unexpected character")
                self._kind = self._symbol = ""
                return
            self._position = match.end()
            if match.lastgroup != "skip":
                self._kind = match.lastgroup or ""
                self._symbol = match.group()
                return

    def _error(self, text: str) -> ValueError:
        line = self._source.count("\n", 0, self._position) + 1
        return ValueError(f"the data module is not plain data, line {line}: {text}")


def _built(name: str, positional: list[Any], named: dict[str, Any], error: Any) -> Any:
    """The value of a call: numbers and dates have positional arguments, records named ones."""
    try:
        if name == "Decimal":
            (text,) = positional
            return Decimal(text)
        if name == "datetime.date":
            return date(*positional, **named).isoformat()
        if name == "datetime.time":
            return time(*positional).isoformat()
    except (TypeError, ValueError, InvalidOperation, OverflowError):
        raise error(f"invalid arguments of {name}") from None
    if positional:
        raise error(f"unexpected arguments of {name}")
    return named
