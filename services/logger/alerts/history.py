"""History of messages: one entry for each that was sent or failed."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from services.logger.alerts import bucket as buckets
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.message import Message
from shared.alerts.model import HISTORY_KEY, Entry

log = logging.getLogger(__name__)

KEPT_SECONDS = 90 * 86400.0


async def note(
    bucket: Bucket, message: Message, reached: Sequence[str], failed: Mapping[str, str], *, at: datetime
) -> None:
    """Note a message; a failure is only logged."""
    entry = Entry(
        at=at,
        level=message.level,
        value=message.value,
        subject=message.subject,
        reached=tuple(reached),
        failed=dict(failed),
    )
    key = f"{HISTORY_KEY}{message.account}.{message.rule}.{int(at.timestamp() * 1000):013d}-{secrets.token_hex(3)}"
    try:
        await bucket.put(key, msgspec.json.encode(entry), ttl=KEPT_SECONDS)
    except buckets.Failed as error:
        log.warning("the history of alert %s lacks a message: %s", message.rule, type(error).__name__)
