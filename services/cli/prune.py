"""The command `prune`: a requester comes in; no row of theirs is left, and a record of it without their name is."""

import hashlib
import os
import uuid
from argparse import Namespace
from datetime import UTC, datetime

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.cli import books, connections, consent, tables, trail
from services.cli.outcome import Outcome
from shared import clickhouse
from shared.accounts_admin import AccountError

PATIENCE = 3600.0  # seconds for one table: its parts are written anew
LATER = (
    "Events that gateways or NATS still hold come in later: run it again when they have (NATS keeps them up to 72 h)."
)
MISSING = "For six days, metrion completeness counts what was erased as missing."


async def prune(options: Namespace) -> Outcome:
    """Count, ask, erase, count again; status 1 when something is left or nobody agreed."""
    if not options.requester:
        raise AccountError("an empty requester is everybody who named none: these rows belong to nobody in particular")
    looking = consent.only_looks(options)
    address = connections.CLICKHOUSE if looking else connections.for_changes(os.environ)
    async with books.opened(address, patience=PATIENCE) as client:
        found = await _counts(client, options)
        shown, total = _table(found), sum(found.values())
        whose = f"requester {options.requester!r}" + (f" of account {options.account}" if options.account else "")
        if not total:
            return Outcome(shown, note=f"There is nothing of {whose}.")
        if looking:
            return Outcome(shown, note="Nothing was erased: add --yes to erase it.")
        if not await consent.given(options, f"{shown}\nErase {total} rows of {whose} for good?"):
            return Outcome(note="Nothing was erased.", status=1)
        identity, left = await _erase(client, options, found)
    said = [f"{total} rows erased, erasure {identity}; see metrion.erasures.", LATER]
    if found.get("request_events"):  # these are kept for seven days
        said.append(MISSING)
    if left:
        said.insert(0, f"{left} rows came in meanwhile and are still there: run it again.")
    details = {"erasure": str(identity), "rows": str(total)}  # not the name: what was to be forgotten is not kept here
    unrecorded = await trail.change_of_books("data", "prune", account=options.account, details=details)
    return Outcome(shown, note=" ".join(said) + unrecorded, status=1 if left else 0)


async def _erase(client: AsyncClient, options: Namespace, found: dict[str, int]) -> tuple[uuid.UUID, int]:
    """The record's id, and how many rows are there all the same."""
    identity, at = uuid.uuid4(), datetime.now(UTC)

    async def record(finished: bool) -> None:
        row = {
            "id": identity,
            "at": at,
            "by": consent.who(),
            "note": options.note,
            "account": options.account,
            "requester_sha256": hashlib.sha256(f"{options.account}\0{options.requester}".encode()).hexdigest(),
            "finished": int(finished),
            "rows": found,
        }
        await client.insert("metrion.erasures", [list(row.values())], column_names=list(row))

    await record(finished=False)
    for table in found:
        await client.command(clickhouse.text("erasure"), parameters=_whose(options) | {"table": table})
    await record(finished=True)
    return identity, sum((await _counts(client, options)).values())


async def _counts(client: AsyncClient, options: Namespace) -> dict[str, int]:
    """Rows by table, in the order in which to erase them."""
    counts = {}
    for row in await clickhouse.ask(client, "erasure_tables"):
        (one,) = await clickhouse.ask(client, "erasure_count", **_whose(options), table=row["table"])
        counts[row["table"]] = one["rows"]
    return counts


def _whose(options: Namespace) -> dict[str, str]:
    return {"requester": options.requester, "account": options.account}


def _table(found: dict[str, int]) -> str:
    return tables.as_table(("table", "rows"), list(found.items()), total=("total", sum(found.values())))
