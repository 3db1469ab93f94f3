"""An account with a rate limit and a budget, and a stand-in for the logger that publishes what is used of them.

Neither is ever reached. Without figures and quotes a gateway would keep every request as not yet counted.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import events, nats_client
from shared.limits import admin, periods, scopes, spend
from shared.limits.model import COST, Limit, Scope
from shared.limits.spend import BILLION, QUOTE_SUBJECT, SPEND_STREAM, SPEND_SUBJECT, FigureProgress, Quote, Used

_QUOTE = Quote(BILLION // 20, 150_000, 230, 150, 600, 150, 600)
_EVERY = 1.0  # seconds between two figures
_SETTLE = 2.0  # seconds until the gateways know their limits


@contextlib.asynccontextmanager
async def limits(urls: Mapping[str, str], account: str = "default") -> AsyncIterator[None]:
    """Limit an account's requests a minute and cost a month; answer quotes and publish figures meanwhile.

    `urls`: of NATS, by user.
    """
    nc = await nats_client.connect(urls["admin"], service="admin")
    logger = await nats_client.connect(urls["logger"], service="logger")
    js = nc.jetstream()
    now = datetime.now(UTC)
    budget = Limit(account, "budget", now, Decimal(10_000_000), COST, "month")
    await admin.put(js, Limit(account, "rate", now, Decimal(10_000_000), scope=Scope(token="*")))
    await admin.put(js, budget)
    await logger.subscribe(QUOTE_SUBJECT, cb=_quote)
    publishing = asyncio.create_task(_publish(logger, budget))
    await asyncio.sleep(_SETTLE)
    try:
        yield
    finally:
        publishing.cancel()
        await nc.close()
        await logger.close()


async def _quote(message: Msg) -> None:
    await message.respond(spend.encode(_QUOTE))


async def _publish(nc: Client, budget: Limit) -> None:
    js = nc.jetstream()
    while True:
        through = (await js.stream_info(events.EVENTS_STREAM)).state.last_seq
        now = datetime.now(UTC)
        used = Used(through, periods.span(budget.period, budget.timezone, now).start, now)
        recorded = FigureProgress(through, now, limits=(spend.limit_id(budget),))
        for subject, record in ((scopes.counter(budget, ()), used), (budget.account, recorded)):
            await js.publish(SPEND_SUBJECT + subject, spend.encode(record), stream=SPEND_STREAM)
        await asyncio.sleep(_EVERY)
