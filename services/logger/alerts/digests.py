"""Messages about many subjects of a rule at once, at most one an hour."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from services.logger.alerts import compose, levels
from services.logger.alerts.delivery import Delivery, MessageContext
from services.logger.alerts.levels import Decision, Measured
from services.logger.alerts.message import Message
from services.logger.alerts.records import Records
from services.logger.alerts.states import States
from shared.alerts.model import WHOLE, AlertRule, State, subject_key

BY_THEMSELVES = 10  # subjects of a rule within DIGEST_EVERY, the largest values first; the others are in a digest
DIGEST_EVERY = timedelta(hours=1)
_ATTEMPTS = 5  # after which a digest is not tried again


class Digests:
    """Sends digests, and keeps the state of each rule with `by` itself."""

    def __init__(self, records: Records, states: States, delivery: Delivery, *, dashboard_url: str) -> None:
        self._records = records
        self._states = states
        self._delivery = delivery
        self._dashboard_url = dashboard_url

    async def send_digest(
        self,
        rule: AlertRule,
        crowd: Sequence[tuple[Decision, Measured]],
        largest: Measured | None,
        *,
        start: datetime | None,
        now: datetime,
    ) -> None:
        """Tell of a crowd in one message.

        Writes the state of a rule with `by` itself, too: its largest value.
        """
        before = self._records.states.get(f"{rule.account}.{rule.name}.{WHOLE}")
        if before is not None and before.rule_at != rule.created_at:
            before = None
        state = State(
            level=levels.level(rule, largest) if largest and levels.has_enough_requests(rule, largest) else "ok",
            value=f"{largest.value:f}" if largest else "0",
            at=now,
            subject=largest.subject if largest else "",
            start=start,
            rule_at=rule.created_at,
            notified=before.notified if before else "",
            notified_at=before.notified_at if before else None,
        )
        for level in ("alert", "warning", "recovered"):
            members = [(decision.state, found) for decision, found in crowd if decision.message == level]
            if members:
                state = await self._digest(rule, level, members, state, now=now)
        is_open = any(one.is_in_digest for key, one in self._records.states_of(rule) if key != WHOLE)
        if state.notified and not is_open and not crowd:
            state = await self._digest(rule, "recovered", [], state, now=now)
        await self._states.note(rule, WHOLE, before, state)

    async def _digest(
        self,
        rule: AlertRule,
        level: levels.Sendable,
        members: Sequence[tuple[State, Measured]],
        whole: State,
        *,
        now: datetime,
    ) -> State:
        """Send one message about many subjects, at most every hour; returns the rule's own state."""
        is_tried = False

        async def compose_it(at: datetime) -> Message:
            nonlocal is_tried
            is_tried = True
            found = [found for _, found in members]
            return compose.digest(rule, level, found, dashboard_url=self._dashboard_url, at=at, now=now)

        since = whole.notified_at if level == "recovered" and not members else None
        sent = await self._delivery.send(MessageContext(rule, "", level, whole.start, since, DIGEST_EVERY), compose_it)
        if sent is None or not is_tried or not (sent.is_done or sent.attempts >= _ATTEMPTS):
            return whole  # those who are not told yet are in the next one
        if level == "recovered":
            for state, _ in members:
                told = msgspec.structs.replace(state, notified="", notified_at=None, recovered_at=now, pending="")
                await self._states.note(rule, subject_key(state.subject), None, told)
            return whole if members else msgspec.structs.replace(whole, notified="", notified_at=None)
        for state, _ in members:
            told = msgspec.structs.replace(state, notified=level, notified_at=sent.at, is_in_digest=True)
            await self._states.note(rule, subject_key(state.subject), None, told)
        return msgspec.structs.replace(whole, notified=level, notified_at=sent.at)


def quota(states: Iterable[State], now: datetime) -> int:
    """How many subjects may still get a message of their own: ten within an hour."""
    recent = now - DIGEST_EVERY
    told = sum(
        not state.is_in_digest and any(at is not None and at > recent for at in (state.notified_at, state.recovered_at))
        for state in states
    )
    return BY_THEMSELVES - told
