"""Tables sorted by their headings, cut to a page unless all rows are requested."""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from services.dashboard.charts import formats
from services.dashboard.page_params import ALL, SORT, View
from services.dashboard.queries import panels
from services.dashboard.queries.runner import QueryResult

Value = Callable[[dict[str, Any]], Any]  # of a row: a number, a time or None

TOKENS: Mapping[str, Value] = {
    "input": lambda row: row["input_tokens"],
    "output": lambda row: row["output_tokens"],
}
LATENCY: Mapping[str, Value] = {
    "mean": lambda row: row["latency_mean"],
    "p50": lambda row: row["latency"][0],
    "p95": lambda row: row["latency"][1],
    "p99": lambda row: row["latency"][2],
    "ttfb50": lambda row: row["first_byte"][0],
    "ttfb95": lambda row: row["first_byte"][1],
    "ttfb99": lambda row: row["first_byte"][2],
}


class Listing(NamedTuple):
    """How the rows of a table are listed."""

    name: str  # of the table; its columns sort by `sort=<name>.<column>`
    order: str  # the column
    standard: str  # the column without a choice
    listed: int
    rows: int  # that there are

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than listed."""
        return self.listed < self.rows

    def sort(self, column: str) -> str:
        """Return the `sort` that the heading of a column leads to."""
        return "" if column in (self.order, self.standard) else f"{self.name}.{column}"


def arranged(
    view: View,
    results: dict[str, QueryResult],
    name: str,
    columns: Mapping[str, Value],
    standard: str,
    *,
    size: int = panels.PAGE,
) -> Listing:
    """Sort the rows of a result by the chosen column, and cut them to `size`.

    The highest value comes first, unknown ones last.
    """
    table, _, column = view.query.get(SORT, "").partition(".")
    order = column if table == name and (column in columns or column == standard) else standard
    value = columns.get(order) or (lambda row: row[order])
    rows = sorted(results[name].rows, key=lambda row: _rank(value(row)), reverse=True)
    listed = rows if view.query.get(ALL) == name else rows[:size]
    results[name] = QueryResult(listed, results[name].failure)
    return Listing(name, order, standard, len(listed), len(rows))


def error_rate(row: dict[str, Any]) -> float | None:
    """Return the failed requests of a row in percent."""
    return formats.ratio(row["errors"], row["requests"])


def _rank(value: Any) -> tuple[bool, Any]:
    """Return a sorting key: unknown values are lowest."""
    is_unknown = value is None or (isinstance(value, float | Decimal) and math.isnan(value))
    return (False, 0) if is_unknown else (True, value)
