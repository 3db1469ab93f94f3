"""Colours of models, providers and other names, the same on every page."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

COLOURS = 8  # --s0 to --s7 of the style sheet; further series are Other
OTHER = "Other"
REST = "var(--sx)"  # of names beyond those that can be told apart
_FIRST = [f"var(--s{number})" for number in range(COLOURS)]
_SHADED = [f"var(--{shade}{number})" for shade in ("d", "l") for number in range(COLOURS)]  # darker and lighter ones


def shades(names: Iterable[str], own: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return a colour for each name: its `own`, else by hash, else a free one.

    No two names share one: darker and lighter shades follow the first eight, and names beyond those are grey.
    """
    chosen: dict[str, str] = {}
    free = [*_FIRST, *_SHADED]
    for name in dict.fromkeys(names):
        first = own.get(name) or _FIRST[_digest(name) % COLOURS]
        if first not in free:
            left = [one for one in _FIRST if one in free] or free
            first = left[_digest(name) % len(left)] if left else REST
        chosen[name] = first
        if first != REST:
            free.remove(first)
    return chosen


def _digest(name: str) -> int:
    digest = 0
    for char in name:
        digest = (digest * 131 + ord(char)) & 0xFFFFFFFF
    return digest
