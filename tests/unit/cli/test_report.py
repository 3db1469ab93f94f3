"""Notes below the table of `metrion report`."""

from decimal import Decimal

from services.cli.commands import report

TOTAL = {"groups": 0, "unpriced": 0, "estimated_cost": None, "equivalent_sum": None}


def test_the_table_with_latency_says_which_responses_are_averaged() -> None:
    assert report._notes([], TOTAL, wide=True) == "Latency is the mean of successful, uncached responses."
    assert report._notes([], TOTAL, wide=False) == ""


def test_the_api_equivalent_of_subscriptions_is_stated_apart_from_the_cost() -> None:
    note = report._notes([], TOTAL | {"equivalent_sum": Decimal("12.5")}, wide=False)
    assert note == "Requests of subscriptions cost nothing by themselves; at API prices, they would have cost $12.50."
