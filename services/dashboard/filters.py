"""A view goes in; what can be chosen in the filter bar comes out, from the rollup and never for long."""

from collections.abc import Mapping

from services.dashboard import panels
from services.dashboard.books import Books
from services.dashboard.view import View

NAMES = ("provider", "model", "token", "account")


async def options(books: Books, shown: View) -> Mapping[str, list[str]]:
    """Names by filter, of the period; what is chosen is always among them."""
    asked = await books.ask(panels.options(shown))
    return choices(shown, asked.row)


def choices(shown: View, row: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The lists of the bar: those of the answer, and what the address names."""
    chosen = shown.filters | {"account": shown.account}
    found = {}
    for name in NAMES:
        names = {one for one in row.get(f"{name}s", []) if one}
        if chosen.get(name):
            names.add(chosen[name])
        found[name] = sorted(names, key=lambda one: (one.casefold(), one))
    return found
