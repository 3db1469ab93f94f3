"""Pages of a long list, by the parameter `page`."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from aiohttp import web

T = TypeVar("T")


class Pages(NamedTuple):
    """The page shown, and how many there are."""

    number: int
    total: int


def number(request: web.Request) -> int:
    """Return the page asked for; 1 for an invalid one."""
    text = request.query.get("page", "1")
    is_valid = text.isascii() and text.isdecimal() and len(text) < 6
    return max(int(text), 1) if is_valid else 1


def part(request: web.Request, items: Sequence[T], size: int) -> Sequence[T]:
    """Return the items of the page asked for."""
    start = (number(request) - 1) * size
    return items[start : start + size]


def pages(request: web.Request, count: int, size: int) -> Pages:
    """Return the page asked for, and how many pages there are."""
    return Pages(number(request), max(1, -(-count // size)))
