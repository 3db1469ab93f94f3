"""The commands `limit …`: set, list, show, verify and delete limits and budgets."""

import click

from services.cli import lookup, options, output
from services.cli.errors import Refused
from services.cli.options import Group
from services.cli.outcome import Outcome

COLUMNS = (
    "account", "name", "measure", "amount", "currency", "period", "timezone", "mode",
    "token", "requester", "provider", "model", "metadata",
)  # fmt: skip
SHOWN_USES = 20  # values of a budget of each
SHOWN = ("account", "name", "limit", "covers")

limit = Group(
    "limit",
    help="Set, list, show and verify limits and budgets.",
    examples=(
        "metrion limit set each-token --requests 100 --token '*'",
        "metrion limit set team --cost 500 --per month --currency EUR --rate 0.92",
        "metrion limit list",
        "metrion limit delete each-token",
    ),
)


@limit.command(
    "set",
    examples=(
        "metrion limit set each-token --requests 100 --token '*'",
        "metrion limit set ci --requests 1000 --token ci --account team-a",
        "metrion limit set people --cost 25 --per month --requester '*'",
        "metrion limit set shop --cost 10 --per day --timezone Europe/Vienna",
    ),
)
@click.argument("name")
@options.owner_option
@click.option("--requests", default="", metavar="N", help="At most this number of requests.")
@click.option("--tokens", default="", metavar="N", help="At most this number of input and output tokens.")
@click.option("--cost", default="", metavar="AMOUNT", help="At most this cost: a budget.")
@click.option(
    "--per", "period", default="", metavar="PERIOD",
    help="minute, day, week, month, or rolling days such as 30d.  [default: minute; for --cost month]",
)  # fmt: skip
@click.option("--warn-only", is_flag=True, help="Never refuse: only warn and alert.")
@click.option(
    "--strict", is_flag=True, cls=options.ExclusiveOption, excludes="warn_only",
    help="Refuse what could exceed the budget in the worst case.",
)  # fmt: skip
@click.option("--currency", default="USD", metavar="CODE", show_default=True, help="Currency of --cost.")
@click.option("--rate", default="", metavar="RATE", help="Units of the currency for one US dollar.")
@click.option("--timezone", default="UTC", metavar="ZONE", show_default=True, help="Where days, weeks, months begin.")
@click.option("--token", default="", metavar="NAME", help="Only requests of this token; '*': each token separately.")
@click.option("--requester", default="", metavar="NAME", help="Only requests of this requester; '*': each separately.")
@click.option("--provider", default="", metavar="NAME", help="Only requests to this provider.")
@click.option("--model", default="", metavar="NAME", help="Only requests of this model, e.g. gpt-*.")
@click.option(
    "--metadata",
    default="",
    metavar="KEY=VALUE",
    help="Only requests with this metadata; KEY=*: each value separately.",
)
async def set_limit(
    *, name: str, account: str, requests: str, tokens: str, cost: str, period: str, warn_only: bool, strict: bool,
    currency: str, rate: str, timezone: str, token: str, requester: str, provider: str, model: str, metadata: str,
) -> Outcome:  # fmt: skip
    """Set a limit or budget, or change one.

    Takes effect on all gateways within 1 s. For its token, a limit of one token
    replaces a limit of each token.
    """
    from datetime import UTC, datetime

    from services.cli import audit_log, nats_connection
    from shared.limits import admin as limit_admin
    from shared.limits import wording
    from shared.limits.model import Limit

    stated = {"requests": requests, "tokens": tokens, "cost": cost}
    chosen = [measure for measure, text in stated.items() if text]
    if len(chosen) != 1:
        raise click.UsageError("Exactly one of --requests, --tokens and --cost is required.")
    (measure,) = chosen
    scope = limit_admin.scope(
        token=token,
        requester=requester,
        provider=lookup.known_provider(provider) if provider else "",
        model=model,
        metadata=metadata,
    )
    made = Limit(
        account=account,
        name=name,
        created_at=datetime.now(UTC),
        amount=limit_admin.amount(stated[measure]),
        measure=measure,  # type: ignore[arg-type]  # one of its literals
        period=period or ("month" if measure == "cost" else "minute"),
        scope=scope,
        mode="warn" if warn_only else "strict" if strict else "refuse",
        currency=currency,
        rate=limit_admin.currency_rate(currency, {currency: rate}),
        timezone=timezone,
    )
    async with nats_connection.jetstream() as js:
        await limit_admin.put(js, made)
        details = {"limit": wording.text(made), "covers": wording.covers(scope)}
        warning = await audit_log.record(js, "limit", "set", name, account=account, details=details)
    return Outcome(note=f"Limit {name} of account {account}: {wording.text(made)}.{warning}")


@limit.command("list", examples=("metrion limit list", "metrion limit list --account team-a --json"))
@options.account_filter
@options.json_option
async def list_limits(*, account: str, as_json: bool) -> Outcome:
    """List limits by account and name."""
    from services.cli import nats_connection
    from shared import accounts_admin
    from shared.limits import wording

    async with nats_connection.jetstream() as js:
        directory = await accounts_admin.read(js)
    if account:
        lookup.require_account(account, directory.accounts)
    chosen = [one for _, one in sorted(directory.limits.items()) if account in ("", one.account)]
    if as_json:
        rows = [
            (one.account, one.name, one.measure, str(one.amount), one.currency if one.measure == "cost" else "",
             one.period, one.timezone, one.mode, one.scope.token, one.scope.requester, one.scope.provider,
             one.scope.model, wording.metadata_text(one.scope))
            for one in chosen
        ]  # fmt: skip
        return Outcome(output.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    if not chosen:
        return Outcome(note="No limits.")
    return Outcome(
        output.as_table(
            SHOWN, [(one.account, one.name, wording.text(one), wording.covers(one.scope)) for one in chosen]
        )
    )


@limit.command("delete", examples=("metrion limit delete each-token", "metrion limit delete ci --account team-a"))
@click.argument("name")
@options.owner_option
async def delete(*, name: str, account: str) -> Outcome:
    """Delete a limit (effective within 1 s)."""
    from services.cli import audit_log, nats_connection
    from shared.limits import admin as limit_admin

    async with nats_connection.jetstream() as js:
        await limit_admin.delete(js, account=account, name=name)
        warning = await audit_log.record(js, "limit", "delete", name, account=account)
    return Outcome(note=f"Limit {name} of account {account} deleted.{warning}")


@limit.command("show", examples=("metrion limit show team", "metrion limit show people --account team-a --json"))
@click.argument("name")
@options.owner_option
@options.json_option
async def show(*, name: str, account: str, as_json: bool) -> Outcome:
    """Show a limit and its usage in the current period.

    If each value has its own limit, lists the most used ones first. Limits per
    minute show the last 60 seconds, and only tokens by name.
    """
    from datetime import UTC, datetime

    from services.cli import nats_connection
    from shared import accounts_admin
    from shared.limits import minute_usage, usage, wording

    async with nats_connection.jetstream() as js:
        directory = await accounts_admin.read(js)
        found = directory.limits.get(f"{account}.{name}")
        if found is None:
            raise Refused(f"account {account!r} has no limit {name!r}; see: metrion limit list")
        now = datetime.now(UTC)
        tokens = {account: [token.name for token in directory.active(account).values()]}
        read = await usage.read(js, [found], now=now) | await minute_usage.read(js, [found], tokens, now=now)
        used = read[f"{account}.{name}"]
    note = f"Limit {name} of account {account}: {wording.text(found)}, {wording.covers(found.scope)}."
    end = "" if used.span.end is None else f" until {used.span.end:%Y-%m-%d %H:%M} UTC"
    if as_json:
        values = [
            {"each": list(use.each), "used": use.amount, "percent": round(use.percent, 1), "unpriced": use.unpriced}
            for use in used.uses
        ]
        return Outcome(output.as_json(values))
    unnamed = "one of them" if found.scope.has_each else "all"
    rows = [
        (", ".join(use.each) or unnamed, wording.amount(found, use.amount), f"{use.percent:.1f}%", use.unpriced)
        for use in used.uses[:SHOWN_USES]
    ]
    columns = ("for", "used", "of it", "requests of unknown cost")
    table = output.as_table(columns, rows) if rows else ""
    more = len(used.uses) - SHOWN_USES
    cut = f" {more:,} more values are not shown." if more > 0 else ""
    return Outcome(table, note=f"{note} From {used.span.start:%Y-%m-%d %H:%M}{end}.{cut}")


@limit.command("verify", examples=("metrion limit verify", "metrion limit verify --account team-a --repair"))
@options.account_filter
@click.option("--repair", is_flag=True, help="Publish the sum of the requests where it differs.")
@options.json_option
async def verify(*, account: str, repair: bool, as_json: bool) -> Outcome:
    """Compare the published usage of budgets with the stored requests.

    The exit status is 1 if a published figure differs from the sum of the
    requests in ClickHouse and was not repaired.
    """
    from services.cli import audit_log, clickhouse, limit_figures, nats_connection
    from shared import accounts_admin
    from shared.limits import spend, wording

    async with nats_connection.jetstream() as js, clickhouse.connection() as client:
        directory = await accounts_admin.read(js)
        if account:
            lookup.require_account(account, directory.accounts)
        chosen = [one for _, one in sorted(directory.limits.items()) if account in ("", one.account)]
        found = await limit_figures.compare(js, client, chosen)
        wrong = [one for one in found if not one.is_equal]
        repaired = await limit_figures.repair(js, wrong) if repair else 0
        warning = ""
        if repaired:
            details = {"figures": str(repaired)}
            warning = await audit_log.record(js, "limit", "repair", account, account=account, details=details)
    rows = [
        (one.limit.account, one.limit.name, ", ".join(one.each) or "all",
         *(wording.amount(one.limit, spend.amount(one.limit, used)) for used in (one.published, one.stored.used)))
        for one in (found if as_json else wrong)
    ]  # fmt: skip
    columns = ("account", "name", "for", "published", "by_the_requests")
    text = output.as_json([dict(zip(columns, row, strict=True)) for row in rows]) if as_json else ""
    if rows and not as_json:
        text = output.as_table(columns, rows)
    result = f"{output.plural(len(found), 'figure')} compared, {len(wrong):,} differ."
    if repaired:
        result += f" {output.plural(repaired, 'figure')} repaired.{warning}"
    return Outcome(text, note=result, status=1 if len(wrong) > repaired else 0)
