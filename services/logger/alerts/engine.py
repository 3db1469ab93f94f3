"""Evaluates alert rules after inserts and every minute, and sends messages.

Any number of loggers run it. One of them at a time evaluates a rule: the one that holds its lease, a key of the alerts
bucket. What was sent is known by the locks of `delivery`, not by the lease.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger.alerts import bucket as buckets
from services.logger.alerts import compose, contributors, digests, levels, rules
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.channels import Sender
from services.logger.alerts.contributors import Details
from services.logger.alerts.delivery import Delivery, MessageContext
from services.logger.alerts.digests import Digests
from services.logger.alerts.levels import Decision, Measured
from services.logger.alerts.message import Message
from services.logger.alerts.pace import Pace
from services.logger.alerts.records import Records
from services.logger.alerts.rule_lease import RuleLease
from services.logger.alerts.schedule import Schedule
from services.logger.alerts.self_alerts import SelfAlerts
from services.logger.alerts.states import States, with_sent
from services.logger.metrics import Metrics
from shared import clickhouse
from shared.alerts.model import SELF_MEASURES, WHOLE, AlertRule, State, subject_key
from shared.process import cancel_and_wait, run_all

log = logging.getLogger(__name__)

EVALUATION_SECONDS = 240.0  # after which an evaluation is cut off
_TICK_SECONDS = 1.0
_AT_ONCE = 4  # rules that are measured, of which one queries ClickHouse
_OF_ACCOUNT = 4  # rules of one account, which may wait for its receivers
_PAUSE = 3.0  # after a query, this many times its duration: alerts take a quarter of the time at most
_DETAILS_SECONDS = 30.0  # after which a message is sent without
_MESSAGE_SECONDS = 150.0  # that a message takes at most: its details, and two minutes of the sender
_EARLY = timedelta(seconds=2)  # a lease ends before the next evaluation is due

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
        self._states = States(self._bucket, self.records)
        self._digests = Digests(self.records, self._states, self.delivery, dashboard_url=self._dashboard_url)
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
        lease = RuleLease(self._bucket, rule, clock=self._clock)
        try:
            async with (
                asyncio.timeout(EVALUATION_SECONDS) as limit,
                lease.held(self._schedule.debounce - _EARLY) as is_ours,
            ):
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

    async def _evaluate(self, rule: AlertRule, *, last_begin: float) -> None:
        """Measure a rule and send its messages; but for the first, none is begun after `last_begin`."""
        now = self._clock()
        start = rules.start(rule, now)
        raised = [state.subject for _, state in self.records.states_of(rule) if state.level != "ok" or state.notified]
        async with self._pace.turn():
            found = {one.subject: one for one in await self.measure(rule, now, subjects=raised)}
        states = {state.subject: state for key, state in self.records.states_of(rule) if not rule.by or key != WHOLE}
        if (key := f"{rule.account}.{rule.name}") in self._running:
            self._measured.add(key)
        subjects = dict.fromkeys((*found, *states)) if rule.by else {"": None}
        quota = digests.quota(states.values(), now)
        recoveries = digests.BY_THEMSELVES if self._can_recover_together(rule) else len(subjects)
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
            state, is_tried = await self._send(rule, before, decision, value)
            quota -= is_new and is_tried
            recoveries -= is_over and is_tried
            is_late = is_late or (is_tried and asyncio.get_running_loop().time() > last_begin)
            await self._states.note(rule, subject_key(subject), before, state)
        if rule.by and not is_late:
            await self._digests.send_digest(rule, crowd, next(iter(found.values()), None), start=start, now=now)

    def _can_recover_together(self, rule: AlertRule) -> bool:
        """Whether no channel has an incident for each subject, which only a message of its own resolves."""
        channels = (self.records.channel(rule.account, name) for name in rule.channels)
        return all(channel is None or channel.kind != "pagerduty" for channel in channels)

    async def _send(
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
        about = MessageContext(rule, state.subject, level, state.start, since, levels.cooldown(rule))
        return with_sent(state, level, await self.delivery.send(about, compose_it), now=self._clock()), is_tried

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
