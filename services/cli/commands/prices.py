"""The commands `prices …`: show prices, find models without one, accept new ones."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from services.cli import lookup, options, output, periods
from services.cli.options import Group
from services.cli.outcome import Outcome
from shared import decimals

if TYPE_CHECKING:
    from services.cli.price_quotes import Quote
    from services.cli.price_updates import Proposal
    from shared.pricing.table import Table

SHOW = ("provider", "model", "tier", "unit", "above input tokens", "price", "source")
CHECK = ("provider", "model", "reason", "requests", "input tokens", "output tokens", "last seen")
_FIELDS = ("provider", "model", "reason", "requests", "input_sum", "output_sum", "last_seen")

prices = Group(
    "prices",
    help="Show and update model prices, find models without one.",
    examples=(
        "metrion prices show --model gpt-4o",
        "metrion prices check --since 30d",
        "metrion prices update --from genai_prices-0.2.4-py3-none-any.whl",
        "metrion prices history",
        "metrion prices rollback",
    ),
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
@click.option(
    "--version",
    "number",
    type=click.IntRange(1),
    metavar="N",
    help="Prices of this version.  [default: the one in use]",
)
@options.json_option
async def show(*, provider: str, model: str, at: str, number: int | None, as_json: bool) -> Outcome:
    """Show the prices that costs are computed with.

    The file METRION_PRICES_FILE overrides accepted prices, which override the
    built-in ones. The exit status is 1 when there are none.
    """
    from services.cli import price_quotes

    now = datetime.now(UTC)
    moment = periods.since(at, tz=periods.zone("UTC"), now=now) if at else now
    table, _ = await lookup.price_table(number=number or 0)
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
    text = output.as_table(SHOW, [_row(quote) for quote in quotes], title=title)
    return Outcome(text, status=status)


@prices.command("check", examples=("metrion prices check", "metrion prices check --since 30d --json"))
@options.since_option("7d")
@options.json_option
async def check(*, since: str, as_json: bool) -> Outcome:
    """Find models in use that have no price.

    The exit status is 1 if there are any.
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
        else f"Update the prices (metrion prices update) or add some with {lookup.PRICES_FILE}."
    )
    if other:
        listed = ", ".join(f"{count:,} {reason or 'no reason'}" for reason, count in sorted(other.items()))
        note += f" Unknown cost for other reasons: {listed}."
    cells = [tuple(row[name] for name in _FIELDS) for row in missing]
    return Outcome(output.as_table(CHECK, cells) if cells else "", note=note, status=status)


@prices.command(
    "update",
    examples=(
        "metrion prices update --from genai_prices-0.2.4-py3-none-any.whl",
        "metrion prices update --from https://pypi.example.com/simple/",
        "metrion prices update --from https://example.com/data.json --hash sha256:…",
        "metrion prices update --from bundled",
    ),
)
@click.option(
    "--from", "source", required=True, metavar="SOURCE",
    help="Wheel or JSON file of genai-prices, its URL, a package index, or bundled.",
)  # fmt: skip
@click.option("--hash", "sha256", default="", metavar="SHA256", help="Expected hash; for a URL required.")
@click.option("--accept", is_flag=True, help="Accept what the guards object to, except hand-computed cases.")
@click.option("--note", default="", metavar="TEXT", help="Reason, kept with the version.")
@options.json_option
@options.confirm_options
async def update(
    *, source: str, sha256: str, accept: bool, note: str, as_json: bool, dry_run: bool, yes: bool
) -> Outcome:
    """Adopt the prices of a genai-prices release.

    Shows what would change, asks, then makes it the version that all loggers
    use within a second. No code of the release is executed. Refused with exit
    status 1 if prices are removed, become free or stop being free, or change by
    more than a factor of 10 (unless --accept), or if the cost of a hand-computed
    case changes.
    """
    from services.cli import price_updates

    proposal = await price_updates.propose(source, sha256=sha256)
    return await _decide(proposal, accept=accept, note=note, as_json=as_json, dry_run=dry_run, yes=yes)


@prices.command("history", examples=("metrion prices history", "metrion prices history --json"))
@options.json_option
async def history(*, as_json: bool) -> Outcome:
    """List the accepted versions of the prices, newest first."""
    from services.cli import price_updates

    return await price_updates.history(as_json=as_json)


@prices.command("rollback", examples=("metrion prices rollback", "metrion prices rollback 3 --yes"))
@click.argument("version", required=False, type=click.IntRange(1))
@click.option("--note", default="", metavar="TEXT", help="Reason, kept with the version.")
@options.json_option
@options.confirm_options
async def rollback(*, version: int | None, note: str, as_json: bool, dry_run: bool, yes: bool) -> Outcome:
    """Go back to the prices of an earlier version, by default the one before.

    They become a new version. The guards do not apply: these prices have been in use.
    """
    from services.cli import price_updates

    proposal = await price_updates.propose_rollback(version or 0)
    return await _decide(proposal, accept=True, note=note, as_json=as_json, dry_run=dry_run, yes=yes)


async def _decide(proposal: "Proposal", *, accept: bool, note: str, as_json: bool, dry_run: bool, yes: bool) -> Outcome:
    """Show a proposal, and accept it if nothing speaks against it and the user agrees."""
    from services.cli import confirm, price_updates

    shown = price_updates.shown(proposal)
    stated = price_updates.as_json(proposal) if as_json else shown
    if not proposal.differences:
        return Outcome(stated, note=await price_updates.confirm_fresh(proposal))
    if objection := price_updates.refusal(proposal, accept=accept):
        return Outcome(stated, note=objection, status=1)
    if confirm.is_dry_run(dry_run=dry_run, yes=yes):
        return Outcome(stated, note="Dry run: nothing was changed. Add --yes to accept these prices.")
    if not await confirm.confirmed(f"{shown}\nUse these prices?", yes=yes):
        return Outcome(note="Nothing was changed.", status=1)
    accepted, text = await price_updates.accept(proposal, note=note)
    return Outcome(price_updates.as_json(proposal, accepted=accepted) if as_json else shown, note=text)


def _wanted(table: "Table", *, provider: str, model: str) -> list[tuple[str, str]]:
    from services.cli import price_quotes
    from shared import providers

    named = [providers.canonical(provider)] if provider else price_quotes.providers(table)
    if model:
        return [(name, model) for name in named]
    return [(owner, name) for owner in named for name in price_quotes.models(table, owner)]


def _row(quote: "Quote") -> tuple[Any, ...]:
    price = output.UNKNOWN if quote.price is None else f"${decimals.exact(quote.price)}"  # prices are not rounded
    return quote.provider, quote.model, quote.tier, quote.unit, quote.above or "", price, quote.source
