"""Colours of models, providers and other names, the same on every page."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

COLOURS = 8  # --s0 to --s7 of the style sheet; further series are Other
OTHER = "Other"
_ALL = [f"var(--s{number})" for number in range(COLOURS)]


def shades(names: Iterable[str], own: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return a colour for each name: its `own`, else by hash, else a free one."""
    chosen: dict[str, str] = {}
    for name in dict.fromkeys(names):
        first = own.get(name) or f"var(--s{_digest(name) % COLOURS})"
        free = [one for one in _ALL if one not in chosen.values()]
        chosen[name] = first if first in free or not free else free[_digest(name) % len(free)]
    return chosen


def _digest(name: str) -> int:
    digest = 0
    for char in name:
        digest = (digest * 131 + ord(char)) & 0xFFFFFFFF
    return digest
