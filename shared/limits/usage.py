"""Usage of limits and budgets, as the logger publishes it in NATS."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared import accounts_kv, stream_reader
from shared.accounts_model import Accounts
from shared.limits import periods, scopes, spend
from shared.limits.model import LIMIT_KEY, Limit
from shared.limits.periods import Span
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used

WARN_PERCENT = 90


class Use(NamedTuple):
    """What is used of a limit, or of one value's share of it."""

    each: tuple[str, ...]  # values of the EACH fields
    amount: Decimal  # requests, tokens, or money in the limit's currency
    percent: float
    unpriced: int = 0  # requests of unknown cost, for which an estimate is included

    @property
    def level(self) -> str:
        """The level: ok, near (90 % and more) or full."""
        if self.percent >= 100:
            return "full"
        return "near" if self.percent >= WARN_PERCENT else "ok"


class Usage(NamedTuple):
    """What is used of a limit in its present period, the most used value first."""

    span: Span
    uses: list[Use]
    computed_at: datetime | None  # None: the logger has published nothing yet

    @property
    def most(self) -> Use:
        """The most used value, or nothing used."""
        return self.uses[0] if self.uses else Use((), Decimal(0), 0.0)


async def read(js: JetStreamContext, limits: Iterable[Limit], *, now: datetime) -> dict[str, Usage]:
    """Read what is used of budgets, by <account>.<name>, not of limits per minute."""
    budgets = [limit for limit in limits if not limit.is_rate]
    found = await asyncio.gather(*(_published(js, limit) for limit in budgets))
    return {
        f"{limit.account}.{limit.name}": usage(limit, records, now=now)
        for limit, records in zip(budgets, found, strict=True)
    }


def usage(limit: Limit, records: Mapping[str, Used], *, now: datetime) -> Usage:
    """Return what is used of a limit by the records under its name, by counter.

    Records of a past period, or of an earlier version of the limit, count nothing.
    """
    present = _present(limit, records, now=now)
    uses = sorted((_use(limit, record) for record in present.values()), key=lambda use: (-use.amount, use.each))
    own = [record for counter, record in records.items() if counter == scopes.counter(limit, record.each)]
    computed_at = max((record.at for record in own), default=None)
    return Usage(periods.span(limit.period, limit.timezone, now), uses, computed_at)


async def published(js: JetStreamContext, limit: Limit, *, now: datetime) -> dict[str, Used]:
    """Read the records of a budget's present period, by counter."""
    return _present(limit, await _published(js, limit), now=now)


def _present(limit: Limit, records: Mapping[str, Used], *, now: datetime) -> dict[str, Used]:
    span = periods.span(limit.period, limit.timezone, now)
    return {
        counter: record
        for counter, record in records.items()
        if counter == scopes.counter(limit, record.each) and (span.end is None or record.start == span.start)
    }


async def limits_of(js: JetStreamContext, account: str) -> list[Limit]:
    """Read the limits of one account, without the rest of the bucket."""
    subject = f"{accounts_kv.SUBJECT}{LIMIT_KEY}{account}.>"
    directory = Accounts()
    for message in await stream_reader.messages(js, accounts_kv.STREAM, subject, config=stream_reader.latest()):
        if not accounts_kv.removes(message.headers):
            directory.put(message.subject.removeprefix(accounts_kv.SUBJECT), message.data)
    return directory.limits_of(account)


def _use(limit: Limit, record: Used) -> Use:
    percent = record.used / max(spend.units(limit), 1) * 100
    return Use(record.each, spend.amount(limit, record.used), percent, record.unpriced)


async def _published(js: JetStreamContext, limit: Limit) -> dict[str, Used]:
    subject = f"{SPEND_SUBJECT}{limit.account}.{limit.name}.*"
    try:
        messages = await stream_reader.messages(js, SPEND_STREAM, subject, config=stream_reader.latest())
    except NotFoundError:  # no stream yet: the provisioning job creates it
        return {}
    decoded = {message.subject.removeprefix(SPEND_SUBJECT): _decoded(message) for message in messages}
    return {counter: record for counter, record in decoded.items() if record is not None}


def _decoded(message: Msg) -> Used | None:
    if accounts_kv.removes(message.headers):
        return None
    try:
        return spend.decode_used(message.data)
    except msgspec.MsgspecError:  # of another release
        return None
