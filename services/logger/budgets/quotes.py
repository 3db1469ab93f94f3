"""Responds to gateways that ask what a request is expected to use."""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.logger.prices.current import CurrentPrices
from shared import clickhouse
from shared.limits import spend
from shared.limits.spend import BILLION, QUOTE_SUBJECT, Quote, QuoteRequest
from shared.pricing.table import STANDARD, Table, Tiered, canonical

log = logging.getLogger(__name__)

LATELY = timedelta(days=7)
ENOUGH = 20  # requests of a token and model, or of an account and model, from which a percentile is taken
FRESH_SECONDS = 60.0
_MOST = 4096  # quotes kept
_QUEUE = "logger"  # one of the loggers answers
_MILLION = 1_000_000


class Quotes:
    """Quotes by account, token, provider and model, kept for a minute."""

    def __init__(self, nc: Client, client: AsyncClient, *, prices: CurrentPrices, unpriced: int) -> None:
        """`unpriced`: billionths of a dollar that a request of unknown cost counts."""
        self._nc = nc
        self._client = client
        self._prices = prices
        self._unpriced = unpriced
        self._kept: OrderedDict[QuoteRequest, tuple[float, Quote]] = OrderedDict()

    async def run(self) -> None:
        """Answer until cancelled."""
        subscription = await self._nc.subscribe(QUOTE_SUBJECT, queue=_QUEUE, cb=self._answer)
        try:
            await asyncio.Event().wait()
        finally:
            await subscription.unsubscribe()

    async def _answer(self, message: Msg) -> None:
        try:
            asked = spend.decode_quote_request(message.data)
            await self._nc.publish(message.reply, spend.encode(await self.quote(asked)))
        except Exception as error:  # the gateway then uses what it knows
            log.warning("no quote: %s %s", type(error).__name__, str(error)[:200])

    async def quote(self, asked: QuoteRequest) -> Quote:
        """Return a quote; raises one of clickhouse.Failed."""
        kept = self._kept.get(asked)
        if kept is not None and time.monotonic() - kept[0] < FRESH_SECONDS:
            return kept[1]
        now = datetime.now(UTC)
        (row,) = await clickhouse.run_query(
            self._client, "limit_quote", account=asked.account, token=asked.token, provider=asked.provider,
            model=asked.model, since=now - LATELY,
        )  # fmt: skip
        expected, tokens = None, None
        for name in ("own", "all"):
            if row[f"{name}_count"] >= ENOUGH:
                expected, tokens = int(row[f"{name}_cost"] * BILLION), int(row[f"{name}_tokens"])
                break
        table = self._prices.table
        provider, model = asked.provider, asked.model
        contexts = _contexts(table, provider, model, at=now)
        made = Quote(
            self._unpriced,
            expected,
            tokens,
            highest_price(table, provider, model, at=now, is_unit=_is_input),
            highest_price(table, provider, model, at=now, is_unit=_is_output),
            highest_price(table, provider, model, at=now, is_unit=_is_input, contexts=contexts),
            highest_price(table, provider, model, at=now, is_unit=_is_output, contexts=contexts),
        )
        self._kept[asked] = (time.monotonic(), made)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return made


def highest_price(
    table: Table,
    provider: str,
    model: str,
    *,
    at: datetime,
    is_unit: Callable[[str], bool],
    contexts: Sequence[tuple[str, str]] = (STANDARD,),
) -> int | None:
    """Return the highest price per token of some units, None if unknown.

    In billionths of a dollar. With more contexts than the standard one, in the dearest region, too.
    """
    found: list[Decimal] = []
    for context in contexts:
        prices = table.find(provider, model, at=at, context=context)
        if not isinstance(prices, str):
            for unit, price in prices.items():
                if price is not None and is_unit(unit):
                    found += _steps(price)
    if not found:
        return None
    factor = _highest_factor(table, provider) if len(contexts) > 1 else Decimal(1)
    return math.ceil(max(found) * factor * BILLION / _MILLION)


def _steps(price: Decimal | Tiered) -> list[Decimal]:
    if isinstance(price, Decimal):
        return [price]
    return [price.base, *(step for _, step in price.tiers if step is not None)]


def _contexts(table: Table, provider: str, model: str, *, at: datetime) -> list[tuple[str, str]]:
    """All contexts that a request of this model may be priced in."""
    day = at.astimezone(UTC).date()
    vendor, meant = table.resolve_alias(provider, canonical(model), day)
    tiers = {row.tier for row in table.rows(vendor, meant, day) if row.tier}
    return [
        STANDARD,
        *table.library.contexts(vendor, meant, day=day),
        *(("service_tier", tier) for tier in sorted(tiers)),
        *(("speed", tier) for tier in sorted(tiers)),
    ]


def _highest_factor(table: Table, provider: str) -> Decimal:
    factors = [Decimal(row.factor) for row in table.overrides.multiplier if row.provider == provider]
    return max([Decimal(1), *factors])


def _is_input(unit: str) -> bool:
    return unit.endswith("_mtok") and unit.startswith(("input", "cache_write"))


def _is_output(unit: str) -> bool:
    return unit.endswith("_mtok") and unit.startswith("output")
