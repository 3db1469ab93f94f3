"""Measures of the analytics pages: a query computes those that its page shows, and no others."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.queries import measures
from services.dashboard.queries.measures import MEASURES
from shared import clickhouse

FILES = sorted(path.stem for path in clickhouse.QUERIES.glob("dashboard_*.sql") if "-- measures: " in path.read_text())


def test_the_queries_with_measures_are_found() -> None:
    assert len(FILES) >= 7


@given(names=st.sets(st.sampled_from(sorted(MEASURES)), min_size=1), file=st.sampled_from(FILES))
def test_a_query_has_the_measures_of_its_page_and_needs_their_columns_only(names: set[str], file: str) -> None:
    wanted = measures.chosen(names)
    sql = measures.query(file, wanted)
    assert "-- measures: " not in sql
    for name in MEASURES:
        assert bool(re.search(rf" AS {name}\b", sql.split("FROM")[0])) == (name in names) or name in _always(file)
    named = set(re.findall(r"\bu\.(\w+)", sql)) - set(re.findall(r"\bu\.(\w+)", clickhouse.text(file)))
    assert named <= set(measures.columns(wanted))


def _always(file: str) -> set[str]:
    """What a query selects without being asked, or deeper inside."""
    if file in ("dashboard_series_by", "dashboard_latency_series"):
        return set(MEASURES)
    return {"requester", "requesters"} if file == "dashboard_requesters" else set()


def test_a_column_that_two_measures_need_is_combined_once() -> None:
    sql = measures.query("dashboard_compared", measures.chosen({"tokens", "input_tokens", "output_tokens"}))
    assert sql.count("sum(u.input_tokens) AS input_tokens") == 1
    assert "ifNull(sum(p.input_tokens), 0) + ifNull(sum(p.output_tokens), 0) AS tokens" in sql


def test_a_measure_that_is_not_there_is_an_error_before_clickhouse_is_asked() -> None:
    with pytest.raises(KeyError, match="unknown measures: speed"):
        measures.chosen({"cost", "speed"})
