"""Months of any zone, and texts that are none."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from shared import months


def test_a_month_begins_and_ends_at_midnight_of_its_zone() -> None:
    assert months.bounds("2026-03", ZoneInfo("Europe/Zurich")) == (
        datetime(2026, 2, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 31, 22, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13", "2026-1", "6740-02", "1989-12", "2106-01", "9999-12", "0001-01"]
)
def test_no_other_text_is_a_month(text: str) -> None:
    with pytest.raises(ValueError):
        months.bounds(text, ZoneInfo("Pacific/Kiritimati"))
