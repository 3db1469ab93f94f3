"""What the logger notes about alert rules, for tests of those that read it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from nats.aio.client import Client

from shared.alerts.model import (
    ALERTS_BUCKET,
    ALERTS_STREAM,
    HISTORY_KEY,
    STATE_KEY,
    AlertRule,
    Channel,
    Entry,
    State,
    subject_key,
)


def rule(name: str, account: str, **fields: Any) -> AlertRule:
    """A rule about the month's cost."""
    given: dict[str, Any] = {"created_at": datetime.now(UTC), "measure": "cost", "threshold": Decimal(500)}
    return AlertRule(account=account, name=name, **given | fields)


def email(name: str, account: str) -> Channel:
    """A channel of e-mail."""
    return Channel(
        account=account, name=name, created_at=datetime.now(UTC), kind="email", recipients=(f"{name}@example.com",)
    )


def state(rule: AlertRule, level: Any, value: str, subject: str = "", **fields: Any) -> State:
    """What a rule has found now."""
    return State(level=level, value=value, at=datetime.now(UTC), subject=subject, rule_at=rule.created_at, **fields)


async def note_state(logger: Client, rule: AlertRule, state: State, *, whole: bool = False) -> None:
    """Note a state, as the user `logger`; `whole`: of the rule itself, whatever the subject."""
    key = f"{STATE_KEY}{rule.account}.{rule.name}.{subject_key('' if whole else state.subject)}"
    await _put(logger, key, state)


async def note_sent(logger: Client, rule: AlertRule, level: Any, value: str, *, ago: int = 0, **fields: Any) -> None:
    """Note a message sent some seconds ago, as the user `logger`."""
    at = datetime.now(UTC) - timedelta(seconds=ago)
    key = f"{HISTORY_KEY}{rule.account}.{rule.name}.{int(at.timestamp() * 1000):013d}-{ago:06x}"
    await _put(logger, key, Entry(at=at, level=level, value=value, **fields))


async def _put(logger: Client, key: str, record: Any) -> None:
    subject = f"$KV.{ALERTS_BUCKET}.{key}"
    await logger.jetstream().publish(subject, msgspec.json.encode(record), stream=ALERTS_STREAM)
