"""Choices of the filter bar, and the colours of models and providers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from services.dashboard.charts import colours
from services.dashboard.page_params import View
from services.dashboard.queries.runner import QueryResult

NAMES = ("provider", "model", "token", "account")
MAX_CHOICES = 500
_PROVIDER_COLOURS = {  # fixed; other names get theirs by hash
    "anthropic": "var(--s1)",
    "openai": "var(--s0)",
    "gemini": "var(--s2)",
    "mistral": "var(--s5)",
    "grok": "var(--s6)",
}


class NearNames(NamedTuple):
    """Requesters whose name contains what was typed as a name, and how many there are."""

    names: Sequence[str]
    matches: int


def choices(view: View, result: QueryResult) -> dict[str, list[str]]:
    """Return the choices of each list: the most used names, and the chosen one."""
    chosen = view.filters | {"account": view.account}
    lists = {}
    for name in NAMES:
        names = {one for one in ranked(result, name)[:MAX_CHOICES] if one}
        if chosen.get(name):
            names.add(chosen[name])
        lists[name] = sorted(names, key=lambda one: (one.casefold(), one))
    return lists


def near_names(view: View, rows: Sequence[Mapping[str, Any]]) -> NearNames | None:
    """Return the names that contain the one in the filter.

    None if it is a name itself, or no part of any.
    """
    if not rows or rows[0]["requester"] == view.filters["requester"]:
        return None
    return NearNames([row["requester"] for row in rows], rows[0]["matches"])


def palette(results: Mapping[str, QueryResult]) -> Mapping[str, str]:
    """Return the colours of models and providers.

    They come from all names of the period, so that a filter does not change them. When two names of one chart would
    share a colour, the smaller one gets another, and has it on the whole page.
    """
    name_colours: dict[str, str] = {}
    for name in ("model", "provider"):
        listed = [row["name"] for row in results[f"{name}s"].rows] if f"{name}s" in results else []
        name_colours |= colours.shades([*ranked(results["options"], name), *listed])
    name_colours |= _PROVIDER_COLOURS
    for result in results.values():
        name_colours |= colours.shades((row["key"] for row in result.rows if not row.get("rest", True)), name_colours)
    return name_colours


def ranked(result: QueryResult, name: str) -> list[str]:
    """Return the names of a list in the result of `panels.options`, most used first."""
    weights: Mapping[str, float] = result.row.get(f"{name}s", {})
    return sorted(weights, key=lambda name: (-weights[name], name))
