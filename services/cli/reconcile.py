"""The command `reconcile`: a provider's usage and cost reports in; what they say and the books do not, out."""

import asyncio
from argparse import Namespace
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.cli import books, periods, provider_api, provider_reports, tables
from services.cli.outcome import Outcome
from services.cli.provider_reports import ALL, Counted, Report
from shared.accounts_admin import AccountError

TOKENS = ("input_tokens", "output_tokens")
MEASURES = (*TOKENS, "cost")
COLUMNS = (
    "day", "model", "requests here", "unpriced",
    "input there", "input here", "input difference",
    "output there", "output here", "output difference",
    "USD there", "USD here", "USD difference",
)  # fmt: skip
ZERO = Decimal(0)

Key = tuple[date, str]


class Line(msgspec.Struct, kw_only=True):
    """A day and model: what the provider counted, what the books hold. None where the reports say nothing."""

    there: dict[str, Any] = {}
    here: dict[str, Any] = {}
    requests: int = 0
    unpriced: int = 0

    def difference(self, measure: str) -> Any:
        """There less here; None where the reports say nothing."""
        return None if measure not in self.there else self.there[measure] - self.here.get(measure, 0)


async def reconcile(options: Namespace) -> Outcome:
    """Status 1 when a model's tokens or the whole cost, over the whole time, differ by more than the tolerance.

    A model's cost is shown and not judged: providers bill its searches and the like under another name.
    """
    report = provider_reports.read(options.provider, await _contents(options))
    period = {"since": books.moment(report.since), "until": books.moment(report.until)}
    (rows,) = await books.ask(("reconcile", {**period, "provider": options.provider, "account": options.account}))
    lines = compare(report, rows)
    total, models = summed(lines.values()), _by_model(lines)
    beyond = [name for name, line in models.items() if _beyond(line, TOKENS, options.tolerance)]
    if _beyond(total, MEASURES, options.tolerance):
        beyond.append("the total")
    remarks = _remarks(report, total, lines, beyond=beyond, tolerance=options.tolerance)
    status = 1 if beyond else 0
    if options.json:
        return Outcome(_json(options, report, lines, total, beyond), note=remarks, status=status)
    cells = [(day, _name(model), *_cells(line)) for (day, model), line in sorted(lines.items())]
    if options.csv:
        return Outcome(tables.as_csv(COLUMNS, cells), note=remarks, status=status)
    title = f"{options.provider}, {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M}, UTC"
    shown = [tuple("–" if cell is None else cell for cell in row) for row in cells]
    foot = ("total", "", *("–" if cell is None else cell for cell in _cells(total)))
    return Outcome(tables.as_table(COLUMNS, shown, total=foot, title=title), note=remarks, status=status)


def compare(report: Report, rows: Iterable[dict[str, Any]]) -> dict[Key, Line]:
    """Both sides by day and model. A measure that the reports do not break down by model has a line of its own."""
    lines: dict[Key, Line] = {}
    whole = {measure for measure in MEASURES if _measured(report.lines, measure, lambda one: one.model == ALL)}
    known = {measure for measure in MEASURES if _measured(report.lines, measure, lambda _: True)}
    for one in report.lines:
        for measure in MEASURES:
            amount = getattr(one, measure)
            if amount is not None:
                line = lines.setdefault((one.day, ALL if measure in whole else one.model), Line())
                line.there[measure] = line.there.get(measure, 0) + amount
    for row in rows:
        figures = {
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cost": row["cost_usd"] or ZERO,
        }
        counted = lines.setdefault((row["day"], row["model"] if known - whole else ALL), Line())
        counted.requests += row["requests"]
        counted.unpriced += row["unpriced"]
        for measure in known:
            line = lines.setdefault((row["day"], ALL if measure in whole else row["model"]), Line())
            line.here[measure] = line.here.get(measure, 0) + figures[measure]
            line.there.setdefault(measure, 0)
    return lines


def summed(lines: Iterable[Line]) -> Line:
    """Their sum; a measure that none of them has there, has none."""
    total = Line()
    for line in lines:
        total.requests += line.requests
        total.unpriced += line.unpriced
        for mine, its in ((total.there, line.there), (total.here, line.here)):
            for measure, amount in its.items():
                mine[measure] = mine.get(measure, 0) + amount
    return total


def bypassed(lines: Iterable[Line]) -> Decimal | None:
    """Per cent of the tokens there that no request here accounts for; None when the reports count no tokens."""
    there = missing = 0
    for line in lines:
        for measure in TOKENS:
            there += line.there.get(measure, 0)
            missing += max(line.difference(measure) or 0, 0)
    return round(Decimal(100 * missing) / there, 2) if there else None


def _measured(lines: Iterable[Counted], measure: str, chosen: Callable[[Counted], bool]) -> bool:
    return any(getattr(one, measure) is not None and chosen(one) for one in lines)


def _by_model(lines: dict[Key, Line]) -> dict[str, Line]:
    names = sorted({model for _, model in lines})
    return {_name(name): summed(line for (_, model), line in lines.items() if model == name) for name in names}


def _beyond(line: Line, measures: tuple[str, ...], tolerance: Decimal) -> bool:
    """Whether one of them differs by more than so many per cent of the larger side."""
    for measure in measures:
        if measure not in line.there:
            continue
        there, here = line.there[measure], line.here.get(measure, 0)
        if abs(there - here) * 100 > tolerance * max(abs(there), abs(here)):
            return True
    return False


def _remarks(report: Report, total: Line, lines: dict[Key, Line], *, beyond: list[str], tolerance: Decimal) -> str:
    said = []
    if report.cut:
        said.append("A file says that there are more pages: what they hold is missing there.")
    past = bypassed(lines.values())
    if past is not None:
        said.append(f"{tables.exact(past)} % of the provider's tokens did not pass here.")
    if total.unpriced:
        share = round(Decimal(100 * total.unpriced) / total.requests, 2)
        said.append(f"{total.unpriced} requests here ({tables.exact(share)} %) have no known cost.")
    if beyond:
        said.append(f"Beyond the tolerance of {tables.exact(tolerance)} %: {', '.join(beyond)}.")
    else:
        said.append(f"Within the tolerance of {tables.exact(tolerance)} %.")
    return " ".join(said)


def _cells(line: Line) -> tuple[Any, ...]:
    found: list[Any] = [line.requests, line.unpriced]
    for measure in MEASURES:
        found += [line.there.get(measure), line.here.get(measure), line.difference(measure)]
    return tuple(found)


def _name(model: str) -> str:
    return model or "(all models)"


def _json(options: Namespace, report: Report, lines: dict[Key, Line], total: Line, beyond: list[str]) -> str:
    def figures(line: Line) -> dict[str, Any]:
        return {name.replace(" ", "_"): cell for name, cell in zip(COLUMNS[2:], _cells(line), strict=True)}

    return tables.as_json(
        {
            "provider": options.provider,
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


async def _contents(options: Namespace) -> list[tuple[str, bytes]]:
    """The files that are named, else what the provider's admin API says of whole days."""
    if options.files:
        return await asyncio.to_thread(_read, options.files)
    now = datetime.now(UTC)
    since = periods.since(options.since, tz=ZoneInfo("UTC"), now=now)
    until = periods.until(options.until, tz=ZoneInfo("UTC"), now=now) if options.until else now
    first, last = (one.replace(hour=0, minute=0, second=0, microsecond=0) for one in (since, until))
    if first >= last:
        raise AccountError("the period holds no whole day: providers report by day, in UTC")
    return await provider_api.fetch(options.provider, first, last)


def _read(names: list[str]) -> list[tuple[str, bytes]]:
    try:
        return [(name, Path(name).read_bytes()) for name in names]
    except OSError as error:
        raise AccountError(f"{error.filename} cannot be read: {error.strerror}") from None
