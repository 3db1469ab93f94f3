"""Values of alert rules, each from one built-in query."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger.alerts import levels
from services.logger.alerts.levels import Measured
from shared import clickhouse
from shared.alerts.model import CREATED, SELF_MEASURES, SYSTEM, AlertRule, dates, window
from shared.limits import periods
from shared.limits.periods import Span

MOST = 10_000  # subjects of a rule, the largest values first
_NAMES = 500  # subjects looked up by one query
_FAR = timedelta(days=2)  # beyond now: a gateway's clock may be ahead
_QUARTER = timedelta(minutes=15)
_LATE = timedelta(days=1)
_LATENCIES = ("latency_p95", "first_byte_p95")


def span(rule: AlertRule, now: datetime) -> Span:
    """Return the period that a rule looks at; rolling ones have no end."""
    if days := dates(rule.period):
        zone = periods.zone(rule.timezone)
        first, behind = (datetime.combine(day, time.min, zone) for day in (days[0], days[1] + timedelta(days=1)))
        return Span(first.astimezone(UTC), behind.astimezone(UTC))
    if rule.period == CREATED:  # from the quarter of an hour on, as the rollup has it
        return Span(rule.created_at - (rule.created_at - datetime.min.replace(tzinfo=UTC)) % _QUARTER, None)
    length = window(rule.period)
    return Span(now - length, None) if length else periods.span(rule.period, rule.timezone, now)


def start(rule: AlertRule, now: datetime) -> datetime | None:
    """Return the start of the current period; None if it is rolling."""
    if rule.measure in SELF_MEASURES:
        return None
    current = span(rule, now)
    return current.start if current.end else None


def is_over(rule: AlertRule, now: datetime) -> bool:
    """Whether the dates of a rule have passed for good: late requests are in by then."""
    end = span(rule, now).end if dates(rule.period) else None
    return end is not None and now >= end + _LATE


def span_before(rule: AlertRule, current: Span, now: datetime) -> Span:
    """Return the period before, as far as the current one has got."""
    elapsed = now - current.start
    if current.end is None:
        return Span(current.start - elapsed, current.start)
    if dates(rule.period):
        earlier = current.start - (current.end - current.start)
        return Span(earlier, min(earlier + elapsed, current.start))
    earlier = periods.span(rule.period, rule.timezone, current.start - timedelta(microseconds=1)).start
    return Span(earlier, min(earlier + elapsed, current.start))


async def values(
    client: AsyncClient, rule: AlertRule, *, now: datetime, subjects: Collection[str] = ()
) -> list[Measured]:
    """Compute a rule's value of the present period, for each subject, largest first.

    Raises one of clickhouse.Failed. A rule without `by` has one value or none. `subjects` are looked up also beyond
    the MOST largest.
    """
    current = span(rule, now)
    within = current._replace(end=current.end or now + _FAR)
    found = await compute(client, rule, within, by=rule.by, limit=MOST, minimum=rule.minimum)
    if len(found) >= MOST - 1:  # but for requests without a subject
        others = sorted(set(subjects) - {one.subject for one in found})
        for first in range(0, len(others), _NAMES):
            names = others[first : first + _NAMES]
            found += await compute(client, rule, within, by=rule.by, limit=_NAMES, names=names)
    return [
        msgspec.structs.replace(one, forecast=levels.forecast(rule, one.value, span=current, now=now)) for one in found
    ]


async def compute(
    client: AsyncClient,
    rule: AlertRule,
    within: Span,
    *,
    by: str,
    limit: int,
    ordered: str = "",
    minimum: int = 0,
    names: Sequence[str] = (),
    unnamed: bool = False,
) -> list[Measured]:
    """Compute a measure of a span by one column ("": of all together), largest first.

    `ordered`: another measure to sort by. `minimum`: requests below which values come last. `names`: only these values
    of the column. `unnamed`: also requests without one.
    """
    assert within.end is not None
    is_of_requests = window(rule.period) is not None or bool(rule.scope.metadata_key)
    query = "alert_requests" if is_of_requests else "alert_latency" if rule.measure in _LATENCIES else "alert_sums"
    parameters: dict[str, Any] = {
        "account": "" if rule.account == SYSTEM else rule.account,
        "since": within.start,
        "until": within.end,
        "token": rule.scope.token,
        "requester": rule.scope.requester,
        "provider": rule.scope.provider,
        "model": like_pattern(rule.scope.model),
        "names": list(names),
        "by": "model_name" if is_of_requests and by == "model" else by or "account",
        "whole": not by,
        "ordered": ordered or rule.measure,
        "minimum": minimum,
        "limit": limit,
    }
    if not is_of_requests:
        has_requesters = by == "requester" or rule.scope.requester
        parameters["source"] = "usage" if has_requesters else "usage_totals"
        parameters["who"] = "requester" if has_requesters else "token"
    if query != "alert_latency":
        parameters["measure"] = rule.measure
    if is_of_requests:
        parameters |= {"metadata_key": rule.scope.metadata_key, "metadata_value": rule.scope.metadata_value}
    rows = await clickhouse.run_query(client, query, **parameters)
    found = []
    for row in rows:
        value = _value(rule, row)
        if value is not None and (row["subject"] or unnamed or not by):
            found.append(Measured(value, subject=row["subject"], sample=int(row["sample"])))
    return found


def _value(rule: AlertRule, row: dict[str, Any]) -> Decimal | None:
    if not row["sample"]:
        return None
    if rule.measure == "cost":
        return Decimal(row["cost"]) * rule.rate
    if rule.measure == "cost_per_request":
        return Decimal(row["cost"]) * rule.rate / int(row["priced"])
    number = row[rule.measure]
    return Decimal(number) if isinstance(number, int) else Decimal(str(round(number, 3)))


def like_pattern(pattern: str) -> str:
    """Convert a model pattern with * and ? to one of SQL; "" stays ""."""
    escaped = pattern.removeprefix("models/")
    for character in ("\\", "%", "_"):
        escaped = escaped.replace(character, f"\\{character}")
    return escaped.replace("*", "%").replace("?", "_")
