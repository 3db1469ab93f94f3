"""Bills each finished batch once, however often its results are fetched.

A batch is claimed first, with requester and time of the first fetch of its results, and billed when the claim is
settled, so that all loggers write the same row. The row's id is derived from the batch's name. A later fetch with more
tokens, of a batch that was still running, writes a newer version. The fetches themselves then cost nothing.
"""

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import insert, rows
from services.logger.prices.current import CurrentPrices
from services.logger.rows import ResponseRow
from shared import clickhouse, events
from shared.pricing import batch_rate, cost_columns
from shared.pricing.cost_columns import RequestOutcome
from shared.pricing.table import Table
from shared.usage import Usage

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two passes
SETTLED = 20.0  # seconds after which no other logger can still be claiming the same batch
RECENT = timedelta(days=1)  # how far back a pass goes, by the time of insertion
FIRST = timedelta(days=35)  # how far back the first pass goes: results can be fetched for a month
LIMIT = 2000  # fetches per pass, since their rows are held in memory

_NAMES = uuid.UUID("6f0c7c2e-3a58-4b0e-9d0f-5b1f6f6a2f53")
_COUNTS = tuple(name for name in ResponseRow.__struct_fields__ if name.endswith("_tokens"))
# What the first look at a batch's results determines.
_CLAIMED = (
    *("token", "requester", "metadata", "client", "client_version", "session", "agent"),
    *("dialect", "gateway", "started_at"),
)
_FAR = datetime(2200, 1, 1, tzinfo=UTC)

ResultFetch = dict[str, Any]  # row of a request that fetched the results of a batch
Claim = dict[str, Any]  # row of metrion.batches with the version and tokens billed so far
Key = tuple[str, str, str]  # account, provider, batch


async def forever(
    client: AsyncClient, *, prices: CurrentPrices, every: float = EVERY, on_billed: Callable[[float], None]
) -> None:
    """Run a pass periodically; each completes what a failed one left undone."""
    back = FIRST
    while True:
        try:
            on_billed(await bill(client, prices=prices.table, since=datetime.now(UTC) - back))
            back = RECENT
        except clickhouse.Failed as error:
            log.warning("batches not billed, retrying: %s", type(error).__name__)
        await asyncio.sleep(every)


async def bill(client: AsyncClient, *, prices: Table, since: datetime, settled: float = SETTLED) -> int:
    """Bill the batches whose results were fetched since `since`; returns their number.

    `settled`: seconds after which a claim is settled.
    """
    # 1. the fetches by batch
    fetches: dict[Key, list[ResultFetch]] = defaultdict(list)
    for fetch in await clickhouse.run_query(client, "batch_results", since=since, limit=LIMIT):
        fetches[fetch["account"], fetch["provider"], fetch.pop("batch")].append(fetch)
    if not fetches:
        return 0
    # 2. claim the batches that nobody has claimed
    names = sorted({batch for _, _, batch in fetches})
    records = await clickhouse.run_query(client, "batch_claims", batches=names, settled=settled)
    claims = {(claim["account"], claim["provider"], claim["batch"]): claim for claim in records}
    await _claim(client, {key: of_batch[0] for key, of_batch in fetches.items() if key not in claims})
    # 3. bill settled batches by their most complete fetch, and mark the fetches
    batch_rows: list[ResponseRow] = []
    marked: list[ResponseRow] = []
    for key, of_batch in fetches.items():
        claim = claims.get(key)
        if claim and claim["settled"]:
            fullest = max(of_batch, key=_tokens)
            if not claim["version"] or _tokens(fullest) > claim["tokens"]:
                batch_rows.append(_row(claim, fullest, prices))
            marked += [_marked_billed(fetch, claim) for fetch in of_batch]
    # 4. batches before fetches: a failed pass starts again from the fetches that are not marked
    await insert.insert(client, batch_rows)
    await insert.insert(client, marked)
    return len(batch_rows)


async def _claim(client: AsyncClient, first: dict[Key, ResultFetch]) -> None:
    claims = [
        {
            "account": account,
            "provider": provider,
            "batch": batch,
            "id": uuid.uuid5(_NAMES, "\0".join((account, provider, batch))),
            "priority": (_FAR - fetch["started_at"]) // timedelta(microseconds=1),
            **{name: fetch[name] for name in _CLAIMED},
        }
        for (account, provider, batch), fetch in first.items()
    ]
    if claims:
        await client.insert("metrion.batches", [list(claim.values()) for claim in claims], column_names=list(claims[0]))


def _row(claim: Claim, fetch: ResultFetch, prices: Table) -> ResponseRow:
    """Build the row that carries the batch's cost."""
    usage = msgspec.json.decode(fetch["usage"], type=Usage)
    endpoint = f"{batch_rate.ENDPOINT}{claim['batch']}"
    request = RequestOutcome(
        provider=claim["provider"],
        endpoint=endpoint,
        model_requested=fetch["model_requested"],
        started_at=claim["started_at"],
        status=200,
        outcome=events.COMPLETE,
        error_type="",
        cache="",
        upstream=True,
    )
    cost = cost_columns.compute(usage, request, prices)
    return _like(
        fetch,
        id=str(claim["id"]),
        **{name: claim[name] for name in _CLAIMED},
        endpoint=endpoint,
        **msgspec.structs.asdict(cost),
        usage_source=cost_columns.usage_source(fetch["usage_source"], cost),
        version=claim["version"] + 1 if claim["version"] else rows.VERSION_ANSWERED,
        spool="",
        epoch=0,
        sequence=0,  # not numbered by a gateway
    )


def _marked_billed(fetch: ResultFetch, claim: Claim) -> ResponseRow:
    """Build the new version of a fetch: no cost and no tokens, which are billed with the batch."""
    return _like(
        fetch,
        **dict.fromkeys(_COUNTS, 0),
        cost=cost_columns.ZERO,
        cost_source="free",
        cost_reason=batch_rate.BILLED,
        version=fetch["version"] + 1,
        note=f"batch {claim['id']}",
    )


def _like(fetch: ResultFetch, **changes: Any) -> ResponseRow:
    known = {name: fetch[name] for name in ResponseRow.__struct_fields__}
    return ResponseRow(**known | {"id": str(fetch["id"])} | changes)


def _tokens(fetch: ResultFetch) -> int:
    return (fetch["input_tokens"] or 0) + (fetch["output_tokens"] or 0)
