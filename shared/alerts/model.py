"""Alert rules and the channels that they notify, in the alerts bucket."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from shared.limits.model import Scope
from shared.vault import Sealed

ALERTS_BUCKET = "alerts"
ALERTS_STREAM = f"KV_{ALERTS_BUCKET}"
RULE_KEY = "rule."  # rule.<account>.<name>; account "-": a self-alert, about Metrion itself
CHANNEL_KEY = "channel."  # channel.<account>.<name>
STATE_KEY = "state."  # state.<account>.<rule>.<subject>: State
SENT_KEY = "sent."  # sent.<account>.<rule>.<subject>.<level>, with a TTL: the lock and the cooldown of a message
TRIED_KEY = "tried."  # tried.<account>.<rule>, with a TTL: the cooldown of the test button
HISTORY_KEY = "history."  # history.<account>.<rule>.<id>, with a TTL: Entry
TEST_SUBJECT = "metrion.alerts.test"  # answered by a logger, which sends a test message
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
SYSTEM = "-"  # in place of an account: Metrion as a whole

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
    threshold: Decimal  # in US dollars by `rate`, a number, percent (error_rate), milliseconds, seconds or days
    period: str = "month"  # day, week, month, rolling days (30d), minutes (15m) or hours (1h)
    timezone: str = "UTC"
    scope: Scope = Scope()  # EACH is not used here: see `by`
    by: Literal["", "requester", "token", "provider", "model"] = ""  # watches each value by itself
    warn_percent: int = 90  # of the threshold; 0: no warning
    minimum: int = 0  # requests below which a rate, latency or cost per request is not judged
    is_forecast: bool = False  # compares what the period will end at
    currency: str = "USD"
    rate: Decimal = Decimal(1)  # units of `currency` for one US dollar
    channels: tuple[str, ...] = ()  # names of channels of the account
    cooldown_hours: int = 24  # each level is sent once within it
    is_paused: bool = False


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rule has found for one subject. JSON."""

    level: Literal["ok", "warning", "alert"]
    value: str  # decimal text
    at: Moment
    subject: str = ""  # a requester, token, provider or model with `by`


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message that was sent or failed. JSON."""

    at: Moment
    level: Literal["warning", "alert", "recovered", "test"]
    value: str
    subject: str = ""
    failed: dict[str, str] = {}  # channels that were not reached, with the reason
