"""The command `me`: what a token has used and may use, by its gateway."""

import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli import options, output, secret_input
from services.cli.errors import Refused
from services.cli.options import Command
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    from shared.own_usage import Budget, OwnUsage, RateLimit

TOKEN_VARIABLE = "METRION_TOKEN"  # noqa: S105 — its name


@click.command(
    "me",
    cls=Command,
    examples=(
        "METRION_TOKEN=sk-metrion-… metrion me",
        "metrion me --url https://llm.example.com --token-file ~/.metrion-token",
        "metrion me --token-file - --json < token",
    ),
)
@click.option(
    "--url", default="http://127.0.0.1:8080", metavar="URL", show_default=True, help="Base URL of the gateway."
)
@click.option(
    "--token-file", "file", default="", metavar="FILE",
    help="File with the token; - reads standard input.  [default: METRION_TOKEN]",
)  # fmt: skip
@click.option("--user", default="", metavar="NAME", help="Requester whose limits to show, as in x-metrion-user.")
@options.json_option
async def me(*, url: str, file: str, user: str, as_json: bool) -> Outcome:
    """Show what a token has used and what remains of its limits.

    Asks the gateway with the token itself; needs no server settings.
    """
    from services.cli import gateway_api

    body = await gateway_api.own_usage_of(url, token=_token(file), requester=user)
    if as_json:
        return Outcome(body.text)
    return Outcome(_text(body.usage), note=body.usage.usage.unknown_because or "")


def _token(file: str) -> str:
    if not file:
        token = os.environ.get(TOKEN_VARIABLE, "")
        if not token:
            raise Refused(f"{TOKEN_VARIABLE} is not set; set it, or name a file with the token: --token-file FILE")
        return token.strip()
    if file == "-":
        return secret_input.read_line("Token: ").strip()
    try:
        return Path(file).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {file}: {getattr(error, 'strerror', None) or 'not text'}") from None


def _text(found: "OwnUsage") -> str:
    parts = [_head(found), _usage(found)]
    if found.limits:
        parts.append(output.as_table(("limit", "covers", "remaining"), [_limit(one) for one in found.limits]))
    if found.budgets:
        columns = ("budget", "covers", "used", "of", "remaining", "resets (UTC)")
        parts.append(output.as_table(columns, [_budget(one) for one in found.budgets]))
    return "\n".join(parts)


def _head(found: "OwnUsage") -> str:
    token = found.token
    rows = [
        ("token", f"{token.name} (…{token.hint})" if token.hint else token.name),
        ("expires", output.shown(token.expires_at) if token.expires_at else "never"),
        ("requester", found.requester or output.NOT_SET),
        ("providers", _listed(token.providers)),
        ("models", _listed(token.models)),
    ]
    if token.rights is not None:
        rows.append(("further rights", ", ".join(token.rights) or "none"))
    return output.as_table(("account", found.account), rows)


def _listed(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names)


def _usage(found: "OwnUsage") -> str:
    columns = ("", "requests", "cost_usd", "input_tokens", "output_tokens", "unpriced")
    rows: list[tuple[Any, ...]] = []
    for name, period in (("today", found.usage.today), ("this month", found.usage.month)):
        if period is None:
            rows.append((name, *([output.UNKNOWN] * 5)))
            continue
        cost: Any = output.UNKNOWN if period.cost_usd is None else Decimal(period.cost_usd)
        rows.append((name, period.requests, cost, period.input_tokens, period.output_tokens, period.unpriced))
    return output.as_table(columns, rows)


def _limit(one: "RateLimit") -> tuple[str, str, str]:
    return one.name, one.covers, f"{one.remaining:,} of {one.amount:,} {one.measure} a minute"


def _budget(one: "Budget") -> tuple[str, str, str, str, str, str]:
    def amount(number: str | None) -> str:
        if number is None:
            return output.UNKNOWN
        value = Decimal(number)
        return f"{one.currency} {value:,.2f}" if one.currency else f"{value:,f}"

    unit = "" if one.currency else f" {one.measure}"
    resets = output.shown(one.resets_at) if one.resets_at else f"rolling {one.period}"
    return one.name, one.covers, amount(one.used), amount(one.amount) + unit, amount(one.remaining), resets
