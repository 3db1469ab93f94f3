"""Sends a message to each channel of a rule, once over all loggers.

A key of the alerts bucket is the lock and the cooldown at once: whoever creates it may send the message. Delivery is at
least once. The lock of a logger that died expires after `CLAIM`; another one then sends what is left. It notes each
channel as soon as it is reached, so only what was under way when the logger died may arrive twice. Both messages then
have the same `key`, `level` and `at`.
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
from services.logger.metrics import Metrics
from shared.alerts.model import SENT_KEY, AlertRule, Channel, Sent, subject_key
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)

CLAIM = timedelta(seconds=180)  # longer than any attempt of the sender
RETRY_FIRST = timedelta(minutes=1)
RETRY_MOST = timedelta(hours=1)
_SLACK = 60.0  # seconds that a key outlives its cooldown, so that clocks may differ
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Sent).decode

Clock = Callable[[], datetime]
Compose = Callable[[datetime], Awaitable[Message]]  # called with the time at which it was first tried
Find = Callable[[str, str], Channel | None]  # a channel of an account


class About(NamedTuple):
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

    async def send(self, about: About, compose: Compose) -> Sent | None:
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
        lock = _Lock(self._bucket, key, revision, until=sent.at + about.cooldown, clock=self._clock)
        if not await lock.note(msgspec.structs.replace(sent, busy_until=now + CLAIM)):
            return None
        message = await compose(sent.at)
        return await self._to_each(rule, message, sent, lock)

    async def _to_each(self, rule: AlertRule, message: Message, sent: Sent, lock: "_Lock") -> Sent | None:
        before = sent
        failed: dict[str, str] = {}
        channels = [name for name in rule.channels if name not in sent.reached]
        async for name, reason in self.try_each(rule.account, channels, message):
            if reason:
                failed[name] = reason
                continue
            sent = msgspec.structs.replace(sent, reached=(*sent.reached, name), busy_until=self._clock() + CLAIM)
            if not await lock.note(sent):
                return None
        attempts = sent.attempts + 1
        pause = min(RETRY_FIRST * 2 ** min(attempts - 1, 10), RETRY_MOST)
        sent = msgspec.structs.replace(
            sent,
            busy_until=self._clock() + pause if failed else None,
            is_done=not failed,
            attempts=attempts,
            failed=failed,
        )
        await lock.note(sent)
        if sent.reached != before.reached or sent.failed != before.failed or not rule.channels:
            await history.note(self._bucket, message, sent.reached, failed, at=self._clock())
        return sent

    async def try_each(self, account: str, names: Sequence[str], message: Message) -> AsyncIterator[tuple[str, str]]:
        """Send a message to channels at the same time.

        Yields each channel with "", or why it was not reached, as soon as that is known.
        """
        tasks = {asyncio.create_task(self._try(account, name, message)): name for name in names}
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield tasks[task], task.result()
        finally:
            for task in tasks:
                await cancel_and_wait(task)

    async def _try(self, account: str, name: str, message: Message) -> str:
        """Send a message to one channel; returns "", or why that failed."""
        channel = self._find(account, name)
        if channel is None:
            return "there is no such channel"
        try:
            await self._sender.send(channel, message)
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


class _Lock:
    """The key of one message; writing it fails once another logger has taken it."""

    def __init__(self, bucket: Bucket, key: str, revision: int, *, until: datetime, clock: Clock) -> None:
        self._bucket = bucket
        self._key = key
        self._revision = revision
        self._until = until
        self._clock = clock

    async def note(self, sent: Sent) -> bool:
        """Write the key; False, and a log line, if another logger has written it."""
        ttl = (self._until - self._clock()).total_seconds() + _SLACK
        revision = await self._bucket.replace(self._key, _encode(sent), revision=self._revision, ttl=ttl)
        if revision is None:
            log.info("another logger sends %s", self._key)
            return False
        self._revision = revision
        return True


def _valid(value: bytes | None, about: About, now: datetime) -> Sent | None:
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
