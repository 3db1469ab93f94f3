"""Looks at finished batches go in; each batch's cost stands in one row, however often its results were fetched.

A batch is claimed first, with requester and time of the first look at its results, and booked when the claim is
settled: so all loggers book it alike. The row's id follows from its name; a look that tells more tokens than the last
(at a batch still at work) makes a newer version of it. The looks themselves cost nothing then.
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
from services.logger.price_file import PriceFile
from services.logger.rows import ResponseRow
from shared import clickhouse, events
from shared.pricing import batch_rate, cost_columns
from shared.pricing.cost_columns import RequestOutcome
from shared.pricing.table import Table
from shared.usage import Usage

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two passes
SETTLED = 20.0  # seconds after which no other logger can still be about to claim the same batch
LATELY = timedelta(days=1)  # how far back a pass looks, by when rows came in
FIRST = timedelta(days=35)  # the first one: results can be fetched for a month
LIMIT = 2000  # looks a pass: their rows are held in memory

_NAMES = uuid.UUID("6f0c7c2e-3a58-4b0e-9d0f-5b1f6f6a2f53")
_COUNTS = tuple(name for name in ResponseRow.__struct_fields__ if name.endswith("_tokens"))
_FAR = datetime(2200, 1, 1, tzinfo=UTC)

Look = dict[str, Any]
Key = tuple[str, str, str]  # account, provider, batch


async def forever(
    client: AsyncClient, *, prices: PriceFile, every: float = EVERY, booked: Callable[[float], None]
) -> None:
    """Pass after pass; what a failed one leaves undone, the next one does."""
    back = FIRST
    while True:
        try:
            booked(await book(client, prices=prices.table, since=datetime.now(UTC) - back))
            back = LATELY
        except clickhouse.Failed as error:
            log.warning("batches not booked: %s", type(error).__name__)
        await asyncio.sleep(every)


async def book(client: AsyncClient, *, prices: Table, since: datetime, settled: float = SETTLED) -> int:
    """One pass over what came in since then; how many rows of batches it wrote. A claim is settled after so many s."""
    looks: dict[Key, list[Look]] = defaultdict(list)
    for look in await clickhouse.ask(client, "batch_results", since=since, limit=LIMIT):
        looks[look["account"], look["provider"], look.pop("batch")].append(look)
    if not looks:
        return 0
    names = sorted({batch for _, _, batch in looks})
    found = await clickhouse.ask(client, "batch_claims", batches=names, settled=settled)
    claims = {(claim["account"], claim["provider"], claim["batch"]): claim for claim in found}
    await _claim(client, {key: seen[0] for key, seen in looks.items() if key not in claims})
    made: list[ResponseRow] = []
    told: list[ResponseRow] = []
    for key, seen in looks.items():
        claim = claims.get(key)
        if claim and claim["settled"]:
            most = max(seen, key=_tokens)
            if not claim["version"] or _tokens(most) > claim["tokens"]:
                made.append(_row(claim, most, prices))
            told += [_billed(look, claim) for look in seen]
    await insert.insert(client, made)  # before the looks are marked: they are what a failed pass starts from again
    await insert.insert(client, told)
    return len(made)


async def _claim(client: AsyncClient, first: dict[Key, Look]) -> None:
    claims = [
        {
            "account": account,
            "provider": provider,
            "batch": batch,
            "id": uuid.uuid5(_NAMES, "\0".join((account, provider, batch))),
            "priority": (_FAR - look["started_at"]) // timedelta(microseconds=1),
            **{name: look[name] for name in ("token", "requester", "metadata", "dialect", "gateway", "started_at")},
        }
        for (account, provider, batch), look in first.items()
    ]
    if claims:
        await client.insert("metrion.batches", [list(one.values()) for one in claims], column_names=list(claims[0]))


def _row(claim: Look, most: Look, prices: Table) -> ResponseRow:
    """The row that bears the batch's cost."""
    used = msgspec.json.decode(most["usage"], type=Usage)
    endpoint = f"{batch_rate.ENDPOINT}{claim['batch']}"
    ending = RequestOutcome(
        provider=claim["provider"],
        endpoint=endpoint,
        model_requested=most["model_requested"],
        started_at=claim["started_at"],
        status=200,
        outcome=events.COMPLETE,
        error_type="",
        cache="",
        upstream=True,
    )
    money = cost_columns.compute(used, ending, prices)
    return _like(
        most,
        id=str(claim["id"]),
        **{name: claim[name] for name in ("token", "requester", "metadata", "dialect", "gateway", "started_at")},
        endpoint=endpoint,
        **msgspec.structs.asdict(money),
        usage_source=cost_columns.usage_source(most["usage_source"], money),
        version=claim["version"] + 1 if claim["version"] else rows.VERSION_ANSWERED,
        spool="",
        epoch=0,
        sequence=0,  # no gateway numbered it
    )


def _billed(look: Look, claim: Look) -> ResponseRow:
    """The look at the results: it costs nothing, its batch does, and the tokens are the batch's."""
    return _like(
        look,
        **dict.fromkeys(_COUNTS, 0),
        cost=cost_columns.ZERO,
        cost_source="free",
        cost_reason=batch_rate.BILLED,
        version=look["version"] + 1,
        note=f"batch {claim['id']}",
    )


def _like(look: Look, **changes: Any) -> ResponseRow:
    known = {name: look[name] for name in ResponseRow.__struct_fields__}
    return ResponseRow(**known | {"id": str(look["id"])} | changes)


def _tokens(look: Look) -> int:
    return (look["input_tokens"] or 0) + (look["output_tokens"] or 0)
