"""The command `completeness`: verifies that every numbered event is stored."""

import os
from datetime import UTC, datetime
from typing import Any

import click

from services.cli import confirm, options, output, periods
from services.cli.errors import Refused
from services.cli.options import Command
from services.cli.outcome import Outcome

COLUMNS = ("gateway", "spool", "epoch", "sent", "stored", "dropped", "missing", "duplicated", "state", "heard_at")

Rows = list[dict[str, Any]]


@click.command(
    "completeness",
    cls=Command,
    examples=(
        "metrion completeness",
        "metrion completeness --since 6d --json",
        "metrion completeness --accept 2b7e151628ae/3",
    ),
)
@options.since_option("24h", note=", at most 6 days ago")
@click.option(
    "--accept", default="", metavar="SPOOL/EPOCH", help="Record that this gateway instance is known to be incomplete."
)
@options.json_option
async def completeness(*, since: str, accept: str, as_json: bool) -> Outcome:
    """Verify that no event is missing.

    Prints a row per gateway instance. The exit status is 1 when anything may
    be missing.
    """
    from shared.completeness import verdict

    accepted = await _accept(since, accept) if accept else ""
    rows = await _rows(since)
    result = verdict(rows)
    if as_json:
        summary = {"complete": result.complete, "verdict": result.sentence()}
        gaps = {"missing": result.missing, "dropped": result.dropped, "duplicated": result.duplicated}
        text = output.as_json({**summary, **gaps, "unconfirmed": len(result.unconfirmed), "instances": rows})
    else:
        text = _table(rows) if rows else ""
    return Outcome(text, note=accepted + result.sentence(), status=0 if result.complete else 1)


def _table(rows: Rows) -> str:
    # the epoch is a name, without thousands separators, to copy into --accept
    lines = [tuple(str(row[name]) if name == "epoch" else row[name] for name in COLUMNS) for row in rows]
    return output.as_table(COLUMNS, lines)


async def _rows(since: str) -> Rows:
    from services.cli import clickhouse

    start = periods.since(since, tz=periods.zone("UTC"), now=datetime.now(UTC))
    (rows,) = await clickhouse.query(("completeness", {"since": start}))
    return rows


async def _accept(since: str, instance: str) -> str:
    """Accept an incomplete instance; returns the note about it."""
    from services.cli import audit_log, clickhouse, servers

    row = _named(await _rows(since), instance)
    async with clickhouse.connection(servers.for_changes(os.environ)) as client:
        columns = ("spool", "epoch", "gateway", "at", "accepted_by")
        accepted = (row["spool"], row["epoch"], row["gateway"], datetime.now(UTC), confirm.operator())
        await client.insert("metrion.gateways", [accepted], column_names=columns)
    details = {"missing": str(row["missing"])}
    warning = await audit_log.connect_and_record("data", "accept", instance, details=details)
    return f"Accepted {instance} as incomplete.{warning} "


def _named(rows: Rows, instance: str) -> dict[str, Any]:
    from shared.completeness import ACCEPTED, RUNNING

    row = next((row for row in rows if f"{row['spool']}/{row['epoch']}" == instance), None)
    if row is None:
        raise Refused(f"no gateway instance {instance} in this period; use SPOOL/EPOCH as the table shows them")
    if row["state"] == RUNNING:
        raise Refused(f"{instance} is running: only a stopped instance can be accepted")
    if row["state"] == ACCEPTED:
        raise Refused(f"{instance} has already been accepted by {row['accepted_by']}")
    return row
