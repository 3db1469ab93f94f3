"""Usage of limits per minute, from the counters of the gateways."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared import stream_reader
from shared.limits import scopes
from shared.limits.model import EACH, RATE_STREAM, RATE_SUBJECT, Limit
from shared.limits.periods import Span
from shared.limits.usage import Usage, Use

_MINUTE = 60


async def read(
    js: JetStreamContext, limits: Iterable[Limit], tokens: Mapping[str, Iterable[str]], *, now: datetime
) -> dict[str, Usage]:
    """Read what is used of limits per minute, by <account>.<name>.

    Of the minute before counts the share within the last 60 seconds, as for the gateways. `tokens`: names by account.
    Of other values with a limit of their own the name is unknown: counters have only its hash.
    """
    rates = [limit for limit in limits if limit.is_rate]
    found = await asyncio.gather(*(_of(js, limit, tokens.get(limit.account, ()), now) for limit in rates))
    return {f"{limit.account}.{limit.name}": usage for limit, usage in zip(rates, found, strict=True)}


async def _of(js: JetStreamContext, limit: Limit, tokens: Iterable[str], now: datetime) -> Usage:
    minute = int(now.timestamp()) // _MINUTE
    try:
        counted = await asyncio.gather(*(_messages(js, limit, minute=one) for one in (minute - 1, minute)))
    except NotFoundError:  # no stream yet: the provisioning job creates it
        counted = []
    names = _names(limit, tokens)
    left = 1 - Decimal(str(now.timestamp() % _MINUTE)) / _MINUTE
    totals: dict[str, Decimal] = {}
    for messages, share in zip(counted, (left, Decimal(1)), strict=False):
        for message in messages:
            counter = message.subject.removeprefix(RATE_SUBJECT).rpartition(".")[0]
            totals[counter] = totals.get(counter, Decimal(0)) + _total(message) * share
    if not limit.scope.has_each:  # what another scope under this name has counted is not its use
        totals = {counter: amount for counter, amount in totals.items() if counter == scopes.counter(limit, ())}
    uses = [
        Use(names.get(counter, ()), Decimal(int(amount)), float(amount / limit.amount * 100))
        for counter, amount in totals.items()
        if int(amount)
    ]
    start = datetime.fromtimestamp(minute * _MINUTE, UTC)
    uses.sort(key=lambda use: (-use.amount, use.each))
    return Usage(Span(start, start + timedelta(seconds=_MINUTE)), uses, now)


async def _messages(js: JetStreamContext, limit: Limit, *, minute: int) -> list[Msg]:
    subject = f"{RATE_SUBJECT}{limit.account}.{limit.name}.*.{minute}"
    return await stream_reader.messages(js, RATE_STREAM, subject, config=stream_reader.latest())


def _names(limit: Limit, tokens: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Values by counter, as far as they can be known."""
    if limit.scope.token != EACH or EACH in (limit.scope.requester, limit.scope.metadata_value):
        return {}
    return {scopes.counter(limit, (token,)): (token,) for token in tokens}


def _total(message: Msg) -> int:
    """Value of a counter, from its newest message: {"val": "5"}."""
    try:
        return max(int(json.loads(message.data)["val"]), 0)
    except (ValueError, KeyError, TypeError):
        return 0
