"""Alert rules and the channels that they notify, in the alerts bucket."""

import hashlib
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from shared.limits.model import Scope
from shared.vault import Sealed

ALERTS_BUCKET = "alerts"
ALERTS_STREAM = f"KV_{ALERTS_BUCKET}"
RULE_KEY = "rule."  # rule.<account>.<name>; account "-": a self-alert, about Metrion itself
CHANNEL_KEY = "channel."  # channel.<account>.<name>
STATE_KEY = "state."  # state.<account>.<rule>.<subject>: State; <subject> is subject_key()
SENT_KEY = "sent."  # sent.<account>.<rule>.<subject>.<level>: Sent, with a TTL: lock and cooldown of a message
LEASE_KEY = "turn."  # turn.<account>.<rule>, with a TTL: lease of the logger that evaluates a rule
TRIED_KEY = "tried."  # tried.<account>.<rule>, with a TTL: the cooldown of the test button
HISTORY_KEY = "history."  # history.<account>.<rule>.<id>, with a TTL: Entry
TEST_SUBJECT = "metrion.alerts.test"  # answered by a logger, which sends a test message
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
SYSTEM = "-"  # in place of an account: Metrion as a whole
WHOLE = "-"  # in place of a subject: the rule itself

ADDED_UP = ("cost", "requests", "tokens", "errors")  # measures that grow over a period
RATES = (
    "error_rate",
    "latency_p95",
    "first_byte_p95",
    "cost_per_request",
)  # that need some requests to judge by
# Measures of SYSTEM only; the others are about requests.
SELF_MEASURES = ("unpriced", "incomplete", "events_waiting", "dead_letters", "dropped", "price_age", "drift")

CREATED = "created"  # a period: since the rule was created
_DATES = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})\.\.([0-9]{4}-[0-9]{2}-[0-9]{2})")
_MOST_DATES = timedelta(days=366)
_WINDOW = re.compile(r"([1-9][0-9]{0,2})([mh])")
_SHORTEST = timedelta(minutes=5)
_LONGEST = timedelta(hours=48)

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Channel(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where messages go. JSON under channel.<account>.<name>."""

    account: str  # or SYSTEM
    name: str  # NAME_PATTERN, unique in its account
    created_at: Moment
    kind: Literal["email", "webhook", "slack", "teams", "discord", "pagerduty"]
    recipients: tuple[str, ...] = ()  # e-mail addresses
    hint: str = ""  # scheme and host of the URL: all that is ever shown of it
    url: Sealed | None = None  # URLs of webhooks contain secrets
    secret: Sealed | None = None  # signing key of a webhook, routing key of PagerDuty


class AlertRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A query with thresholds. JSON under rule.<account>.<name>."""

    account: str  # or SYSTEM
    name: str  # NAME_PATTERN, unique in its account
    created_at: Moment
    measure: Literal[
        "cost", "requests", "tokens", "errors", "error_rate", "latency_p95", "first_byte_p95", "cost_per_request",
        "unpriced", "incomplete", "events_waiting", "dead_letters", "dropped", "price_age", "drift",
    ]  # the second line is of SYSTEM only  # fmt: skip
    threshold: Decimal  # money in `currency`, a number, percent (error_rate), milliseconds, seconds or days
    # day, week, month, rolling days (30d), minutes (15m), hours (1h), days such as 2026-11-01..2026-11-30, or `created`
    period: str = "month"
    timezone: str = "UTC"
    scope: Scope = Scope()  # EACH is not used here: see `by`
    by: Literal["", "account", "requester", "token", "provider", "model"] = ""  # watches each value; account: of SYSTEM
    warn_percent: int = 90  # of the threshold; 0: no warning
    minimum: int = 0  # requests below which a rate, latency or cost per request is not judged
    is_forecast: bool = False  # compares what the period will end at
    currency: str = "USD"
    rate: Decimal = Decimal(1)  # units of `currency` for one US dollar
    channels: tuple[str, ...] = ()  # names of channels of the account
    cooldown_hours: int = 24  # each level is sent once within it
    is_paused: bool = False


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rule has found for one subject. JSON, with a TTL of some days."""

    level: Literal["ok", "warning", "alert"]
    value: str  # decimal text
    at: Moment
    subject: str = (
        ""  # a requester, token, provider or model with `by`; the largest one in the state of the rule itself
    )
    start: Moment | None = None  # of the calendar period; None: a rolling one
    rule_at: Moment | None = None  # when the rule was created: a new one of the same name begins anew
    notified: Literal["", "warning", "alert"] = ""  # the highest level that was sent since all was well
    notified_at: Moment | None = None  # when its message was first sent
    recovered_at: Moment | None = None  # when all was well again the last time
    is_in_digest: bool = False  # it was told together with others
    pending: Literal["", "warning", "alert", "recovered"] = ""  # a level that has not reached every channel yet


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that is being sent or was sent: the lock and the cooldown. JSON."""

    at: Moment  # when it was first tried; the same in every repetition
    rule_at: Moment
    start: Moment | None = None  # of the calendar period
    busy_until: Moment | None = None  # nobody else sends it before; after a failure the time of the next attempt
    is_done: bool = False  # no channel is left
    attempts: int = 0
    reached: tuple[str, ...] = ()  # channels, which are not sent it again
    sending: tuple[str, ...] = ()  # channels to which it is under way
    unknown: tuple[str, ...] = ()  # channels to which it was when a logger died, which are not sent it again
    failed: dict[str, str] = {}  # channels, with the reason


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message that was sent or failed. JSON, kept for 90 days."""

    at: Moment
    level: Literal["warning", "alert", "recovered", "test"]
    value: str  # for display
    subject: str = ""
    reached: tuple[str, ...] = ()
    failed: dict[str, str] = {}  # channels that were not reached, with the reason


class TrialRequest(msgspec.Struct, frozen=True):
    """Asks for a test message of a rule. JSON."""

    account: str
    rule: str


class TrialReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a test message has reached. JSON."""

    reached: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    error: str = ""  # why nothing was sent


def subject_key(subject: str) -> str:
    """Return the part of a key that stands for a subject: "-", or 32 hex characters."""
    return hashlib.sha256(subject.encode()).hexdigest()[:32] if subject else WHOLE


def dates(period: str) -> tuple[date, date] | None:
    """Return the first and the last day of a period such as 2026-11-01..2026-11-30.

    None for other periods.
    """
    match = _DATES.fullmatch(period)
    try:
        found = (date.fromisoformat(match[1]), date.fromisoformat(match[2])) if match else None
    except ValueError:
        return None
    return found if found and timedelta(0) <= found[1] - found[0] < _MOST_DATES and _is_calculable(*found) else None


def _is_calculable(*days: date) -> bool:
    """Whether there are a year before and after: for the period before, and for time zones."""
    return all(date.min + _MOST_DATES <= day <= date.max - _MOST_DATES for day in days)


def window(period: str) -> timedelta | None:
    """Return the length of a short window such as 15m or 1h; None for other periods."""
    match = _WINDOW.fullmatch(period)
    if match is None:
        return None
    length = timedelta(**{"minutes" if match[2] == "m" else "hours": int(match[1])})
    return length if _SHORTEST <= length <= _LONGEST else None
