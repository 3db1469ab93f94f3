"""The commands `alert …`: rules that warn about cost, errors, latency and volume."""

from decimal import Decimal

import click

from services.cli import alert_rows, lookup, options, output
from services.cli.errors import Refused, Unavailable
from services.cli.options import Group
from services.cli.outcome import Outcome

TEST_SECONDS = 150.0  # for an answer: a channel may be retried for two minutes

alert = Group(
    "alert",
    help="Create, list, test and delete alerts.",
    examples=(
        "metrion alert create spend --measure cost --above 500 --channel ops",
        "metrion alert list",
        "metrion alert test spend",
        "metrion alert history",
    ),
)


@alert.command(
    "create",
    examples=(
        "metrion alert create spend --measure cost --above 500 --channel ops",
        "metrion alert create each --measure cost --above 20 --by requester",
        "metrion alert create month --measure cost --above 900 --forecast",
        "metrion alert create errors --measure error_rate --above 5 --per 15m",
        "metrion alert create slow --measure latency_p95 --above 20000 --per 1h",
    ),
)
@click.argument("name")
@options.owner_option
@click.option(
    "--measure", required=True, metavar="NAME",
    help="cost, requests, tokens, errors, error_rate, latency_p95, first_byte_p95 or cost_per_request.",
)  # fmt: skip
@click.option(
    "--above", required=True, metavar="AMOUNT", help="Threshold: money, a number, percent, or milliseconds.",
)  # fmt: skip
@click.option(
    "--per", "period", default="", metavar="PERIOD",
    help="day, week, month, days such as 30d, a window such as 15m or 1h, dates such as "
    "2026-11-01..2026-11-30, or created: since then.  [default: month; 1h for rates]",
)  # fmt: skip
@click.option("--timezone", default="UTC", metavar="ZONE", show_default=True, help="Where days, weeks, months begin.")
@click.option(
    "--by", default="", metavar="WHAT", help="Evaluate each requester, token, provider or model separately.",
)  # fmt: skip
@click.option("--channel", "channels", multiple=True, metavar="NAME", help="Channel to notify; may be repeated.")
@click.option(
    "--warn", "warn_percent", type=int, default=90, metavar="PERCENT", show_default=True,
    help="Warn at this share of the threshold; 0: never.",
)  # fmt: skip
@click.option("--forecast", "is_forecast", is_flag=True, help="Compare the forecast for the period's end instead.")
@click.option(
    "--minimum", type=int, default=None, metavar="N",
    help="Requests that a rate needs to be evaluated.  [default: 20]",
)  # fmt: skip
@click.option(
    "--cooldown", "cooldown_hours", type=int, default=24, metavar="HOURS", show_default=True,
    help="Send each level once within this time.",
)  # fmt: skip
@click.option("--currency", default="USD", metavar="CODE", show_default=True, help="Currency of a cost.")
@click.option("--rate", default="", metavar="RATE", help="Units of the currency for one US dollar.")
@click.option("--token", default="", metavar="NAME", help="Only requests of this token.")
@click.option("--requester", default="", metavar="NAME", help="Only requests of this requester.")
@click.option("--provider", default="", metavar="NAME", help="Only requests to this provider.")
@click.option("--model", default="", metavar="NAME", help="Only requests of this model, e.g. gpt-*.")
@click.option("--metadata", default="", metavar="KEY=VALUE", help="Only requests with this metadata.")
async def create(
    *, name: str, account: str, measure: str, above: str, period: str, timezone: str, by: str,
    channels: tuple[str, ...], warn_percent: int, is_forecast: bool, minimum: int | None, cooldown_hours: int,
    currency: str, rate: str,
    token: str, requester: str, provider: str, model: str, metadata: str,
) -> Outcome:  # fmt: skip
    """Create an alert.

    It is evaluated after new requests and every minute. Account - is for
    Metrion as a whole.
    """
    from datetime import UTC, datetime

    from services.cli import audit_log, nats_connection
    from shared import accounts_admin
    from shared.alerts import rule_admin, rule_check, wording
    from shared.alerts.model import RATES, AlertRule
    from shared.limits import admin as limit_admin

    is_rate = measure in RATES
    made = AlertRule(
        account=account,
        name=name,
        created_at=datetime.now(UTC),
        measure=measure,  # type: ignore[arg-type]  # checked below
        threshold=limit_admin.amount(above),
        period=period or rule_check.default_period(measure),
        timezone=timezone,
        scope=limit_admin.scope(
            token=token,
            requester=requester,
            provider=lookup.known_provider(provider) if provider else "",
            model=model,
            metadata=metadata,
        ),
        by=by,  # type: ignore[arg-type]  # checked below
        warn_percent=warn_percent,
        minimum=(rule_check.DEFAULT_MINIMUM if is_rate else 0) if minimum is None else minimum,
        is_forecast=is_forecast,
        currency=currency,
        rate=limit_admin.currency_rate(currency, {currency: rate}),
        channels=channels,
        cooldown_hours=cooldown_hours,
    )
    rule_check.check(made)
    async with nats_connection.jetstream() as js:
        if account == options.DEFAULT_ACCOUNT:
            await accounts_admin.ensure_account(js, account)
        await rule_admin.create(js, made)
        details = {"rule": wording.text(made), "channels": ", ".join(channels)}
        warning = await audit_log.record(js, "alert", "create", name, account=account, details=details)
    silent = "" if channels else " It notifies nobody; add a --channel."
    return Outcome(note=f"Alert {name} of account {account}: {wording.text(made)}.{silent}{warning}")


@alert.command("list", examples=("metrion alert list", "metrion alert list --account team-a --json"))
@options.account_filter
@options.json_option
async def list_alerts(*, account: str, as_json: bool) -> Outcome:
    """List alerts and their state by account and name."""
    from services.cli import nats_connection
    from shared import accounts_admin
    from shared.alerts import rule_admin
    from shared.alerts.model import SYSTEM

    async with nats_connection.jetstream() as js:
        if account not in ("", SYSTEM):
            lookup.require_account(account, (await accounts_admin.read(js)).accounts)
        rules = await rule_admin.rules_with_built_in(js, account=account)
        states = dict(await rule_admin.states(js, account=account))
    if as_json:
        return Outcome(
            output.as_json([dict(zip(alert_rows.COLUMNS, alert_rows.row(rule, states), strict=True)) for rule in rules])
        )
    if not rules:
        return Outcome(note="No alerts.")
    rows = [alert_rows.shown_row(rule, states) for rule in rules]
    return Outcome(output.as_table(alert_rows.SHOWN, rows))


@alert.command("show", examples=("metrion alert show spend", "metrion alert show dead-letters --account -"))
@click.argument("name")
@options.owner_option
@options.json_option
async def show(*, name: str, account: str, as_json: bool) -> Outcome:
    """Show an alert and the state of each subject."""
    from services.cli import nats_connection
    from shared.alerts import rule_admin, wording

    async with nats_connection.jetstream() as js:
        rule = await alert_rows.find(js, account, name)
        found = dict(await rule_admin.states(js, account=account, name=name))
    states = [state for key, state in sorted(found.items()) if alert_rows.is_of(rule, key, state)]
    if as_json:
        described = dict(zip(alert_rows.COLUMNS, alert_rows.row(rule, found), strict=True))
        subjects = [
            {"subject": state.subject, "level": state.level, "value": state.value, "at": state.at} for state in states
        ]
        return Outcome(output.as_json(described | {"subjects": subjects}))
    lines = [
        ("alert", f"{name} of account {account}"),
        ("rule", wording.text(rule)),
        ("state", alert_rows.level(rule, alert_rows.state(rule, found))),
        ("warning at", f"{rule.warn_percent} %" if rule.warn_percent else "never"),
        ("minimum", f"{rule.minimum} requests" if rule.minimum else ""),
        ("cooldown", f"{rule.cooldown_hours} h"),
        ("time zone", rule.timezone),
        ("channels", ", ".join(rule.channels) or ("all of -" if account == "-" else "none")),
    ]
    text = "".join(f"{title:<12}{value}\n" for title, value in lines if value)
    if states:
        rows = [
            (state.subject, state.level, wording.amount(rule, Decimal(state.value)), state.at)
            for state in sorted(states, key=lambda state: -Decimal(state.value))
        ]
        text += "\n" + output.as_table((rule.by or "subject", "state", "value", "at"), rows)
    return Outcome(text)


@alert.command("test", examples=("metrion alert test spend", "metrion alert test dead-letters --account -"))
@click.argument("name")
@options.owner_option
async def test(*, name: str, account: str) -> Outcome:
    """Send a test message to the channels of an alert.

    Possible once in 12 hours. The exit status is 1 if a channel was not reached.
    """
    import msgspec
    import nats.errors

    from services.cli import audit_log, nats_connection
    from shared.alerts.model import TEST_SUBJECT, TrialReply, TrialRequest

    async with nats_connection.connection() as nc:
        js = nc.jetstream()
        await alert_rows.find(js, account, name)
        data = msgspec.json.encode(TrialRequest(account, name))
        try:
            message = await nc.request(TEST_SUBJECT, data, timeout=TEST_SECONDS)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            raise Unavailable("no logger responds; is one running?") from None
        reply = msgspec.json.decode(message.data, type=TrialReply)
        if reply.error:
            raise Refused(f"alert {name} of account {account}: {reply.error}")
        details = {"reached": ", ".join(reply.reached), "failed": ", ".join(reply.failed)}
        warning = await audit_log.record(js, "alert", "test", name, account=account, details=details)
    lines = [f"{channel}: reached\n" for channel in reply.reached]
    lines += [f"{channel}: failed: {reason}\n" for channel, reason in reply.failed.items()]
    return Outcome("".join(lines), note=warning.strip(), status=1 if reply.failed else 0)


@alert.command("delete", examples=("metrion alert delete spend", "metrion alert delete each --account team-a"))
@click.argument("name")
@options.owner_option
async def delete(*, name: str, account: str) -> Outcome:
    """Delete an alert."""
    from services.cli import audit_log, nats_connection
    from shared.alerts import rule_admin

    async with nats_connection.jetstream() as js:
        await rule_admin.delete(js, account=account, name=name)
        warning = await audit_log.record(js, "alert", "delete", name, account=account)
    return Outcome(note=f"Alert {name} of account {account} deleted.{warning}")


@alert.command("history", examples=("metrion alert history", "metrion alert history spend --json"))
@click.argument("name", default="")
@options.account_filter
@options.limit_option(50, "Show at most this number of messages.")
@options.json_option
async def history(*, name: str, account: str, limit: int, as_json: bool) -> Outcome:
    """List messages of the last 90 days, newest first."""
    from services.cli import nats_connection
    from shared.alerts import rule_admin

    async with nats_connection.jetstream() as js:
        found = (await rule_admin.history(js, account=account, name=name))[:limit]
    rows = [alert_rows.sent_row(key, entry) for key, entry in found]
    if as_json:
        return Outcome(output.as_json([dict(zip(alert_rows.SENT, row, strict=True)) for row in rows]))
    if not rows:
        return Outcome(note="No messages.")
    return Outcome(output.as_table(alert_rows.SENT_SHOWN, [alert_rows.shown_sent_row(*row) for row in rows]))


@alert.command("pause", examples=("metrion alert pause spend", "metrion alert pause old-prices --account -"))
@click.argument("name")
@options.owner_option
async def pause(*, name: str, account: str) -> Outcome:
    """Pause an alert: it is not evaluated."""
    return await _paused(name, account, is_paused=True)


@alert.command("resume", examples=("metrion alert resume spend",))
@click.argument("name")
@options.owner_option
async def resume(*, name: str, account: str) -> Outcome:
    """Resume a paused alert."""
    return await _paused(name, account, is_paused=False)


async def _paused(name: str, account: str, *, is_paused: bool) -> Outcome:
    from services.cli import audit_log, nats_connection
    from shared.alerts import rule_admin

    verb = "pause" if is_paused else "resume"
    async with nats_connection.jetstream() as js:
        await rule_admin.pause(js, account=account, name=name, is_paused=is_paused)
        warning = await audit_log.record(js, "alert", verb, name, account=account)
    return Outcome(note=f"Alert {name} of account {account} {verb}d.{warning}")
