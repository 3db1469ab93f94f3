"""Who contributes most to a value, and what changed since the period before."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger.alerts import rules
from services.logger.alerts.levels import Measured
from shared.alerts import wording
from shared.alerts.model import ADDED_UP, CREATED, AlertRule
from shared.limits.periods import Span

TOP = 5
NOT_SET = "(not set)"
_EARLY = 10  # nothing is compared in the first tenth of a period, as nothing is forecast
# What makes somebody count most towards a measure; by itself where nothing is named.
_ORDER = {"error_rate": "errors", "cost_per_request": "cost"}


class Details(msgspec.Struct, frozen=True):
    """What a message says beside the value; every text is for display."""

    contributors: tuple[tuple[str, str], ...] = ()  # name and amount, the largest first
    models: str = ""  # the largest models in one line, where the contributors are requesters
    compared: str = ""  # with the period before


async def details(client: AsyncClient, rule: AlertRule, *, subject: str, value: Decimal, now: datetime) -> Details:
    """Compute the details of a value of one subject; raises one of clickhouse.Failed."""
    one = narrowed(rule, subject)
    current = rules.span(rule, now)
    within = current._replace(end=min(current.end, now) if current.end else now)
    earlier = None if _is_incomparable(rule, current, now) else rules.span_before(rule, current, now)
    is_by_requester = not one.scope.requester
    contributors = await _largest(client, one, "requester" if is_by_requester else "model", within, earlier, value)
    models = ""
    if is_by_requester and not one.scope.model:
        largest = await _largest(client, one, "model", within, earlier, value)
        models = ", ".join(f"{name} {text}" for name, text in largest)
    if earlier is None:
        return Details(contributors, models)
    before = await rules.compute(client, one, earlier, by="", limit=1)
    return Details(contributors, models, compared(rule, value, before[0].value if before else None))


def _is_incomparable(rule: AlertRule, current: Span, now: datetime) -> bool:
    """Whether a comparison would be meaningless: early in a period, or without a period before."""
    if rule.period == CREATED:
        return True
    return current.end is not None and now - current.start < (current.end - current.start) / _EARLY


def narrowed(rule: AlertRule, subject: str) -> AlertRule:
    """Return the rule for one subject of its `by`."""
    if not rule.by or not subject:
        return rule
    if rule.by == "account":
        return msgspec.structs.replace(rule, account=subject, by="")
    return msgspec.structs.replace(rule, scope=msgspec.structs.replace(rule.scope, **{rule.by: subject}), by="")


async def _largest(
    client: AsyncClient, rule: AlertRule, by: str, within: Span, earlier: Span | None, whole: Decimal
) -> tuple[tuple[str, str], ...]:
    found = await rules.compute(
        client, rule, within, by=by, limit=TOP, ordered=_ORDER.get(rule.measure, ""), unnamed=True
    )
    values: dict[str, Decimal] | None = None
    if earlier is not None and found:
        names = [one.subject for one in found]
        before = await rules.compute(client, rule, earlier, by=by, limit=TOP, names=names, unnamed=True)
        values = {one.subject: one.value for one in before}
    return tuple((one.subject or NOT_SET, _part(rule, one, values, whole)) for one in found if one.value)


def _part(rule: AlertRule, found: Measured, before: Mapping[str, Decimal] | None, whole: Decimal) -> str:
    """Describe what one contributes. `before`: values of the period before, None if it is not compared."""
    notes = []
    if rule.measure in ADDED_UP and whole:
        notes.append(f"{100 * found.value / whole:.0f} %")
    if before is not None:
        notes.append(change(found.value, before.get(found.subject)) or "new")
    amount = wording.amount(rule, found.value)
    return f"{amount} ({', '.join(notes)})" if notes else amount


def change(value: Decimal, before: Decimal | None) -> str:
    """Describe a change in percent: "+41 %"; "" without a value before."""
    return f"{100 * (value - before) / before:+,.0f} %" if before else ""


def compared(rule: AlertRule, value: Decimal, before: Decimal | None) -> str:
    """Describe the change since the period before: "+41 % against last month …"."""
    when = wording.period_before(rule)
    if before is None or not before:
        return f"nothing in {when}" if when.startswith("the ") else f"nothing {when}"
    until = " up to the same time" if rule.period in ("day", "week", "month") else ""
    return f"{change(value, before)} against {when}{until} ({wording.amount(rule, before)})"
