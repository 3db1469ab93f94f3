"""The command `prune`: deletes all data of a requester."""

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from services.cli import confirm, lookup, options, output, servers
from services.cli.errors import Refused
from services.cli.options import Command
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    import uuid

    from clickhouse_connect.driver.asyncclient import AsyncClient

PATIENCE = 3600.0  # seconds per table, whose parts are rewritten
COLUMNS = ("table", "rows")
ALERTS = "alerts"  # states and history, which are in NATS; shown as a table
NOT_ERASED = " Alerts may still name the requester: run it again when NATS can be reached."
LATER = "Events still held by gateways or NATS may arrive later (NATS keeps them up to 72 h): run it again then."
MISSING = "For six days, metrion completeness counts the deleted rows as missing."


@click.command(
    "prune",
    cls=Command,
    examples=(
        "metrion prune --requester ann@example.com --dry-run",
        "metrion prune --requester ann@example.com --account team-a --note 'ticket 7'",
    ),
)
@click.option("--requester", required=True, metavar="NAME", help="Requester whose rows to delete.")
@options.account_filter
@click.option("--note", default="", metavar="TEXT", help="Reason, kept in metrion.erasures. Do not name the requester.")
@options.json_option
@options.confirm_options
async def prune(*, requester: str, account: str, note: str, as_json: bool, dry_run: bool, yes: bool) -> Outcome:
    """Delete all data of a requester.

    Counts, asks, deletes, and counts again: rows, and what names the requester
    in states and history of alerts. The exit status is 1 when something is left
    or the deletion was not confirmed.
    """
    from services.cli import clickhouse

    if not requester:
        raise Refused("an empty requester means requests without one; their rows cannot be attributed")
    is_dry_run = confirm.is_dry_run(dry_run=dry_run, yes=yes)
    address = servers.CLICKHOUSE if is_dry_run else servers.for_changes(os.environ)
    async with clickhouse.connection(address, patience=PATIENCE) as client:
        counts = await _counts(client, requester=requester, account=account)
        named = await _alerts(requester, account, erase=False)
        shown = counts | {ALERTS: named or 0}
        total = sum(shown.values())
        target = f"requester {requester!r}" + (f" of account {account}" if account else "")
        text = _json(shown) if as_json else _table(shown)
        if not total:
            await lookup.require_recorded_account(account)
            return Outcome(text, note=f"No data of {target}.")
        if is_dry_run:
            return Outcome(text, note="Dry run: nothing was deleted. Add --yes to delete.")
        question = f"Permanently delete {output.plural(total, 'row')} of {target}?"
        if not await confirm.confirmed(f"{_table(shown)}\n{question}", yes=yes):
            return Outcome(note="Nothing was deleted.", status=1)
        identity, left = await _erase(client, counts, requester=requester, account=account, note=note)
    is_erased = await _alerts(requester, account, erase=True) == 0
    report = await _report(identity, counts, account=account, left=left)
    return Outcome(text, note=report + ("" if is_erased else NOT_ERASED), status=1 if left or not is_erased else 0)


async def _alerts(requester: str, account: str, *, erase: bool) -> int | None:
    """Count what names the requester in alerts, after erasing it if `erase`.

    None if NATS cannot be reached.
    """
    from services.cli import alert_erasure, nats_connection
    from services.cli.errors import Unavailable

    try:
        async with nats_connection.jetstream() as js:
            found = await alert_erasure.find(js, requester=requester, account=account)
            if erase and found:
                await alert_erasure.erase(js, found)
                found = await alert_erasure.find(js, requester=requester, account=account)
            return len(found)
    except Unavailable:
        return None


async def _report(identity: "uuid.UUID", counts: dict[str, int], *, account: str, left: int) -> str:
    """Record the deletion in the audit log; returns the note about it."""
    from services.cli import audit_log

    total = sum(counts.values())
    notes = [f"{total:,} rows deleted, erasure {identity}; see metrion.erasures.", LATER]
    if counts.get("request_events"):  # kept for seven days
        notes.append(MISSING)
    if left:
        notes.insert(0, f"{left:,} rows arrived meanwhile and remain: run it again.")
    details = {"erasure": str(identity), "rows": str(total)}  # without the name of the requester
    warning = await audit_log.connect_and_record("data", "prune", account=account, details=details)
    return " ".join(notes) + warning


async def _erase(
    client: "AsyncClient", counts: dict[str, int], *, requester: str, account: str, note: str
) -> "tuple[uuid.UUID, int]":
    """Delete the rows; returns the ID of the record and the number of rows left."""
    import hashlib
    import uuid

    from shared import clickhouse

    identity = uuid.uuid4()
    at = datetime.now(UTC)
    chosen = {"requester": requester, "account": account}

    async def record(finished: bool) -> None:
        row = {
            "id": identity,
            "at": at,
            "by": confirm.operator(),
            "note": note,
            "account": account,
            "requester_sha256": hashlib.sha256(f"{account}\0{requester}".encode()).hexdigest(),
            "finished": int(finished),
            "rows": counts,
        }
        await client.insert("metrion.erasures", [list(row.values())], column_names=list(row))

    await record(finished=False)
    for table in counts:
        await client.command(clickhouse.text("erasure"), parameters=chosen | {"table": table})
    await record(finished=True)
    return identity, sum((await _counts(client, requester=requester, account=account)).values())


async def _counts(client: "AsyncClient", *, requester: str, account: str) -> dict[str, int]:
    """Count rows by table, in the order of deletion."""
    from shared import clickhouse

    counts = {}
    for row in await clickhouse.run_query(client, "erasure_tables"):
        chosen = {"requester": requester, "account": account, "table": row["table"]}
        (counted,) = await clickhouse.run_query(client, "erasure_count", **chosen)
        counts[row["table"]] = counted["rows"]
    return counts


def _table(counts: dict[str, int]) -> str:
    return output.as_table(COLUMNS, list(counts.items()), total=("total", sum(counts.values())))


def _json(counts: dict[str, int]) -> str:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in counts.items()]
    return output.as_json({"rows": rows, "total": sum(counts.values())})
