"""Forecast of the month and unusual days."""

import math
import statistics
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from services.dashboard import cost_outlook
from shared import forecast
from shared.limits import periods


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_month_is_forecast_as_alerts_do(zone: str) -> None:
    tz = ZoneInfo(zone)
    start = datetime(2026, 11, 1, tzinfo=tz).astimezone(UTC)
    now = start + timedelta(days=9, hours=6)
    days = [Decimal(day % 3 + 1) for day in range(9)]
    cost = sum(days) + Decimal("0.5")
    found = cost_outlook.month(cost, days, zone=tz, now=now)
    assert found is not None and found.low is not None and found.high is not None
    end = datetime(2026, 12, 1, tzinfo=tz).astimezone(UTC)
    share = (now - start) / (end - start)
    assert float(found.amount) == pytest.approx(float(cost) / share)
    assert found.amount == forecast.at_end(cost, periods.span(periods.MONTH, zone, now), now)
    width = 1.28 * statistics.stdev(map(float, days)) * math.sqrt((end - now) / timedelta(days=1))
    assert float(found.high - found.amount) == pytest.approx(width)
    assert found.low == max(cost, found.amount - (found.high - found.amount))
    assert (found.days, found.end) == (9, end)


def test_nothing_is_forecast_in_the_first_tenth_and_no_range_from_two_days() -> None:
    tz = ZoneInfo("UTC")
    early = datetime(2026, 11, 3, 23, 59, tzinfo=UTC)
    assert cost_outlook.month(Decimal(5), [Decimal(2)] * 2, zone=tz, now=early) is None
    later = datetime(2026, 11, 4, tzinfo=UTC)
    found = cost_outlook.month(Decimal(5), [Decimal(2)] * 2, zone=tz, now=later)
    assert found is not None and (found.amount, found.low, found.high) == (Decimal(50), None, None)


def weeks(count: int, *, weekday: float = 10.0, weekend: float = 1.0) -> dict[int, float]:
    """Days before day 0, which is a Monday."""
    return {day: weekend if day % 7 in (5, 6) else weekday for day in range(-7 * count, 14)}


def test_day_is_compared_with_the_same_weekday() -> None:
    costs = weeks(8)
    assert cost_outlook.unusual(costs, until=14) == []
    costs[5] = 4.0  # a Saturday like no other, though cheap for a weekday
    costs[7] = 13.0
    costs[8] = 11.9  # less than 20 %
    found = cost_outlook.unusual(costs, until=14)
    assert [(day.slot, day.cost, day.usual, day.is_of_weekday) for day in found] == [
        (5, 4.0, 1.0, True),
        (7, 13.0, 10.0, True),
    ]


def test_noisy_days_need_a_larger_difference() -> None:
    costs = {day: 10.0 + day % 5 for day in range(-56, 7)}
    costs[3] = 17.0
    assert cost_outlook.unusual(costs, until=7) == []
    costs[3] = 30.0
    assert [day.slot for day in cost_outlook.unusual(costs, until=7)] == [3]


def test_short_history_is_compared_with_all_days_or_not_at_all() -> None:
    few = dict.fromkeys(range(-5, 4), 10.0)
    few[0] = 100.0
    assert cost_outlook.unusual(few, until=4) == []
    more = dict.fromkeys(range(-10, 3), 10.0)
    more[1] = 100.0
    more[2] = 0.0
    found = cost_outlook.unusual(more, until=2)  # day 2 is not over
    assert [(day.slot, day.is_of_weekday) for day in found] == [(1, False)]
    assert cost_outlook.unusual({}, until=9) == []


def test_missing_days_cost_nothing() -> None:
    costs = weeks(8)
    del costs[2]
    assert [(day.slot, day.cost) for day in cost_outlook.unusual(costs, until=7)] == [(2, 0.0)]
