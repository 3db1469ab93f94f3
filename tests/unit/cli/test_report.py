"""Notes below the table of `metrion report`."""

from services.cli.commands import report

TOTAL = {"groups": 0, "unpriced": 0, "estimated_cost": None}


def test_the_table_with_latency_says_which_responses_are_averaged() -> None:
    assert report._notes([], TOTAL, wide=True) == "Latency is the mean of successful, uncached responses."
    assert report._notes([], TOTAL, wide=False) == ""
