"""Usage of budgets: published by the logger, read by the gateways.

Amounts are whole numbers: billionths of a US dollar for costs, otherwise requests or tokens.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from shared.limits import scopes
from shared.limits.model import COST, Limit

SPEND_STREAM = "SPEND"
SPEND_SUBJECT = "metrion.spend."  # + <counter>: Used; + <account>: FigureProgress
QUOTE_SUBJECT = "metrion.limits.quote"  # QuoteRequest → Quote
HELD_SUBJECT = "metrion.limits.held"  # Held, by each gateway with requests in flight

BILLION = 1_000_000_000


class Used(msgspec.Struct, frozen=True, array_like=True):
    """What the stored requests have used of a budget.

    MessagePack under metrion.spend.<counter>.
    """

    used: int
    start: Annotated[datetime, msgspec.Meta(tz=True)]  # of the period it is about
    at: Annotated[datetime, msgspec.Meta(tz=True)]  # when it was computed
    each: tuple[str, ...] = ()  # values of the EACH fields of the limit's scope
    unpriced: int = 0  # requests without a price, for which an estimate is included


class FigureProgress(msgspec.Struct, frozen=True, array_like=True):
    """How far an account's figures go.

    MessagePack under metrion.spend.<account>, published after the figures themselves. All events of the
    stream EVENTS up to the sequence number `through` are included.
    """

    through: int
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    unpriced: int = 0  # billionths of a dollar that a request of unknown cost counts
    limits: tuple[str, ...] = ()  # limit_id() of each budget whose figures have been computed


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What a gateway's requests in flight will use, as expected, by counter."""

    gateway: str
    amounts: dict[str, int]


class QuoteRequest(msgspec.Struct, frozen=True, array_like=True):
    """Asks what a request is expected to use. MessagePack."""

    account: str
    token: str
    provider: str
    model: str


class Quote(msgspec.Struct, frozen=True, array_like=True):
    """What a request of a token and model is expected to use. MessagePack.

    `expected` and `tokens` are 95th percentiles of similar requests; None if there were too few. The prices are list
    prices in billionths of a dollar per token; None if the model has no price: `unpriced` is then counted for it. The
    worst prices are the highest of all service tiers and regions.
    """

    unpriced: int
    expected: int | None = None
    tokens: int | None = None
    input_price: int | None = None
    output_price: int | None = None
    worst_input: int | None = None
    worst_output: int | None = None


encode = msgspec.msgpack.Encoder().encode
decode_used = msgspec.msgpack.Decoder(Used).decode
decode_progress = msgspec.msgpack.Decoder(FigureProgress).decode
decode_held = msgspec.msgpack.Decoder(Held).decode
decode_quote_request = msgspec.msgpack.Decoder(QuoteRequest).decode
decode_quote = msgspec.msgpack.Decoder(Quote).decode


def limit_id(limit: Limit) -> str:
    """Return what stands for a limit in `FigureProgress`.

    It changes with the scope, the period and the time zone: the figures of other days are to be computed first.
    """
    return f"{scopes.counter(limit, ()).rpartition('.')[2][:16]}.{limit.timezone}"


def units(limit: Limit) -> int:
    """The amount of a limit in whole units."""
    if limit.measure == COST:
        return int(limit.amount / limit.rate * BILLION)
    return int(limit.amount)


def amount(limit: Limit, used: int) -> Decimal:
    """Convert units back to requests, tokens, or money in the limit's currency."""
    if limit.measure == COST:
        return Decimal(used) / BILLION * limit.rate
    return Decimal(used)
