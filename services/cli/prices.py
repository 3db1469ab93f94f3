"""The commands `prices …`: what a model costs and where that stands, and which models seen have no price."""

import os
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.cli import books, connections, periods, price_quotes, tables
from services.cli.outcome import Outcome
from services.cli.price_quotes import Quote
from shared import providers
from shared.accounts_admin import AccountError
from shared.pricing.table import Table

SHOW = ("provider", "model", "tier", "unit", "above input tokens", "price USD", "source")
CHECK = ("provider", "model", "reason", "requests", "input tokens", "output tokens", "last seen")
_FIELDS = ("provider", "model", "reason", "requests", "input_sum", "output_sum", "last_seen")
FILE = "METRION_PRICES_FILE"


async def show(options: Namespace) -> Outcome:
    """The prices of a model, or of all, on a day; status 1 when there are none."""
    now = datetime.now(UTC)
    at = periods.since(options.at, tz=periods.zone("UTC"), now=now) if options.at else now
    table = _table()
    asked = _asked(options, table)
    found = [one for provider, model in asked for one in price_quotes.quotes(table, provider, model, at=at)]
    status = 0 if found else 1
    note = "" if found else "No such model has a price: what it does has unknown cost."
    if options.json:
        rows = [{name: getattr(one, name) for name in one.__struct_fields__} for one in found]
        text = tables.as_json({"at": at, "price_version": table.version, "prices": rows})
        return Outcome(text, status=status)
    title = f"{at:%Y-%m-%d}, price version {table.version}; mtok, kcount …: a million tokens, a thousand calls …"
    return Outcome(tables.as_table(SHOW, [_row(one) for one in found], title=title), note=note, status=status)


async def check(options: Namespace) -> Outcome:
    """Models seen since a time whose requests have no price; status 1 when there are some."""
    since = periods.since(options.since, tz=periods.zone("UTC"), now=datetime.now(UTC))
    (rows,) = await books.ask(("unpriced", {"since": books.moment(since)}))
    missing = [row for row in rows if row["price_missing"]]
    other: dict[str, int] = {}
    for row in rows:
        if not row["price_missing"]:
            other[row["reason"]] = other.get(row["reason"], 0) + row["requests"]
    status = 1 if missing else 0
    if options.json:
        named = [{name.removesuffix("_sum"): row[name] for name in _FIELDS} for row in missing]
        return Outcome(tables.as_json({"since": since, "without_price": named, "other_reasons": other}), status=status)
    note = "Every model seen has its price." if not missing else f"{FILE} can name prices of your own."
    if other:
        listed = ", ".join(f"{count} {reason or 'no reason'}" for reason, count in sorted(other.items()))
        note += f" Unknown cost for other reasons: {listed}."
    cells = [tuple(row[name] for name in _FIELDS) for row in missing]
    return Outcome(tables.as_table(CHECK, cells) if cells else "", note=note, status=status)


def _table() -> Table:
    """The built-in prices, with the operator's file over them where one is named; AccountError when it is none."""
    path = connections.optional(FILE, os.environ)
    try:
        return Table.load(Path(path)) if path else Table.default()
    except (OSError, ValueError, ArithmeticError) as error:
        raise AccountError(f"{FILE} {path}: {error}") from None


def _asked(options: Namespace, table: Table) -> list[tuple[str, str]]:
    named = [providers.canonical(options.provider)] if options.provider else price_quotes.providers(table)
    if options.model:
        return [(provider, options.model) for provider in named]
    return [(provider, model) for provider in named for model in price_quotes.models(table, provider)]


def _row(one: Quote) -> tuple[Any, ...]:
    return one.provider, one.model, one.tier, one.unit, one.above or "", one.price, one.source
