"""Sends a message to each channel of a rule, once over all loggers.

A key of the alerts bucket is the lock and the cooldown at once: whoever creates it may send the message. Just before a
message leaves for a channel, that is noted in the key, and afterwards that it was reached. So the logger that takes
over from one that died knows what was under way. To receivers that recognise a repetition by its id, a webhook or
PagerDuty, it sends that again. To a mailbox or a chat it does not: whether it arrived stays unknown, and is told so.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from services.logger.alerts import history
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.channels import Sender
from services.logger.alerts.message import Message, SendError
from services.logger.alerts.progress import Progress
from services.logger.metrics import Metrics
from shared.alerts.model import SENT_KEY, AlertRule, Channel, Sent, subject_key
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)

RETRY_FIRST = timedelta(minutes=1)
RETRY_MOST = timedelta(hours=1)
UNKNOWN = "unknown whether it arrived: the logger stopped while sending"
_RECOGNISING = ("webhook", "pagerduty")  # kinds of channels whose receivers know a message by its id
_decode = msgspec.json.Decoder(Sent).decode

Clock = Callable[[], datetime]
Compose = Callable[[datetime], Awaitable[Message]]  # called with the time at which it was first tried
Find = Callable[[str, str], Channel | None]  # a channel of an account


class MessageContext(NamedTuple):
    """Which message it is."""

    rule: AlertRule
    subject: str
    level: Literal["warning", "alert", "recovered"]
    start: datetime | None  # of the calendar period, in which each level begins anew
    since: datetime | None  # a `recovered` sent earlier was about something else
    cooldown: timedelta


class Delivery:
    """Locks, sends and notes messages."""

    def __init__(self, bucket: Bucket, *, sender: Sender, find: Find, metrics: Metrics, clock: Clock) -> None:
        self._bucket = bucket
        self._sender = sender
        self._find = find
        self._metrics = metrics
        self._clock = clock

    async def send(self, about: MessageContext, compose: Compose) -> Sent | None:
        """Send a message to the channels that have not got it; returns what is noted.

        None: another logger sends it, or the next attempt is not due yet. Raises one of bucket.Failed, or what
        `compose` raises.
        """
        rule, now = about.rule, self._clock()
        key = f"{SENT_KEY}{rule.account}.{rule.name}.{subject_key(about.subject)}.{about.level}"
        value, revision = await self._bucket.get(key)
        sent = _valid(value, about, now)
        if sent is None:
            sent = Sent(at=now, rule_at=rule.created_at, start=about.start)
        elif sent.is_done:
            return sent
        elif sent.busy_until is not None and sent.busy_until > now:
            return None
        progress = Progress(self._bucket, key, revision, sent, until=sent.at + about.cooldown, clock=self._clock)
        if not await progress.hold():
            return None
        keeping = asyncio.create_task(progress.keep())
        try:
            return await self._to_each(rule, await compose(sent.at), progress)
        finally:
            await cancel_and_wait(keeping)

    async def _to_each(self, rule: AlertRule, message: Message, progress: Progress) -> Sent | None:
        before = progress.sent
        lost = [name for name in before.sending if not self._can_repeat(rule.account, name)]
        unknown = (*before.unknown, *lost)
        failed: dict[str, str] = {}
        channels = [name for name in rule.channels if name not in before.reached and name not in unknown]
        async for name, reason in self.try_each(rule.account, channels, message, progress):
            if reason:
                failed[name] = reason
            elif not await progress.reached(name):
                return None
        attempts = before.attempts + 1
        pause = min(RETRY_FIRST * 2 ** min(attempts - 1, 10), RETRY_MOST)
        busy_until = self._clock() + pause if failed else None
        await progress.finish(failed=failed, unknown=unknown, attempts=attempts, busy_until=busy_until)
        sent = progress.sent
        if sent.reached != before.reached or sent.failed != before.failed or lost or not rule.channels:
            reasons = failed | dict.fromkeys(unknown, UNKNOWN)
            await history.note(self._bucket, message, sent.reached, reasons, at=self._clock())
        return sent

    def _can_repeat(self, account: str, name: str) -> bool:
        """Whether a channel's receiver recognises a message that it has got already."""
        channel = self._find(account, name)
        return channel is not None and channel.kind in _RECOGNISING

    async def try_each(
        self, account: str, names: Sequence[str], message: Message, progress: Progress | None = None
    ) -> AsyncIterator[tuple[str, str]]:
        """Send a message to channels at the same time.

        Yields each channel with "", or why it was not reached, as soon as that is known. `progress`: notes each channel
        before it is sent to.
        """
        tasks = {asyncio.create_task(self._try(account, name, message, progress)): name for name in names}
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield tasks[task], task.result()
        finally:
            for task in tasks:
                await cancel_and_wait(task)

    async def _try(self, account: str, name: str, message: Message, progress: Progress | None) -> str:
        """Send a message to one channel; returns "", or why that failed."""
        channel = self._find(account, name)
        if channel is None:
            return "the channel does not exist"

        async def begin() -> None:
            if progress is not None:
                await progress.begin(name)

        try:
            await self._sender.send(channel, message, begin=begin)
        except SendError as error:
            self._metrics.alert_failures.labels(kind=channel.kind).inc()
            log.warning("alert %s of %s did not reach channel %s: %s", message.rule, account, name, error)
            return str(error) or "failed"
        except Exception as error:
            self._metrics.alert_failures.labels(kind=channel.kind).inc()
            log.exception("alert %s of %s did not reach channel %s", message.rule, account, name)
            return f"internal error: {type(error).__name__}"
        self._metrics.alert_messages.labels(level=message.level).inc()
        return ""


def _valid(value: bytes | None, about: MessageContext, now: datetime) -> Sent | None:
    """Return a note that holds for this message; None if there is none, or it has expired."""
    if value is None:
        return None
    try:
        sent = _decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None
    if sent.rule_at != about.rule.created_at or sent.start != about.start:
        return None
    if about.since is not None and sent.at < about.since:
        return None
    return sent if sent.at + about.cooldown > now else None
