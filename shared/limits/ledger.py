"""Usage of budgets, from the stored requests."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse
from shared.limits import periods, scopes
from shared.limits.model import COST, EACH, REQUESTS, TOKENS, Limit
from shared.limits.spend import BILLION, Used

_FAR = timedelta(days=2)  # beyond now: a gateway's clock may be ahead


async def used(client: AsyncClient, limit: Limit, *, now: datetime, unpriced: int) -> dict[str, Used]:
    """Compute what is used of a limit in its present period, by counter.

    Raises one of clickhouse.Failed. `unpriced`: billionths of a dollar that a request of unknown cost counts.
    """
    span = periods.span(limit.period, limit.timezone, now)
    scope = limit.scope
    parameters: dict[str, Any] = {
        "account": limit.account,
        "since": span.start,
        "until": span.end or now + _FAR,
        "token": _one(scope.token),
        "requester": _one(scope.requester),
        "provider": scope.provider,
        "each_token": scope.token == EACH,
        "each_requester": scope.requester == EACH,
    }
    if limit.measure == REQUESTS or scope.model or scope.metadata_key:
        found = await clickhouse.run_query(
            client,
            "limit_usage_requests",
            each_model=bool(scope.model),
            metadata_key=scope.metadata_key,
            **parameters,
        )
    else:
        found = await clickhouse.run_query(client, "limit_usage", **parameters)
    sums: dict[tuple[str, ...], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in found:
        each = _each(limit, row)
        if each is not None:
            amount, without_price = sums[each]
            sums[each] = amount + _amount(limit, row, unpriced), without_price + int(row["unpriced_sum"])
    if not limit.scope.has_each:
        sums.setdefault((), (0, 0))
    return {
        scopes.counter(limit, each): Used(amount, span.start, now.astimezone(UTC), each, without_price)
        for each, (amount, without_price) in sums.items()
    }


def _one(condition: str) -> str:
    return "" if condition == EACH else condition


def _each(limit: Limit, row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Values of the EACH fields of a row's requests; None if the limit does not cover them."""
    scope = limit.scope
    if scope.model and not scopes.is_model(scope.model, row["model"]):
        return None
    each = []
    for wanted, value in (
        (scope.token, row["token_name"]),
        (scope.requester, row["requester_name"]),
        (scope.metadata_value, row["metadata_value"]),
    ):
        if wanted == EACH:
            if not value:
                return None
            each.append(value)
    if scope.metadata_key and scope.metadata_value not in (EACH, row["metadata_value"]):
        return None
    return tuple(each)


def _amount(limit: Limit, row: Mapping[str, Any], unpriced: int) -> int:
    if limit.measure == COST:
        return int(Decimal(row["cost_sum"]) * BILLION) + int(row["unpriced_sum"]) * unpriced
    return int(row["tokens_sum" if limit.measure == TOKENS else "requests_sum"] or 0)
