"""Alert rules with their state."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from services.dashboard import alert_states, app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.admin import ScopeFields
from services.dashboard.api.formats import Amount
from services.dashboard.api.operation import Operation, Parameter
from shared.alerts import rule_admin, rule_check, wording
from shared.alerts.model import RATES, AlertRule, State
from shared.limits import admin as limit_admin


class NewAlert(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An alert rule to create. Defaults are those of `metrion alert create`."""

    name: str
    measure: str
    threshold: str
    period: str = ""
    timezone: str = "UTC"
    by: str = ""
    warn_percent: int = 90
    minimum: int | None = None
    is_forecast: bool = False
    cooldown_hours: int = 24
    currency: str = "USD"
    rate: str = ""
    channels: list[str] = []
    scope: ScopeFields = ScopeFields()


class AlertChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A change of an alert rule."""

    is_paused: bool


class AlertInfo(msgspec.Struct, kw_only=True):
    """An alert rule with its state. `level`: "" before its first evaluation."""

    account: str
    name: str
    text: str
    measure: str
    threshold: Amount
    currency: str
    period: str
    timezone: str
    by: str
    warn_percent: int
    minimum: int
    is_forecast: bool
    cooldown_hours: int
    channels: list[str]
    scope: ScopeFields
    is_built_in: bool
    is_paused: bool
    level: str
    value: str
    since: datetime | None
    subjects: dict[str, str]  # those in warning or alert, with their level


class Alerts(msgspec.Struct, kw_only=True):
    """Alert rules by account and name; account "-" is Metrion itself."""

    rows: list[AlertInfo]


async def list_alerts(request: web.Request) -> web.Response:
    """List alert rules with their state."""
    account = request.query.get("account", "")
    params.require_account(request, account)
    found = await alert_states.read(app_context.jetstream(request), app_context.user(request))
    rules = [rule for rule in found.rules if rule.account in found.accounts and account in ("", rule.account)]
    rows = [_info(rule, found.states) for rule in sorted(rules, key=lambda rule: (rule.account, rule.name))]
    return formats.respond(request, Alerts(rows=rows))


async def create_alert(request: web.Request) -> web.Response:
    """Create an alert rule."""
    body = await params.body(request, NewAlert)
    account = await admin.account(request, or_system=True)
    minimum = body.minimum
    if minimum is None:
        minimum = rule_check.DEFAULT_MINIMUM if body.measure in RATES else 0
    rule = AlertRule(
        account=account,
        name=body.name,
        created_at=datetime.now(UTC),
        measure=body.measure,  # type: ignore[arg-type]  # rule_check.check refuses others
        threshold=limit_admin.amount(body.threshold),
        period=body.period or rule_check.default_period(body.measure),
        timezone=body.timezone,
        scope=admin.scope(request, body.scope),
        by=body.by,  # type: ignore[arg-type]
        warn_percent=body.warn_percent,
        minimum=minimum,
        is_forecast=body.is_forecast,
        channels=tuple(body.channels),
        cooldown_hours=body.cooldown_hours,
        **admin.money(request, body.currency, body.rate),
    )
    await rule_admin.create(app_context.jetstream(request), rule)
    details = {"rule": wording.text(rule), "channels": ", ".join(rule.channels)}
    await forms.record(request, "alert", "create", rule.name, account=account, details=details)
    return formats.created(_info(rule, {}))


async def change_alert(request: web.Request) -> web.Response:
    """Pause or resume an alert rule."""
    body = await params.body(request, AlertChange)
    account = await admin.account(request, or_system=True)
    name = request.match_info["name"]
    await rule_admin.pause(app_context.jetstream(request), account=account, name=name, is_paused=body.is_paused)
    await forms.record(request, "alert", "pause" if body.is_paused else "resume", name, account=account)
    return admin.done()


async def delete_alert(request: web.Request) -> web.Response:
    """Delete an alert rule."""
    account = await admin.account(request, or_system=True)
    name = request.match_info["name"]
    await rule_admin.delete(app_context.jetstream(request), account=account, name=name)
    await forms.record(request, "alert", "delete", name, account=account)
    return admin.done()


def _info(rule: AlertRule, states: Mapping[str, Mapping[str, State]]) -> AlertInfo:
    state = alert_states.rule_state(rule, states)
    return AlertInfo(
        account=rule.account,
        name=rule.name,
        text=state.text,
        measure=rule.measure,
        threshold=formats.amount(rule.threshold) or "0",
        currency=rule.currency,
        period=rule.period,
        timezone=rule.timezone,
        by=rule.by,
        warn_percent=rule.warn_percent,
        minimum=rule.minimum,
        is_forecast=rule.is_forecast,
        cooldown_hours=rule.cooldown_hours,
        channels=list(rule.channels),
        scope=admin.scope_fields(rule.scope),
        is_built_in=state.is_built_in,
        is_paused=rule.is_paused,
        level=state.level,
        value=state.value,
        since=state.since,
        subjects={one.subject: one.level for one, _ in state.subjects},
    )


_ALERTS = "/accounts/{account}/alerts"
OPERATIONS = (
    Operation(
        method="GET",
        path="/alerts",
        handler=list_alerts,
        summary="List alert rules with their state",
        response=Alerts,
        parameters=(Parameter("account", "Only this account; - for Metrion itself."),),
        tag="Alerts",
    ),
    Operation(
        method="POST",
        path=_ALERTS,
        handler=create_alert,
        summary="Create an alert rule",
        description="Account - stands for Metrion itself.",
        body=NewAlert,
        response=AlertInfo,
        status=201,
        tag="Alerts",
    ),
    Operation(
        method="PATCH",
        path=f"{_ALERTS}/{{name}}",
        handler=change_alert,
        summary="Pause or resume an alert rule",
        body=AlertChange,
        status=204,
        tag="Alerts",
    ),
    Operation(
        method="DELETE",
        path=f"{_ALERTS}/{{name}}",
        handler=delete_alert,
        summary="Delete an alert rule",
        status=204,
        tag="Alerts",
    ),
)
