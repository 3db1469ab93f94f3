"""Forecast of the month's cost, and days of unusual cost."""

import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from shared import forecast
from shared.limits import periods

FEWEST_DAYS = 3  # complete days that a range needs
_BAND = 1.28  # standard deviations: eight of ten months end within the range, if days vary by chance
HISTORY = 56  # days before a day with which it is compared
_FEWEST_SAME = 4  # days of the same weekday; with fewer, all days are compared
_FEWEST = 7
_UNUSUAL = 3.5  # robust standard deviations
_MAD_SCALE = 1.4826  # from the median deviation to the standard deviation of a normal distribution
_SMALLEST_SHARE = 0.2  # of the usual cost; a smaller difference is not worth a mark
_FLOOR_SHARE = 0.05  # of the usual cost: the smallest deviation that counts, where all days are alike


class Forecast(NamedTuple):
    """What a month will cost, in US dollars. `low` and `high`: None with too few days."""

    amount: Decimal
    low: Decimal | None
    high: Decimal | None
    days: int  # complete days that it rests on
    end: datetime


class Unusual(NamedTuple):
    """A day whose cost is unusual."""

    slot: int
    cost: float
    usual: float
    is_of_weekday: bool  # compared with the same weekday, or with all days


def month(cost: Decimal, days: Sequence[Decimal], *, zone: ZoneInfo, now: datetime) -> Forecast | None:
    """Forecast the cost of the month that contains `now`; None in its first tenth.

    `cost`: of the month until now; `days`: of each complete day of it. The amount is that of alerts. The range is
    wider the more the days differ: 1.28 standard deviations of the sum of the remaining days, if they vary
    independently of each other. It begins at what has been spent.
    """
    span = periods.span(periods.MONTH, zone.key, now)
    amount = forecast.at_end(cost, span, now)
    if amount is None or span.end is None:
        return None
    if len(days) < FEWEST_DAYS:
        return Forecast(amount, None, None, len(days), span.end)
    left = (span.end - now) / timedelta(days=1)
    width = Decimal(_BAND * statistics.stdev(map(float, days)) * left**0.5)
    return Forecast(amount, max(cost, amount - width), amount + width, len(days), span.end)


def unusual(costs: Mapping[int, float], *, until: int) -> list[Unusual]:
    """Find days of unusual cost.

    `costs`: by day, 0 being the first one shown, earlier ones negative; days without requests may be missing. `until`:
    days from here on are not shown, or not over yet.
    A day is compared with the same weekday of the 56 days before it, with all of these where there are fewer than four:
    its cost is unusual if it differs from their median by more than 3.5 robust standard deviations (1.4826 times their
    median absolute deviation, at least 5 % of the median) and by more than 20 %. History begins with the first cost.
    """
    if not costs:
        return []
    first = min(costs)
    found = []
    for day in range(until):
        before = [costs.get(one, 0.0) for one in range(max(first, day - HISTORY), day)]
        same = [costs.get(one, 0.0) for one in range(day - 7, max(first, day - HISTORY) - 1, -7)]
        is_of_weekday = len(same) >= _FEWEST_SAME
        compared = same if is_of_weekday else before
        if len(compared) < (_FEWEST_SAME if is_of_weekday else _FEWEST):
            continue
        usual = statistics.median(compared)
        deviation = _MAD_SCALE * statistics.median(abs(cost - usual) for cost in compared)
        difference = abs(costs.get(day, 0.0) - usual)
        if usual and difference > max(_UNUSUAL * max(deviation, _FLOOR_SHARE * usual), _SMALLEST_SHARE * usual):
            found.append(Unusual(day, costs.get(day, 0.0), usual, is_of_weekday))
    return found
