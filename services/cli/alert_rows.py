"""Alert rules and their states as rows of output."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from nats.js import JetStreamContext

    from shared.alerts.model import AlertRule, Entry, State

COLUMNS = (
    "account", "name", "measure", "threshold", "currency", "period", "timezone", "by", "warn_percent", "minimum",
    "is_forecast", "cooldown_hours", "token", "requester", "provider", "model", "metadata", "channels", "state",
    "value", "is_paused",
)  # fmt: skip
SHOWN = ("account", "name", "rule", "state", "value", "channels")
SENT = ("at", "account", "alert", "level", "subject", "value", "reached", "failed")
SENT_SHOWN = ("at", "account", "alert", "level", "value", "sent_to")  # six columns fit 80 characters


async def find(js: "JetStreamContext", account: str, name: str) -> "AlertRule":
    """Read a rule, also a built-in one; AccountError if there is none."""
    from shared.alerts import rule_admin

    for rule in await rule_admin.rules_with_built_in(js, account=account):
        if (rule.account, rule.name) == (account, name):
            return rule
    raise rule_admin.missing(account, name)


def row(rule: "AlertRule", states: dict[str, "State"]) -> tuple[object, ...]:
    """Values of COLUMNS."""
    from shared.limits import wording

    found = state(rule, states)
    scope = rule.scope
    return (
        rule.account, rule.name, rule.measure, str(rule.threshold), rule.currency, rule.period, rule.timezone, rule.by,
        rule.warn_percent, rule.minimum, rule.is_forecast, rule.cooldown_hours, scope.token, scope.requester,
        scope.provider, scope.model, wording.metadata_text(scope), rule.channels, found.level if found else "",
        found.value if found else None, rule.is_paused,
    )  # fmt: skip


def state(rule: "AlertRule", states: dict[str, "State"]) -> "State | None":
    """State of a rule itself; None before its first evaluation."""
    from shared.alerts.model import WHOLE

    found = states.get(f"{rule.account}.{rule.name}.{WHOLE}")
    return found if found is not None and found.rule_at == rule.created_at else None


def is_of(rule: "AlertRule", key: str, found: "State") -> bool:
    """Whether a state is of this rule, and of one of its subjects if it has some."""
    from shared.alerts.model import WHOLE

    is_whole = key.endswith(f".{WHOLE}")
    return found.rule_at == rule.created_at and bool(rule.by) != is_whole


def level(rule: "AlertRule", found: "State | None") -> str:
    """State of a rule in a word."""
    if rule.is_paused:
        return "paused"
    return found.level if found else "not evaluated yet"


def shown_row(rule: "AlertRule", states: dict[str, "State"]) -> tuple[str, ...]:
    """Values of SHOWN."""
    from decimal import Decimal

    from shared.alerts import wording

    found = state(rule, states)
    value = wording.amount(rule, Decimal(found.value)) if found else ""
    if found and rule.by and found.subject:
        value = f"{found.subject}: {value}"
    return rule.account, rule.name, wording.text(rule), level(rule, found), value, ", ".join(rule.channels)


def sent_row(key: str, entry: "Entry") -> tuple[Any, ...]:
    """Values of SENT. `key`: of the entry in the history."""
    account, rule, _ = key.split(".")
    return entry.at, account, rule, entry.level, entry.subject, entry.value, entry.reached, entry.failed


def shown_sent_row(
    at: "datetime", account: str, rule: str, level: str, subject: str, value: str,
    reached: Sequence[str], failed: Mapping[str, str],
) -> tuple[Any, ...]:  # fmt: skip
    """Values of SENT_SHOWN from those of SENT."""
    sent_to = ", ".join([*reached, *(f"{channel}: {reason}" for channel, reason in failed.items())])
    return at, account, rule, level, f"{subject}: {value}" if subject else value, sent_to
