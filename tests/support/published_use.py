"""What the logger publishes about budgets, for tests of those that read it."""

from collections.abc import Iterable
from datetime import UTC, datetime

from nats.aio.client import Client

from shared.limits import periods, scopes, spend
from shared.limits.model import Limit
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used


def used(limit: Limit, amount: int, *each: str, start: datetime | None = None, unpriced: int = 0) -> Used:
    """What is used of a limit in its present period, or of the one that began at `start`."""
    now = datetime.now(UTC)
    return Used(amount, start or periods.span(limit.period, limit.timezone, now).start, now, each, unpriced)


async def publish(logger: Client, limit: Limit, records: Iterable[Used]) -> None:
    """Publish what is used of a limit, as the user `logger`."""
    for record in records:
        await logger.jetstream().publish(
            SPEND_SUBJECT + scopes.counter(limit, record.each), spend.encode(record), stream=SPEND_STREAM
        )
