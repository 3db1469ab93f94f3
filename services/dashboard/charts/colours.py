"""Names go in; a colour for each comes out, the same on every page."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

COLOURS = 8  # --s0 … --s7 of the style sheet; what comes after is Other
OTHER = "Other"
_ALL = [f"var(--s{number})" for number in range(COLOURS)]


def shades(names: Iterable[str], own: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Each name's colour, its `own` or one made of it; where two would share one the later takes a free one."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        first = own.get(name) or f"var(--s{_digest(name) % COLOURS})"
        free = [one for one in _ALL if one not in found.values()]
        found[name] = first if first in free or not free else free[_digest(name) % len(free)]
    return found


def _digest(name: str) -> int:
    digest = 0
    for char in name:
        digest = (digest * 131 + ord(char)) & 0xFFFFFFFF
    return digest
