"""Requests whose FOCUS rows are known."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from services.logger.rows import ResponseRow
from shared.pricing.table import Table
from tests.support.priced_rows import CHAT, chat, priced_row

NOVEMBER = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)


def priced(account: str) -> list[ResponseRow]:
    """Requests of known prices: two alike, one with cached tokens, of another tier, without a price, of a subscription, from the cache."""
    table = Table.default()

    def made(body: dict[str, Any], **changes: Any) -> ResponseRow:
        row = priced_row(body, provider="openai", **CHAT, at=NOVEMBER, table=table)
        given = {
            "id": str(uuid.uuid4()),
            "account": account,
            "requester": "ann",
            "metadata": {"project": "apollo", "n": "1"},
        }
        return msgspec.structs.replace(row, **(given | changes))

    plain = chat("gpt-4o-mini-2024-07-18", 1000, 100)
    cached = chat("gpt-4o-mini-2024-07-18", 1000, 100, prompt={"cached_tokens": 600})
    return [
        made(plain),
        made(plain, metadata={"project": "apollo", "n": "2"}),
        made(cached),
        made(chat("gpt-4o-mini-2024-07-18", 1000, 100, service_tier="priority")),
        made(chat("nobody-prices-this", 70, 7)),
        made(plain, billing="subscription", cost=Decimal(0), cost_by_class={}, cost_reason="subscription"),
        made(plain, cache="HIT", cost=Decimal(0), cost_by_class={}, cost_saved=Decimal(1), cost_reason="cache_hit"),
        made(plain, requester="=HYPERLINK(1)", metadata={"project": "apollo"}, endpoint="BATCH batch_1"),
    ]
