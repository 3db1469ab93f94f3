"""The command `completeness`: is every event stored that the gateways numbered?"""

import os
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from services.cli import books, connections, consent, periods, tables, trail
from services.cli.outcome import Outcome
from shared.accounts_admin import AccountError
from shared.completeness import ACCEPTED, RUNNING, verdict

COLUMNS = ("gateway", "spool", "epoch", "sent", "stored", "dropped", "missing", "duplicated", "state", "heard_at")


async def completeness(options: Namespace) -> Outcome:
    """Print a row per gateway instance and the verdict; status 1 when anything may be missing."""
    accepted = await _accept(options) if options.accept else ""
    rows = await _rows(options)
    found = verdict(rows)
    if options.json:
        summary = {"complete": found.complete, "verdict": found.sentence()}
        gaps = {"missing": found.missing, "dropped": found.dropped, "duplicated": found.duplicated}
        text = tables.as_json({**summary, **gaps, "unconfirmed": len(found.unconfirmed), "instances": rows})
    else:
        text = tables.as_table(COLUMNS, [tuple(row[column] for column in COLUMNS) for row in rows])
    return Outcome(text, note=accepted + found.sentence(), status=0 if found.complete else 1)


async def _rows(options: Namespace) -> books.Rows:
    since = periods.since(options.since, tz=periods.zone("UTC"), now=datetime.now(UTC))
    (rows,) = await books.ask(("completeness", {"since": since}))
    return rows


async def _accept(options: Namespace) -> str:
    """Record that an operator knows of an incomplete instance; what to say of it."""
    row = _named(await _rows(options), options.accept)
    async with books.opened(connections.for_changes(os.environ)) as client:
        columns = ("spool", "epoch", "gateway", "at", "accepted_by")
        accepted = (row["spool"], row["epoch"], row["gateway"], datetime.now(UTC), consent.who())
        await client.insert("metrion.gateways", [accepted], column_names=columns)
    unrecorded = await trail.change_of_books("data", "accept", options.accept, details={"missing": str(row["missing"])})
    return f"Accepted {options.accept} as incomplete.{unrecorded} "


def _named(rows: books.Rows, instance: str) -> dict[str, Any]:
    for row in rows:
        if f"{row['spool']}/{row['epoch']}" == instance:
            break
    else:
        raise AccountError(f"no gateway instance {instance} in this period: write SPOOL/EPOCH as the table shows them")
    if row["state"] == RUNNING:
        raise AccountError(f"{instance} is running: only an instance that has ended can be accepted")
    if row["state"] == ACCEPTED:
        raise AccountError(f"{instance} was accepted by {row['accepted_by']} already")
    return row
