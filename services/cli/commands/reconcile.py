"""The command `reconcile`: compares recorded usage with a provider's reports."""

import asyncio
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from services.cli import confirm, lookup, options, output, periods, servers
from services.cli.errors import Refused
from services.cli.options import Command, Percent
from services.cli.outcome import Outcome
from shared import decimals

if TYPE_CHECKING:
    from services.cli.provider_reports import Report
    from services.cli.reconciliation import Key, Line

COLUMNS = (
    "day", "model", "requests here", "unpriced",
    "input there", "input here", "input difference",
    "output there", "output here", "output difference",
    "USD there", "USD here", "USD difference",
)  # fmt: skip
SHOWN = ("day", "model", "input difference", "output difference", "USD there", "USD here", "USD difference")


@click.command(
    "reconcile",
    cls=Command,
    examples=(
        "OPENAI_ADMIN_KEY=… metrion reconcile --provider openai --since 30d",
        "metrion reconcile --provider anthropic usage.json costs.json --tolerance 0.5",
        "metrion reconcile --provider openai --since 2026-11-01 --save",
    ),
)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--provider", type=click.Choice(("openai", "anthropic")), required=True, help="Provider to compare with.")
@click.option(
    "--since", default="7d", metavar="WHEN", show_default=True, help="First day (UTC), without FILE: 7d, 2026-11-01."
)
@click.option("--until", default="", metavar="WHEN", help="Last day (UTC), without FILE.  [default: yesterday]")
@options.account_filter
@click.option(
    "--tolerance", type=Percent(), default=Decimal(1), metavar="PERCENT", show_default=True, help="Allowed difference."
)
@click.option("--save", is_flag=True, help="Store the reported costs, for export focus.")
@click.option("--wide", is_flag=True, help="Show all columns, wider than 80 characters.")
@options.format_options
async def reconcile(
    *,
    files: tuple[str, ...],
    provider: str,
    since: str,
    until: str,
    account: str,
    tolerance: Decimal,
    save: bool,
    wide: bool,
    as_json: bool,
    as_csv: bool,
) -> Outcome:
    """Compare recorded usage with a provider's reports.

    FILE holds pages of the provider's usage and cost API, as JSON. Without
    FILE, they are fetched with OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY.

    The exit status is 1 when tokens of a model, or the total cost, differ by
    more than the tolerance. Costs per model are shown but not compared, because
    providers bill searches and the like under other names.

    --save stores the provider's cost of each finished day and replaces one
    saved before, whatever the difference. `export focus` then adds up to it.
    """
    from services.cli import clickhouse, provider_reports
    from services.cli.reconciliation import MEASURES, TOKENS, by_model, compare, exceeds, label, summed

    if save and account:
        raise Refused("a provider's report covers all accounts: leave out --account to save it")
    report = provider_reports.read(provider, await _contents(provider, files, since=since, until=until))
    period = {"since": clickhouse.timestamp(report.since), "until": clickhouse.timestamp(report.until)}
    (rows,) = await clickhouse.query(("reconcile", {**period, "provider": provider, "account": account}))
    if not rows:
        await lookup.require_recorded_account(account)
    lines = compare(report, rows)
    total = summed(lines.values())
    beyond = [name for name, line in by_model(lines).items() if exceeds(line, TOKENS, tolerance)]
    if exceeds(total, MEASURES, tolerance):
        beyond.append("the total")
    notes = _notes(report, total, lines, beyond=beyond, tolerance=tolerance)
    if save:
        notes += f" {await _save(provider, report)}"
    status = 1 if beyond else 0
    if as_json:
        return Outcome(_json(provider, report, lines, total, beyond), note=notes, status=status)
    cells = [(day, label(model), *_cells(line)) for (day, model), line in sorted(lines.items())]
    if as_csv:
        return Outcome(output.as_csv(COLUMNS, cells), note=notes, status=status)
    title = f"{provider}, {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M}, UTC"
    foot = ("total", "", *_cells(total))
    return Outcome(_table(cells, foot, wide=wide, title=title), note=notes, status=status)


async def _save(provider: str, report: "Report") -> str:
    """Store the reported costs and record that; returns the note about it."""
    from services.cli import audit_log, clickhouse, reported_costs

    days = reported_costs.by_day(report, today=datetime.now(UTC).date())
    async with clickhouse.connection(servers.for_changes(os.environ)) as client:
        await reported_costs.save(client, provider, days, by=confirm.operator())
    first, last, total = min(days), max(days), sum(days.values(), Decimal(0))
    details = {"since": str(first), "until": str(last), "days": str(len(days)), "usd": decimals.exact(total)}
    warning = await audit_log.connect_and_record("prices", "reconcile", provider, details=details)
    return f"Saved the costs of {output.plural(len(days), 'day')}, {first} to {last}.{warning}"


def _table(cells: list[tuple[Any, ...]], foot: tuple[Any, ...], *, wide: bool, title: str) -> str:
    columns = COLUMNS if wide else SHOWN

    def shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
        named = dict(zip(COLUMNS, row, strict=True))
        return tuple(output.NOT_APPLICABLE if named[name] is None else named[name] for name in columns)

    headings = [name.replace("USD", "cost") for name in columns]
    return output.as_table(headings, [shown(row) for row in cells], total=shown(foot), title=title)


def _notes(report: "Report", total: "Line", lines: "dict[Key, Line]", *, beyond: list[str], tolerance: Decimal) -> str:
    from services.cli.reconciliation import bypassed

    notes = []
    if report.is_truncated:
        notes.append("A file is incomplete: the figures of its missing pages are not included.")
    past = bypassed(lines.values())
    if past is not None:
        notes.append(f"{decimals.exact(past)} % of the provider's tokens bypassed Metrion.")
    if total.unpriced:
        share = round(Decimal(100 * total.unpriced) / total.requests, 2)
        verb = "has" if total.unpriced == 1 else "have"
        count = output.plural(total.unpriced, "recorded request")
        notes.append(f"{count} ({decimals.exact(share)} %) {verb} unknown cost.")
    if beyond:
        notes.append(f"Beyond the tolerance of {decimals.exact(tolerance)} %: {', '.join(beyond)}.")
    else:
        notes.append(f"Within the tolerance of {decimals.exact(tolerance)} %.")
    return " ".join(notes)


def _cells(line: "Line") -> tuple[Any, ...]:
    from services.cli.reconciliation import MEASURES

    cells: list[Any] = [line.requests, line.unpriced]
    for measure in MEASURES:
        cells += [line.there.get(measure), line.here.get(measure), line.difference(measure)]
    return tuple(cells)


def _json(provider: str, report: "Report", lines: "dict[Key, Line]", total: "Line", beyond: list[str]) -> str:
    from services.cli.reconciliation import bypassed

    def figures(line: "Line") -> dict[str, Any]:
        return {name.replace(" ", "_"): cell for name, cell in zip(COLUMNS[2:], _cells(line), strict=True)}

    return output.as_json(
        {
            "provider": provider,
            "since": report.since,
            "until": report.until,
            "beyond_tolerance": beyond,
            "bypassed_percent": bypassed(lines.values()),
            "rows": [
                {"day": day, "model": model or None, **figures(line)} for (day, model), line in sorted(lines.items())
            ],
            "total": figures(total),
        }
    )


async def _contents(provider: str, files: tuple[str, ...], *, since: str, until: str) -> list[tuple[str, bytes]]:
    """Read the files, or fetch whole days from the provider's admin API."""
    if files:
        return await asyncio.to_thread(_read, files)
    from services.cli import provider_api

    now = datetime.now(UTC)
    zone = ZoneInfo("UTC")
    start = _midnight(periods.since(since, tz=zone, now=now))
    end = _midnight(periods.until(until, tz=zone, now=now) if until else now)
    if start >= end:
        raise Refused("the period has no whole day: providers report by day, in UTC")
    return await provider_api.fetch(provider, start, end)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _read(names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    try:
        return [(name, Path(name).read_bytes()) for name in names]
    except OSError as error:
        raise Refused(f"cannot read {error.filename}: {error.strerror}") from None
