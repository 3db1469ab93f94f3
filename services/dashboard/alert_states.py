"""Alert rules with their states, history and channels, as a user may see them."""

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec
from nats.js import JetStreamContext

from services.dashboard.app_context import User
from shared import accounts_admin
from shared.alerts import built_in, channel_admin, rule_admin, wording
from shared.alerts.model import SYSTEM, AlertRule, Channel, Entry, State, subject_key

_RECIPIENT = re.compile(r"[^\s,;]+@[^\s,;]+")
_RANKS = {"alert": 0, "warning": 1, "ok": 2}


class RuleState(NamedTuple):
    """A rule as shown. `level`: the highest of its subjects; "" if not evaluated yet."""

    rule: AlertRule
    text: str
    level: str
    value: str  # of the whole rule, or of the subject with the largest value
    since: datetime | None  # when the level was told; None for ok
    at: datetime | None  # when the value changed
    subjects: Sequence[tuple[State, str]]  # warning or alert, with the value in words
    is_built_in: bool


class VisibleAlerts(msgspec.Struct):
    """What the alerts bucket holds of the accounts that a user sees."""

    accounts: list[str] = []  # with SYSTEM for those who run the installation
    rules: list[AlertRule] = []
    states: dict[str, dict[str, State]] = {}  # by <account>.<rule>, then by subject key
    history: list[tuple[str, str, Entry]] = []  # with account and rule, newest first
    channels: list[Channel] = []


async def read(js: JetStreamContext, user: User) -> VisibleAlerts:
    """Read what a user may see; those who run the installation also see SYSTEM."""
    directory, rules, states, history, channels = await asyncio.gather(
        accounts_admin.read(js),
        rule_admin.rules_with_built_in(js, account=user.account),
        rule_admin.states(js, account=user.account),
        rule_admin.history(js, account=user.account),
        channel_admin.channels(js, account=user.account),
    )
    accounts = [name for name in sorted(directory.accounts) if user.account in ("", name)]
    if user.operator:
        accounts.append(SYSTEM)
    by_rule: dict[str, dict[str, State]] = {}
    for key, found in states:
        name, _, subject = key.rpartition(".")
        by_rule.setdefault(name, {})[subject] = found
    return VisibleAlerts(
        accounts=accounts,
        rules=rules,
        states=by_rule,
        history=[
            (*key.split(".")[:2], entry if user.admin else _without_recipients(entry))  # type: ignore[misc]
            for key, entry in history
        ],
        channels=channels,
    )


def _without_recipients(entry: Entry) -> Entry:
    """Return a message with reasons that name no recipients of e-mail, which only admins see."""
    failed = {channel: _RECIPIENT.sub("a recipient", reason) for channel, reason in entry.failed.items()}
    return msgspec.structs.replace(entry, failed=failed)


def rule_state(rule: AlertRule, states: Mapping[str, Mapping[str, State]]) -> RuleState:
    """Return a rule with its state, by the states of all rules.

    What a former rule of that name has found does not count.
    """
    found = states.get(f"{rule.account}.{rule.name}", {})
    own = {key: state for key, state in found.items() if state.rule_at == rule.created_at}
    whole = own.get(subject_key(""))
    raised = [state for key, state in own.items() if state.level != "ok" and state.subject and key != subject_key("")]
    raised.sort(key=lambda state: (_RANKS[state.level], -_decimal(state.value)))
    worst = min(own.values(), key=lambda state: _RANKS[state.level], default=None)
    return RuleState(
        rule=rule,
        text=wording.text(rule),
        level=worst.level if worst else "",
        value=_value(rule, whole),
        since=worst.notified_at if worst and worst.level != "ok" else None,
        at=max((state.at for state in own.values()), default=None),
        subjects=[(state, _value(rule, state)) for state in raised],
        is_built_in=rule.account == SYSTEM and rule.name in built_in.RULES,
    )


def _value(rule: AlertRule, state: State | None) -> str:
    return "" if state is None else wording.amount(rule, _decimal(state.value))


def _decimal(text: str) -> Decimal:
    with contextlib.suppress(InvalidOperation):
        return Decimal(text)
    return Decimal(0)
