"""The cost of a whole batch, from the usage of all its requests, at the batch rate."""

from datetime import datetime

import msgspec

from shared.pricing.cost import ESTIMATED, UNREAD, Price, compute, unknown
from shared.pricing.table import Table
from shared.usage import Usage

ENDPOINT = "BATCH "  # before a batch's name: the endpoint of the row that bears its cost
BILLED = "batch_billed"  # why a look at its results costs nothing
RATE = ("processing", "batch")


def price(used: Usage, *, provider: str, at: datetime, table: Table) -> Price:
    """What all requests of a batch cost together: each model's share at its own rate, unknown as soon as one is.

    Some models are dearer for long requests; of a sum it cannot be told which were, so the usual price is taken and
    called an estimate where one request could have been that long.
    """
    if used.unread:
        return unknown(f"{UNREAD}:{','.join(used.unread)}", table)
    usual = _at_rate(used, provider=provider, at=at, table=table, by_size=False)
    longest = _at_rate(used, provider=provider, at=at, table=table, by_size=True)
    tiered = usual.cost_by_class != longest.cost_by_class
    assumed = (*used.inexact, *(("tier",) if tiered else ()))
    if usual.cost is None or not assumed:
        return usual
    return msgspec.structs.replace(usual, source=ESTIMATED, reason=f"{ESTIMATED}:{','.join(assumed)}")


def _at_rate(used: Usage, *, provider: str, at: datetime, table: Table, by_size: bool) -> Price:
    return compute(used, provider=provider, at=at, table=table, variant=lambda _: RATE, by_size=by_size)
