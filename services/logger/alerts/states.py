"""Writes the states of a rule's subjects, and what was sent about them."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from services.logger.alerts import levels
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.records import Records
from shared.alerts.model import STATE_KEY, WHOLE, AlertRule, Sent, State

_STATE_SECONDS = 7 * 86400.0
_REWRITTEN_AFTER = timedelta(days=1)
_VALUE_AFTER = timedelta(minutes=1)


class States:
    """States of the alerts bucket, written when they say something new."""

    def __init__(self, bucket: Bucket, records: Records) -> None:
        self._bucket = bucket
        self._records = records

    async def note(self, rule: AlertRule, key: str, before: State | None, state: State) -> None:
        """Write a state if it is news, or before it expires."""
        if before is not None and not _is_news(before, state, may_vanish=bool(rule.by) and key != WHOLE):
            return
        key = f"{rule.account}.{rule.name}.{key}"
        await self._bucket.put(STATE_KEY + key, msgspec.json.encode(state), ttl=_STATE_SECONDS)
        self._records.states[key] = state  # at once: the next evaluation must not decide by an older one


def with_sent(state: State, level: levels.Sendable, sent: Sent | None, *, now: datetime) -> State:
    """Return a state with what was sent."""
    if sent is None or not (sent.reached or sent.is_done):  # another logger is sending it, or no channel was reached
        return state
    pending: levels.Sendable | Literal[""] = "" if sent.is_done else level
    if level == "recovered":
        return msgspec.structs.replace(state, notified="", notified_at=None, recovered_at=now, pending=pending)
    if state.recovered_at is not None and sent.at <= state.recovered_at:
        return state  # it was sent before the rule recovered: the cooldown continues
    return msgspec.structs.replace(state, notified=level, notified_at=sent.at, pending=pending, is_in_digest=False)


def _is_news(before: State, state: State, *, may_vanish: bool) -> bool:
    """Whether a state says more than the one before, apart from values that change all the time."""
    if msgspec.structs.replace(before, at=state.at, value=state.value) != state:
        return True
    if state.level == "ok" and may_vanish:
        return False
    return state.at - before.at >= (_REWRITTEN_AFTER if before.value == state.value else _VALUE_AFTER)
