"""Evaluates alert rules after inserts and every minute, and sends messages.

Any number of loggers run it. A rule is evaluated by one of them at a time: by the one that holds its turn, a key of the
alerts bucket. What was sent is known by the locks of `delivery`, not by the turn.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger.alerts import bucket as buckets
from services.logger.alerts import compose, contributors, levels, rules
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.channels import Sender
from services.logger.alerts.contributors import Details
from services.logger.alerts.delivery import About, Delivery
from services.logger.alerts.levels import Decision, Measured
from services.logger.alerts.message import Message
from services.logger.alerts.pace import Pace
from services.logger.alerts.records import Records
from services.logger.alerts.schedule import Schedule
from services.logger.alerts.self_alerts import SelfAlerts
from services.logger.metrics import Metrics
from shared import clickhouse
from shared.alerts.model import SELF_MEASURES, STATE_KEY, TURN_KEY, WHOLE, AlertRule, Sent, State, subject_key
from shared.process import cancel_and_wait, run_all

log = logging.getLogger(__name__)

EVALUATION_SECONDS = 240.0  # after which an evaluation is cut off, before another logger could take its turn
_TURN = timedelta(seconds=300)
_SLACK = 60.0  # seconds that the key of a turn outlives it, so that clocks may differ
_TICK_SECONDS = 1.0
_AT_ONCE = 4  # rules that are measured, of which one queries ClickHouse
_OF_ACCOUNT = 4  # rules of one account, which may wait for its receivers
_PAUSE = 3.0  # after a query, this many times its duration: alerts take a quarter of the time at most
_DETAILS_SECONDS = 30.0  # after which a message is sent without
_MESSAGE_SECONDS = 150.0  # that a message takes at most: its details, and two minutes of the sender
_BY_THEMSELVES = 10  # subjects of a rule within DIGEST_EVERY, the largest values first; the others are in a digest
DIGEST_EVERY = timedelta(hours=1)
_DIGEST_ATTEMPTS = 5  # after which a digest is not tried again
_STATE_SECONDS = 7 * 86400.0
_REWRITTEN_AFTER = timedelta(days=1)
_VALUE_AFTER = timedelta(minutes=1)
_EARLY = timedelta(seconds=2)  # a turn ends before the next evaluation is due

Clock = Callable[[], datetime]


def now_utc() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


class Engine:
    """Alert rules of all accounts, and the built-in ones about Metrion itself."""

    def __init__(
        self,
        nc: Client,
        client: AsyncClient,
        *,
        sender: Sender,
        metrics: Metrics,
        dashboard_url: str = "",
        self_alerts: SelfAlerts,
        schedule: Schedule,
        clock: Clock = now_utc,
    ) -> None:
        self._nc = nc
        self._client = client
        self._metrics = metrics
        self._dashboard_url = dashboard_url.rstrip("/")
        self._self_alerts = self_alerts
        self._schedule = schedule
        self._clock = clock
        self._bucket = Bucket(nc.jetstream())
        self.records = Records()
        self.delivery = Delivery(self._bucket, sender=sender, find=self.records.channel, metrics=metrics, clock=clock)
        self._pace = Pace(_PAUSE)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._measured: set[str] = set()  # those running that only send now
        self._composing = asyncio.Lock()

    async def run(self) -> None:
        """Follow the rules and evaluate them until cancelled."""
        await run_all(self.records.follow(self._nc), self._forever())

    async def _forever(self) -> None:
        await self.records.wait_until_loaded()
        try:
            while True:
                self._start_due()
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            for task in list(self._running.values()):
                await cancel_and_wait(task)

    def rules(self) -> dict[str, AlertRule]:
        """Return all rules: those of the bucket, and the built-in ones."""
        return self.records.rules | self._self_alerts.rules(self.records)

    def _start_due(self) -> None:
        known = self.rules()
        of_account = Counter(key.partition(".")[0] for key in self._running)
        for key in self._schedule.due(known.items(), self._clock()):
            if len(self._running) - len(self._measured) >= _AT_ONCE:
                return
            rule = known[key]
            if key not in self._running and of_account[rule.account] < _OF_ACCOUNT:
                of_account[rule.account] += 1
                self._running[key] = task = asyncio.create_task(self.evaluate(rule))
                task.add_done_callback(lambda _, key=key: self._ended(key))  # type: ignore[misc]

    def _ended(self, key: str) -> None:
        self._running.pop(key, None)
        self._measured.discard(key)

    async def evaluate(self, rule: AlertRule) -> None:
        """Evaluate a rule, unless another logger does; a failure is counted and logged."""
        self._schedule.begun(f"{rule.account}.{rule.name}", rule, self._clock())
        try:
            async with asyncio.timeout(EVALUATION_SECONDS) as limit, self._turn(rule) as is_ours:
                if not is_ours:
                    self._schedule.missed(f"{rule.account}.{rule.name}")
                else:
                    began = time.monotonic()
                    await self._evaluate(rule, last_begin=(limit.when() or 0.0) - _MESSAGE_SECONDS)
                    self._metrics.alert_evaluations.inc()
                    self._metrics.alert_seconds.observe(time.monotonic() - began)
        except (*clickhouse.Failed, *buckets.Failed) as error:
            self._metrics.alert_evaluation_failures.inc()
            log.warning("alert %s of %s: %s %s", rule.name, rule.account, type(error).__name__, str(error)[:200])
        except Exception:
            self._metrics.alert_evaluation_failures.inc()
            log.exception("alert %s of %s cannot be evaluated", rule.name, rule.account)

    @contextlib.asynccontextmanager
    async def _turn(self, rule: AlertRule) -> AsyncIterator[bool]:
        """Hold a rule's turn, and keep it for most of the debounce.

        Yields False if another logger has it.
        """
        key = f"{TURN_KEY}{rule.account}.{rule.name}"
        began = self._clock()
        value, revision = await self._bucket.get(key)
        taken = await self._take(key, began + _TURN, revision) if _is_over(value, began) else None
        try:
            yield taken is not None
        finally:
            if taken is not None:
                with contextlib.suppress(*buckets.Failed):
                    await self._take(key, began + self._schedule.debounce - _EARLY, taken)

    async def _take(self, key: str, until: datetime, revision: int) -> int | None:
        """Note until when a turn lasts; returns the key's new revision, None if another logger was faster."""
        ttl = (until - self._clock()).total_seconds()
        return await self._bucket.replace(key, until.isoformat().encode(), revision=revision, ttl=ttl + _SLACK)

    async def _evaluate(self, rule: AlertRule, *, last_begin: float) -> None:
        """Measure a rule and send its messages; but for the first, none is begun after `last_begin`."""
        now = self._clock()
        start = self._start(rule, now)
        raised = [state.subject for _, state in self.records.states_of(rule) if state.level != "ok" or state.notified]
        async with self._pace.turn():
            found = {one.subject: one for one in await self.measure(rule, now, subjects=raised)}
        states = {state.subject: state for key, state in self.records.states_of(rule) if not rule.by or key != WHOLE}
        if (key := f"{rule.account}.{rule.name}") in self._running:
            self._measured.add(key)
        subjects = dict.fromkeys((*found, *states)) if rule.by else {"": None}
        quota = _quota(states.values(), now)
        recoveries = _BY_THEMSELVES if self._can_recover_together(rule) else len(subjects)
        crowd: list[tuple[Decision, Measured]] = []
        is_late = False
        for subject in subjects:
            before = states.get(subject)
            decision = levels.decide(rule, before, found.get(subject), subject=subject, start=start, now=now)
            if rule.by and before is None and decision.state.level == "ok":
                continue  # nothing to note about it
            if decision.message and is_late:
                continue  # the next evaluation sends it
            value = found.get(subject) or Measured(Decimal(0), subject)
            is_first = not (before and before.pending)
            is_new = decision.message in ("warning", "alert") and is_first
            is_over = decision.message == "recovered" and is_first
            if rule.by and ((is_new and quota <= 0) or (is_over and recoveries <= 0)):
                crowd.append((decision, value))
                continue
            state, is_tried = await self._told(rule, before, decision, value)
            quota -= is_new and is_tried
            recoveries -= is_over and is_tried
            is_late = is_late or (is_tried and asyncio.get_running_loop().time() > last_begin)
            await self._note(rule, subject_key(subject), before, state)
        if rule.by and not is_late:
            await self._note_together(rule, crowd, next(iter(found.values()), None), start=start, now=now)

    def _can_recover_together(self, rule: AlertRule) -> bool:
        """Whether no channel has an incident for each subject, which only a message of its own resolves."""
        channels = (self.records.channel(rule.account, name) for name in rule.channels)
        return all(channel is None or channel.kind != "pagerduty" for channel in channels)

    async def _told(
        self, rule: AlertRule, before: State | None, decision: Decision, found: Measured
    ) -> tuple[State, bool]:
        """Send a decision's message.

        Returns the state with what was sent, and whether something was tried now.
        """
        state, level = decision
        if not level:
            return state, False
        is_tried = False
        if before is not None and before.rule_at != rule.created_at:
            before = None

        async def compose_it(at: datetime) -> Message:
            nonlocal is_tried
            is_tried = True
            return await self.compose(rule, level, found, at=at, before=before)

        is_recovered = level == "recovered"
        since = state.notified_at if is_recovered else None
        about = About(rule, state.subject, level, state.start, since, levels.cooldown(rule))
        return _noted(state, level, await self.delivery.send(about, compose_it), now=self._clock()), is_tried

    async def compose(
        self,
        rule: AlertRule,
        level: compose.Level,
        found: Measured,
        *,
        at: datetime,
        before: State | None = None,
    ) -> Message:
        """Compose a message with its details; without them if ClickHouse fails or is slow."""
        now = self._clock()
        try:
            async with asyncio.timeout(_DETAILS_SECONDS), self._composing:
                details = await self._details(rule, found, now)
        except clickhouse.Failed as error:
            log.warning("alert %s of %s is sent without details: %s", rule.name, rule.account, type(error).__name__)
            details = Details()
        return compose.message(
            rule, level, found, details=details, dashboard_url=self._dashboard_url, at=at, now=now, before=before
        )

    async def _details(self, rule: AlertRule, found: Measured, now: datetime) -> Details:
        if rule.measure in SELF_MEASURES:
            return self._self_alerts.details(rule)
        return await contributors.details(self._client, rule, subject=found.subject, value=found.value, now=now)

    async def measure(self, rule: AlertRule, now: datetime, *, subjects: Collection[str] = ()) -> list[Measured]:
        """Compute a rule's values, largest first, and those of `subjects` in any case."""
        if rule.measure in SELF_MEASURES:
            return await self._self_alerts.values(rule, now)
        return await rules.values(self._client, rule, now=now, subjects=subjects)

    def _start(self, rule: AlertRule, now: datetime) -> datetime | None:
        if rule.measure in SELF_MEASURES:
            return None
        span = rules.span(rule, now)
        return span.start if span.end else None

    async def _note(self, rule: AlertRule, key: str, before: State | None, state: State) -> None:
        """Write a state if it is news, or before it vanishes."""
        if before is not None and not _is_news(before, state, may_vanish=bool(rule.by) and key != WHOLE):
            return
        key = f"{rule.account}.{rule.name}.{key}"
        await self._bucket.put(STATE_KEY + key, msgspec.json.encode(state), ttl=_STATE_SECONDS)
        self.records.states[key] = state  # at once: the next evaluation must not decide by an older one

    async def _note_together(
        self,
        rule: AlertRule,
        crowd: Sequence[tuple[Decision, Measured]],
        largest: Measured | None,
        *,
        start: datetime | None,
        now: datetime,
    ) -> None:
        """Tell of a crowd in one message, and write the state of a rule with `by` itself: its largest value."""
        before = self.records.states.get(f"{rule.account}.{rule.name}.{WHOLE}")
        if before is not None and before.rule_at != rule.created_at:
            before = None
        state = State(
            level=levels.level(rule, largest) if largest and levels.is_judged(rule, largest) else "ok",
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
        is_open = any(one.is_in_digest for key, one in self.records.states_of(rule) if key != WHOLE)
        if state.notified and not is_open and not crowd:
            state = await self._digest(rule, "recovered", [], state, now=now)
        await self._note(rule, WHOLE, before, state)

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
        sent = await self.delivery.send(About(rule, "", level, whole.start, since, DIGEST_EVERY), compose_it)
        if sent is None or not is_tried or not (sent.is_done or sent.attempts >= _DIGEST_ATTEMPTS):
            return whole  # those who are not told yet are in the next one
        if level == "recovered":
            for state, _ in members:
                told = msgspec.structs.replace(state, notified="", notified_at=None, recovered_at=now, pending="")
                await self._note(rule, subject_key(state.subject), None, told)
            return whole if members else msgspec.structs.replace(whole, notified="", notified_at=None)
        for state, _ in members:
            told = msgspec.structs.replace(state, notified=level, notified_at=sent.at, is_in_digest=True)
            await self._note(rule, subject_key(state.subject), None, told)
        return msgspec.structs.replace(whole, notified=level, notified_at=sent.at)


def _quota(states: Iterable[State], now: datetime) -> int:
    """How many subjects may be told of by themselves: ten within an hour."""
    recent = now - DIGEST_EVERY
    told = sum(
        not state.is_in_digest and any(at is not None and at > recent for at in (state.notified_at, state.recovered_at))
        for state in states
    )
    return _BY_THEMSELVES - told


def _noted(state: State, level: levels.Sendable, sent: Sent | None, *, now: datetime) -> State:
    """Return a state with what was sent."""
    if sent is None or not (sent.reached or sent.is_done):  # another logger is at it, or nobody was reached
        return state
    pending: levels.Sendable | Literal[""] = "" if sent.is_done else level
    if level == "recovered":
        return msgspec.structs.replace(state, notified="", notified_at=None, recovered_at=now, pending=pending)
    if state.recovered_at is not None and sent.at <= state.recovered_at:
        return state  # it was sent before all was well again: the cooldown lasts
    return msgspec.structs.replace(state, notified=level, notified_at=sent.at, pending=pending, is_in_digest=False)


def _is_news(before: State, state: State, *, may_vanish: bool) -> bool:
    """Whether a state says more than the one before, apart from values that change all the time."""
    if msgspec.structs.replace(before, at=state.at, value=state.value) != state:
        return True
    if state.level == "ok" and may_vanish:
        return False
    return state.at - before.at >= (_REWRITTEN_AFTER if before.value == state.value else _VALUE_AFTER)


def _is_over(value: bytes | None, now: datetime) -> bool:
    """Whether a turn is over, by the time noted in its key."""
    try:
        return not value or datetime.fromisoformat(value.decode()) <= now
    except ValueError:
        return True
