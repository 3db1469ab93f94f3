"""The cost of a whole batch at the batch rate, from the usage of all its requests."""

from datetime import datetime

import msgspec

from shared.pricing.cost import ESTIMATED, UNREAD, CostColumns, compute, unknown
from shared.pricing.table import Table
from shared.usage import Usage

ENDPOINT = "BATCH "  # followed by the batch's name: the endpoint of the row that carries the batch's cost
BILLED = "batch_billed"  # cost_reason of a download of the results, which costs nothing itself
RATE = ("processing", "batch")


def price(usage: Usage, *, provider: str, at: datetime, table: Table) -> CostColumns:
    """Price a batch as a whole, each model's share at its own batch rate.

    Some models charge more for long requests, but the sum does not show how many were long. The short-request price
    applies, as an estimate where a request could have been long enough.
    """
    if usage.unread:
        return unknown(f"{UNREAD}:{','.join(usage.unread)}", table)
    if usage.source != "reported":
        return unknown("broken_stream" if usage.source == "partial" else "usage_absent", table)
    cost = _at_batch_rate(usage, provider=provider, at=at, table=table, by_size=False)
    if_long = _at_batch_rate(usage, provider=provider, at=at, table=table, by_size=True)
    is_tiered = cost.cost_by_class != if_long.cost_by_class
    assumed = (*usage.inexact, *(("tier",) if is_tiered else ()))
    if cost.cost is None or not assumed:
        return cost
    return msgspec.structs.replace(cost, cost_source=ESTIMATED, cost_reason=f"{ESTIMATED}:{','.join(assumed)}")


def _at_batch_rate(usage: Usage, *, provider: str, at: datetime, table: Table, by_size: bool) -> CostColumns:
    return compute(usage, provider=provider, at=at, table=table, variant=lambda _: RATE, by_size=by_size)
