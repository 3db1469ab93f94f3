"""Conditions that a query leaves out because their filter is not set."""

from datetime import UTC, datetime

import pytest

from services.dashboard import page_params
from services.dashboard.queries.runner import Query, names
from shared import clickhouse

NOW = datetime(2026, 11, 12, 12, tzinfo=UTC)
FILTERED = [file.stem for file in clickhouse.QUERIES.glob("*.sql") if "include request_filters.sql" in file.read_text()]
OWN = {  # parameters of queries that are no filters
    "since", "until", "ascending", "edge", "edge_id", "limit", "offset", "source", "measure", "step", "tz", "by", "only", "arrived", "ids",
}  # fmt: skip


def query(name: str, *, search: str = "", **filters: str) -> Query:
    view = page_params.parse("/logs", filters, now=NOW)
    return Query(name, view.parameters() | {"search": search, "hours": []})


def test_queries_with_filters_are_found() -> None:
    assert {"dashboard_logs_page", "dashboard_logs_sorted", "dashboard_prices"} <= set(FILTERED)


@pytest.mark.parametrize("name", FILTERED)
def test_no_filter_that_is_not_set_is_sent(name: str) -> None:
    assert set(names(query(name).sql)) <= OWN


@pytest.mark.parametrize(
    ("filters", "sent"),
    [
        ({"account": "a"}, {"account"}),
        ({"cache": "no"}, {"cache"}),
        ({"status": "4xx"}, {"any_status", "status_from", "status_to"}),
        ({"status": "interrupted"}, {"any_status", "status_from", "status_to"}),
        ({"status": "ok"}, {"any_status", "status_from", "status_to", "any_failed", "failed"}),
        ({"status": "failed"}, {"any_failed", "failed"}),
        ({"min_cost": "0.10"}, {"min_cost"}),
        ({"model": "m", "exclude": "model"}, {"any_model", "not_model", "model"}),
        ({"search": "0"}, {"search"}),
    ],
)
def test_filter_that_is_set_is_sent(filters: dict[str, str], sent: set[str]) -> None:
    assert set(names(query("dashboard_logs_page", **filters).sql)) - OWN == sent


def test_condition_of_several_lines_is_left_out_to_its_last_parenthesis() -> None:
    sql = "WHERE true\nAND ({search:String} = ''\nOR f(r.model, {search:String}) > 0\nOR (r.id) = {search:String})\nORDER BY 1"
    assert Query("", {"search": ""}, text=sql).sql == "WHERE true\n\nORDER BY 1"
    assert Query("", {}, text=sql).sql == sql, "a query without the parameter is left as it is"
