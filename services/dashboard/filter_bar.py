"""A view and the names of its period go in; what the filter bar offers, and each name's colour, come out."""

from collections.abc import Mapping

from services.dashboard.charts import colours
from services.dashboard.page_params import View
from services.dashboard.queries.runner import QueryResult

NAMES = ("provider", "model", "token", "account")
MOST = 500  # entries of a list
_OWN = {  # colours that people expect; the rest find theirs
    "anthropic": "var(--s1)",
    "openai": "var(--s0)",
    "gemini": "var(--s2)",
    "mistral": "var(--s5)",
    "grok": "var(--s6)",
}


def choices(shown: View, asked: QueryResult) -> dict[str, list[str]]:
    """The lists of the bar: the weightiest names of the period, and always what the address names."""
    chosen = shown.filters | {"account": shown.account}
    found = {}
    for name in NAMES:
        names = {one for one in _ranked(asked, name)[:MOST] if one}
        if chosen.get(name):
            names.add(chosen[name])
        found[name] = sorted(names, key=lambda one: (one.casefold(), one))
    return found


def palette(asked: Mapping[str, QueryResult]) -> Mapping[str, str]:
    """Colours of models and providers: of all that the period has, so that a filter recolours nothing.

    Where two that stand in one chart would share one, the page has for the smaller what the chart has.
    """
    found: dict[str, str] = {}
    for name in ("model", "provider"):
        listed = [row["name"] for row in asked[f"{name}s"].rows] if f"{name}s" in asked else []
        found |= colours.shades([*_ranked(asked["options"], name), *listed])
    found |= _OWN
    for answer in asked.values():
        found |= colours.shades((row["key"] for row in answer.rows if not row.get("rest", True)), found)
    return found


def _ranked(asked: QueryResult, name: str) -> list[str]:
    weights: Mapping[str, float] = asked.row.get(f"{name}s", {})
    return sorted(weights, key=lambda one: (-weights[one], one))
