"""The commands `prices …`: show prices, and find models without one."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from services.cli import lookup, options, output, periods
from services.cli.options import Group
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    from services.cli.price_quotes import Quote
    from shared.pricing.table import Table

SHOW = ("provider", "model", "tier", "unit", "above input tokens", "price", "source")
CHECK = ("provider", "model", "reason", "requests", "input tokens", "output tokens", "last seen")
_FIELDS = ("provider", "model", "reason", "requests", "input_sum", "output_sum", "last_seen")

prices = Group(
    "prices",
    help="Show model prices and find models without one.",
    examples=("metrion prices show --model gpt-4o", "metrion prices check --since 30d"),
)


@prices.command(
    "show",
    examples=(
        "metrion prices show --model gpt-4o",
        "metrion prices show --provider anthropic --at 2026-11-01 --json",
    ),
)
@click.option("--provider", default="", metavar="NAME", help="Only this provider.  [default: all]")
@click.option("--model", default="", metavar="NAME", help="Only this model.  [default: all]")
@click.option("--at", default="", metavar="DATE", help="Prices of a day, e.g. 2026-11-01 (UTC).  [default: now]")
@options.json_option
async def show(*, provider: str, model: str, at: str, as_json: bool) -> Outcome:
    """Show the prices that requests are billed by.

    The exit status is 1 when there are none.
    """
    from services.cli import price_quotes

    now = datetime.now(UTC)
    moment = periods.since(at, tz=periods.zone("UTC"), now=now) if at else now
    table = lookup.price_table()
    wanted = _wanted(table, provider=provider, model=model)
    quotes = [quote for owner, name in wanted for quote in price_quotes.quotes(table, owner, name, at=moment)]
    status = 0 if quotes else 1
    if as_json:
        rows = [{name: getattr(quote, name) for name in quote.__struct_fields__} for quote in quotes]
        text = output.as_json({"at": moment, "price_version": table.version, "prices": rows})
        return Outcome(text, status=status)
    if not quotes:
        return Outcome(note="No price for this model: its requests have an unknown cost.", status=status)
    title = (
        f"{moment:%Y-%m-%d}, price version {table.version}. Prices per million tokens (mtok), thousand calls (kcount) …"
    )
    return Outcome(output.as_table(SHOW, [_row(quote) for quote in quotes], title=title), status=status)


@prices.command("check", examples=("metrion prices check", "metrion prices check --since 30d --json"))
@options.since_option("7d")
@options.json_option
async def check(*, since: str, as_json: bool) -> Outcome:
    """Find models in use that have no price.

    The exit status is 1 when there are some.
    """
    from services.cli import clickhouse

    start = periods.since(since, tz=periods.zone("UTC"), now=datetime.now(UTC))
    (rows,) = await clickhouse.query(("unpriced", {"since": clickhouse.timestamp(start)}))
    missing = [row for row in rows if row["price_missing"]]
    other: dict[str, int] = {}
    for row in rows:
        if not row["price_missing"]:
            other[row["reason"]] = other.get(row["reason"], 0) + row["requests"]
    status = 1 if missing else 0
    if as_json:
        named = [{name.removesuffix("_sum"): row[name] for name in _FIELDS} for row in missing]
        return Outcome(output.as_json({"since": start, "without_price": named, "other_reasons": other}), status=status)
    note = (
        "All models have a price."
        if not missing
        else f"Add prices with {lookup.PRICES_FILE}, then run metrion reprice."
    )
    if other:
        listed = ", ".join(f"{count:,} {reason or 'no reason'}" for reason, count in sorted(other.items()))
        note += f" Unknown cost for other reasons: {listed}."
    cells = [tuple(row[name] for name in _FIELDS) for row in missing]
    return Outcome(output.as_table(CHECK, cells) if cells else "", note=note, status=status)


def _wanted(table: "Table", *, provider: str, model: str) -> list[tuple[str, str]]:
    from services.cli import price_quotes
    from shared import providers

    named = [providers.canonical(provider)] if provider else price_quotes.providers(table)
    if model:
        return [(name, model) for name in named]
    return [(owner, name) for owner in named for name in price_quotes.models(table, owner)]


def _row(quote: "Quote") -> tuple[Any, ...]:
    price = output.UNKNOWN if quote.price is None else f"${output.exact(quote.price)}"  # prices are not rounded
    return quote.provider, quote.model, quote.tier, quote.unit, quote.above or "", price, quote.source
