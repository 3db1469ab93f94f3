"""The command `reprice`: recalculates past costs and writes new row versions."""

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from services.cli import confirm, lookup, options, output, periods, servers
from services.cli.errors import Refused
from services.cli.options import Command
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    import uuid

    from shared.pricing.table import Table
    from shared.repricing.history import Selection
    from shared.repricing.recalculation import Tally

PATIENCE = 600.0
COLUMNS = {
    "requests": "requests",
    "changed": "changed",
    "newly_priced": "newly priced",
    "newly_unknown": "newly unknown",
    "before": "before USD",
    "after": "after USD",
    "difference": "difference USD",
}


@click.command(
    "reprice",
    cls=Command,
    examples=(
        "metrion reprice --since 30d --dry-run",
        "metrion reprice --since 2026-11-01 --model 'gpt-4o*' --prices contract.toml",
    ),
)
@options.period_options(default=None)
@options.account_filter
@click.option("--provider", default="", metavar="NAME", help="Only this provider.  [default: all]")
@click.option("--model", default="", metavar="NAME", help="Only this model: gpt-4o, gpt-*.  [default: all]")
@click.option("--prices", default="", metavar="FILE", help="Prices over all others.  [default: METRION_PRICES_FILE]")
@click.option("--note", default="", metavar="TEXT", help="Reason, kept in metrion.repricings.")
@options.json_option
@options.confirm_options
async def reprice(
    *,
    since: str,
    until: str,
    tz: str,
    account: str,
    provider: str,
    model: str,
    prices: str,
    note: str,
    as_json: bool,
    dry_run: bool,
    yes: bool,
) -> Outcome:
    """Recalculate past costs with current prices.

    Shows what would change, asks, then writes new versions of the changed
    requests.
    """
    from services.cli import clickhouse
    from shared.repricing import history

    table, warning = await lookup.price_table(prices)
    start, end = periods.span(since, until, tz=periods.zone(tz), now=datetime.now(UTC))
    chosen = history.Selection(since=start, until=end, account=account, provider=provider, model=model)
    is_dry_run = confirm.is_dry_run(dry_run=dry_run, yes=yes)
    address = servers.CLICKHOUSE if is_dry_run else servers.for_changes(os.environ)
    async with clickhouse.connection(address, patience=PATIENCE) as client:
        try:
            expected = await history.examine(client, chosen, table)
        except ArithmeticError:
            raise Refused("these prices lead to amounts that are too large to store") from None
        changed = expected.total.changed
        if not expected.total.requests:
            await lookup.require_recorded_account(account)
        if is_dry_run or not changed:
            text = "Dry run: nothing was written. Add --yes to write." if changed else "Nothing would change."
            return Outcome(_report(expected, table, as_json=as_json), note=text + warning)
        question = f"Write new versions of {output.plural(changed, 'request')}?"
        shown = _report(expected, table, as_json=False)
        if not await confirm.confirmed(f"{shown}\n{question}", yes=yes):
            return Outcome(note="Nothing was written.", status=1)
        done, identity = await history.rewrite(client, chosen, table, by=confirm.operator(), note=note)
    note = await _recorded(done, identity, chosen, since=since)
    return Outcome(_report(done, table, as_json=as_json), note=note + warning)


async def _recorded(done: "Tally", identity: "uuid.UUID", chosen: "Selection", *, since: str) -> str:
    """Record the change in the audit log; returns the note about it."""
    from services.cli import audit_log

    changed = done.total.changed
    details = {"repricing": str(identity), "since": since, "changed": str(changed)}
    warning = await audit_log.connect_and_record(
        "prices", "reprice", chosen.model, account=chosen.account, details=details
    )
    return f"{changed:,} new versions written, repricing {identity}; see metrion.repricings.{warning}"


def _report(tally: "Tally", table: "Table", *, as_json: bool) -> str:
    lines = [(*key, *(getattr(line, name) for name in COLUMNS)) for key, line in tally.sorted()]
    if as_json:
        names = ("provider", "model", *COLUMNS)
        return output.as_json(
            {
                "price_version": table.version,
                "rows": [dict(zip(names, line, strict=True)) for line in lines],
                "total": {name: getattr(tally.total, name) for name in COLUMNS},
            }
        )
    foot = ("total", "", *(getattr(tally.total, name) for name in COLUMNS))
    title = f"Recalculated with price version {table.version}"
    return output.as_table(("provider", "model", *COLUMNS.values()), lines, total=foot, title=title)
