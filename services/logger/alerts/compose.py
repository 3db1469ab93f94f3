"""Texts of messages: what has happened, and a link to the dashboard."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from services.logger.alerts import levels, rules
from services.logger.alerts.contributors import TOP, Details
from services.logger.alerts.levels import Measured
from services.logger.alerts.message import Message
from shared.alerts import wording
from shared.alerts.model import SELF_MEASURES, SYSTEM, AlertRule, State, dates, subject_key

Level = Literal["warning", "alert", "recovered", "test"]

_PAGES = {
    "cost": "/cost",
    "cost_per_request": "/cost",
    "errors": "/errors",
    "error_rate": "/errors",
    "latency_p95": "/latency",
    "first_byte_p95": "/latency",
}
_TITLES = {"warning": "Warning", "alert": "Alert", "recovered": "Recovered", "test": "Test"}
_SELF = "Metrion"  # who a rule about the whole installation is of, in titles


def message(
    rule: AlertRule,
    level: Level,
    found: Measured,
    *,
    details: Details,
    dashboard_url: str,
    at: datetime,
    now: datetime,
    before: State | None = None,
) -> Message:
    """Compose a message. `at`: when it was first tried, the same in every repetition."""
    value = wording.amount(rule, found.value)
    threshold = wording.amount(rule, rule.threshold)
    whose = _SELF if rule.account == SYSTEM else rule.account
    subject = f", {rule.by} {found.subject}" if found.subject and rule.by else ""
    outcome = f"{value} of {threshold}" if level != "test" else "this is a test"
    return Message(
        account=rule.account,
        rule=rule.name,
        level=level,
        subject=found.subject,
        title=_line(f"{_TITLES[level]}: {rule.name} of {whose}{subject}: {outcome}"),
        text=_text(rule, level, found, details=details, before=before, now=now),
        value=value,
        threshold=threshold,
        contributors=details.contributors,
        forecast=_forecast(rule, found),
        compared=details.compared,
        link=link(rule, found.subject, url=dashboard_url, now=now),
        at=at,
        key=f"{rule.account}.{rule.name}.{subject_key(found.subject)}",
    )


def digest(
    rule: AlertRule, level: Level, found: Sequence[Measured], *, dashboard_url: str, at: datetime, now: datetime
) -> Message:
    """Compose one message about many subjects; `found` has the largest first."""
    whose = _SELF if rule.account == SYSTEM else rule.account
    threshold = wording.amount(rule, rule.threshold)
    count = f"{len(found):,} {rule.by}{'' if len(found) == 1 else 's'}"
    largest = found[:TOP] if level != "recovered" else ()
    if level == "recovered":
        have = "has" if len(found) == 1 else "have"
        outcome = f"{count} {have} recovered" if found else f"each {rule.by} of the digest has recovered"
        text = f"{wording.NAMES[rule.measure]} {wording.period(rule)}: {outcome}; the threshold is {threshold}."
    else:
        reached = threshold if level == "alert" else f"{rule.warn_percent} % of {threshold}"
        outcome = f"{count} at {reached}"
        text = (
            f"{wording.NAMES[rule.measure]} {wording.period(rule)} has reached {reached} for {count} more. "
            "They are reported together because there are so many."
        )
    return Message(
        account=rule.account,
        rule=rule.name,
        level=level,
        title=_line(f"{_TITLES[level]}: {rule.name} of {whose}: {outcome}"),
        text=text,
        value=count if found else wording.amount(rule, Decimal(0)),
        threshold=threshold,
        contributors=tuple((one.subject, wording.amount(rule, one.value)) for one in largest),
        link=link(rule, "", url=dashboard_url, now=now),
        at=at,
        key=f"{rule.account}.{rule.name}.{subject_key('')}",
    )


def _text(
    rule: AlertRule, level: str, found: Measured, *, details: Details, before: State | None, now: datetime
) -> str:
    what = wording.NAMES[rule.measure]
    if wording.is_periodic(rule):
        what += f" {wording.period(rule)}"
    if found.subject and rule.by:
        what += f" of {rule.by} {found.subject}"
    value = wording.amount(rule, found.value)
    threshold = wording.amount(rule, rule.threshold)
    if level == "test":
        sentence = f"This is a test of the rule “{wording.text(rule)}”. The value is {value} at present."
    elif level == "recovered":
        is_turned = before is not None and before.start != rules.start(rule, now)
        reason = f"a new {rule.period} has begun" if is_turned else f"the threshold is {threshold}"
        sentence = f"{what} has recovered: {value}; {reason}."
    elif found.forecast is not None and levels.level(_without_forecast(rule), found) != level:
        sentence = (
            f"{what} will reach {wording.amount(rule, found.forecast)} if it goes on like this; it is {value} now."
        )
    elif level == "warning":
        sentence = f"{what} has reached {value}, {_percent(rule, found.value)} of {threshold}."
    else:
        sentence = f"{what} is {value}. The threshold is {threshold}."
    return f"{sentence} By model: {details.models}." if details.models else sentence


def _without_forecast(rule: AlertRule) -> AlertRule:
    return msgspec.structs.replace(rule, is_forecast=False)


def _percent(rule: AlertRule, value: Decimal) -> str:
    return f"{100 * value / rule.threshold:.0f} %"


def _forecast(rule: AlertRule, found: Measured) -> str:
    if found.forecast is None:
        return ""
    days = dates(rule.period)
    end = f"by the end of {days[1]}" if days else f"by the end of the {rule.period}"
    return f"{wording.amount(rule, found.forecast)} {end}"


def _line(text: str) -> str:
    """One line without control characters: a requester's name may have any."""
    return "".join(character if character.isprintable() else " " for character in text)[:300]


def link(rule: AlertRule, subject: str, *, url: str, now: datetime) -> str:
    """Return the dashboard's URL with period and filters set; "" without `url`."""
    if not url:
        return ""
    if rule.measure in SELF_MEASURES:
        return f"{url}/health"
    zone = ZoneInfo(rule.timezone)
    start = rules.span(rule, now).start.astimezone(zone)
    until = (now + timedelta(minutes=1)).astimezone(zone)
    parameters = {
        "account": "" if rule.account == SYSTEM else rule.account,
        "from": f"{start:%Y-%m-%dT%H:%M}",
        "to": f"{until:%Y-%m-%dT%H:%M}",
        "tz": rule.timezone,
        "provider": rule.scope.provider,
        "model": "" if set("*?") & set(rule.scope.model) else rule.scope.model,
        "requester": rule.scope.requester,
        "token": rule.scope.token,
        "meta": f"{rule.scope.metadata_key}={rule.scope.metadata_value}" if rule.scope.metadata_key else "",
    }
    if rule.by and subject:
        parameters[rule.by] = subject
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{url}{_PAGES.get(rule.measure, '/')}?{query}"
