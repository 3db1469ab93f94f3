"""Tables that their headings sort: the order, what is left out, and the links to both."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from services.dashboard import listing, page_params
from services.dashboard.queries.runner import QueryResult

ROWS = [
    {"name": name, "requests": requests, "latency": [value, value, value], "latency_mean": value}
    for name, requests, value in (("a", 3, 20.0), ("b", 9, math.nan), ("c", 6, 700.0))
]


def arranged(query: dict[str, str], rows: list[dict[str, Any]] = ROWS) -> tuple[listing.Listing, list[str]]:
    view = page_params.parse("/latency", query, now=datetime(2026, 11, 28, tzinfo=UTC))
    results = {"models": QueryResult(rows)}
    found = listing.arranged(view, results, "models", listing.LATENCY, "requests")
    return found, [row["name"] for row in results["models"].rows]


@pytest.mark.parametrize(
    ("sort", "order"),
    [("", "bca"), ("models.p95", "cab"), ("models.mean", "cab"), ("providers.p95", "bca"), ("models.__class__", "bca")],
)
def test_a_heading_sorts_its_own_table_highest_first_and_unknown_values_last(sort: str, order: str) -> None:
    found, names = arranged({"sort": sort})
    assert "".join(names) == order
    assert found.sort("p95") == ("" if sort == "models.p95" else "models.p95")
    assert found.sort("requests") == ""


def test_a_long_table_is_cut_after_sorting_unless_all_of_it_is_asked_for() -> None:
    rows = [{**ROWS[0], "name": str(number), "requests": number} for number in range(60)]
    found, names = arranged({}, rows)
    assert (found.listed, found.rows, found.is_cut) == (50, 60, True) and names[0] == "59"
    found, names = arranged({"all": "models"}, rows)
    assert not found.is_cut and len(names) == 60
    assert arranged({"all": "providers"}, rows)[0].is_cut
