"""Forecast of the month, and marks of the cost chart."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from services.dashboard import cost_outlook
from services.dashboard.charts import formats
from services.dashboard.charts.figure import Mark
from services.dashboard.charts.series import ChartContext
from services.dashboard.cost_outlook import Forecast
from services.dashboard.page_params import View
from services.dashboard.queries.panels import Compared
from services.dashboard.queries.runner import QueryResult

MONTH = "month"  # the period that is forecast
MOST_CHANGES = 10  # of prices that are marked, the latest


def forecast(view: View, sums: Compared) -> Forecast | None:
    """Forecast the cost of the present month.

    None for other periods, and while it is too early.
    """
    total = sums.total()
    if view.period.name != MONTH or total is None or total["cost"] is None:
        return None
    by_day = {row["slot"]: row["cost"] or Decimal(0) for row in sums.buckets().rows}
    complete = len(view.period.buckets()) - 1
    days = [by_day.get(day, Decimal(0)) for day in range(complete)]
    return cost_outlook.month(total["cost"], days, zone=view.tz, now=view.period.now)


def marks(
    chart_context: ChartContext,
    daily: QueryResult | None,
    annotations: QueryResult,
    prices: Mapping[int, datetime],
) -> list[Mark]:
    """Return the marks of the cost chart, in order of time.

    `prices`: when each version of the prices was accepted.
    """
    view = chart_context.view
    changed = [(number, at) for number, at in sorted(prices.items()) if view.since <= at < view.until]
    found = [
        *_unusual(chart_context, daily),
        *(_annotation(view, row) for row in annotations.rows),
        *(_note(view, at, f"new prices, version {number}") for number, at in changed[-MOST_CHANGES:]),
    ]
    return sorted(found, key=lambda mark: mark.bucket)


def _unusual(chart_context: ChartContext, daily: QueryResult | None) -> list[Mark]:
    view, money = chart_context.view, chart_context.money
    starts = view.period.buckets()
    if daily is None:
        return []
    costs = {row["slot"] - cost_outlook.HISTORY: float(row["cost"] or 0) for row in daily.rows}
    complete = sum(end <= view.period.now for end in [*starts[1:], view.until])
    found = []
    for day in cost_outlook.unusual(costs, until=complete):
        at = starts[day.slot]
        end = (at.astimezone(view.tz).replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=view.tz)
        usual = f"a {at.astimezone(view.tz):%A}" if day.is_of_weekday else "a day"
        text = f"{formats.day(at, view.tz)}: {money.text(day.cost)}; usual for {usual}: {money.text(day.usual)}"
        edges = {"from": str(int(at.timestamp())), "to": str(int(end.timestamp()))}
        sign = "more" if day.cost > day.usual else "less"
        found.append(Mark(day.slot, sign, text, view.url("/changes", period="", **edges)))
    return found


def _annotation(view: View, row: dict[str, Any]) -> Mark:
    is_repricing = row["kind"] == "repricing"
    text = (
        f"{formats.whole(row['changed'])} earlier requests repriced" if is_repricing else "data of a requester erased"
    )
    return _note(view, row["at"], text)


def _note(view: View, at: datetime, text: str) -> Mark:
    index = max(0, sum(start <= at for start in view.period.buckets()) - 1)
    return Mark(index, "note", f"{formats.day_and_minute(at, view.tz)}: {text}")
