"""The test button: sends a rule's message to its channels, on request over NATS."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from decimal import Decimal

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.logger.alerts import bucket as buckets
from services.logger.alerts import history
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.engine import Engine
from services.logger.alerts.levels import Measured
from shared import clickhouse
from shared.alerts.model import TEST_SUBJECT, TRIED_KEY, AlertRule, TrialReply, TrialRequest
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)

COOLDOWN_SECONDS = 12 * 3600.0  # after a test that has reached somebody
RETRY_SECONDS = 30.0  # after one that has reached nobody
_QUEUE = "alerts"  # one logger answers


class Trials:
    """Answers requests for test messages."""

    def __init__(self, nc: Client, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        self._nc = nc
        self._bucket = Bucket(nc.jetstream())
        self._engine = engine
        self._clock = clock
        self._replies: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answer requests while the block runs."""
        subscription = await self._nc.subscribe(TEST_SUBJECT, queue=_QUEUE, cb=self._answer)
        try:
            yield
        finally:
            with contextlib.suppress(*buckets.Failed):
                await subscription.unsubscribe()
            for task in list(self._replies):
                await cancel_and_wait(task)

    async def _answer(self, message: Msg) -> None:
        """Begin to answer, so that the next request need not wait for the receivers of this one."""
        task = asyncio.create_task(self._reply(message))
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _reply(self, message: Msg) -> None:
        try:
            request = _decode(message.data)
            reply = await self.send(request.account, request.rule)
        except (msgspec.MsgspecError, ValueError):
            reply = TrialReply(error="the request cannot be read")
        except (*buckets.Failed, *clickhouse.Failed) as error:
            log.warning("a test message was not sent: %s", type(error).__name__)
            reply = TrialReply(error=f"the logger cannot reach NATS or ClickHouse: {type(error).__name__}")
        except Exception:
            log.exception("a test message was not sent")
            reply = TrialReply(error="internal error; see the logger's log")
        if message.reply:
            with contextlib.suppress(*buckets.Failed):
                await message.respond(msgspec.json.encode(reply))

    async def send(self, account: str, name: str) -> TrialReply:
        """Send a test message of a rule to each of its channels, at most once in 12 h."""
        rule = self._engine.rules().get(f"{account}.{name}")
        if rule is None:
            return TrialReply(error="the rule does not exist")
        if not rule.channels:
            return TrialReply(error="the rule has no channel")
        key = f"{TRIED_KEY}{account}.{name}"
        at = self._clock()
        revision = await self._bucket.replace(key, at.isoformat().encode(), revision=0, ttl=COOLDOWN_SECONDS)
        if revision is None:
            return TrialReply(
                error=f"it was tested already{await self._when(key)}; a rule can be tested once in 12 hours"
            )
        reply = TrialReply()
        try:
            reply = await self._send(rule, at)
        finally:
            if not reply.reached:
                await self._bucket.replace(key, b"", revision=revision, ttl=RETRY_SECONDS)
        return reply

    async def _when(self, key: str) -> str:
        value, _ = await self._bucket.get(key)
        return f" at {value.decode()[:16].replace('T', ' ')} UTC" if value else ""

    async def _send(self, rule: AlertRule, at: datetime) -> TrialReply:
        found = await self._engine.measure(rule, at)
        value = found[0] if found else Measured(Decimal(0))
        message = await self._engine.compose(rule, "test", value, at=at)
        reached = []
        failed = {}
        async for name, reason in self._engine.delivery.try_each(rule.account, rule.channels, message):
            if reason:
                failed[name] = reason
            else:
                reached.append(name)
        await history.note(self._bucket, message, reached, failed, at=at)
        return TrialReply(reached=tuple(reached), failed=failed)


_decode = msgspec.json.Decoder(TrialRequest).decode
