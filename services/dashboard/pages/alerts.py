"""Alerts page: rules with their state, what was sent, and the channels."""

import itertools
import operator
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import nats.errors
from aiohttp import web

from services.dashboard import alert_states, app_context, forms, paging, render, scope_fields
from services.dashboard.alert_states import VisibleAlerts
from services.dashboard.app_context import AppContext
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from shared import accounts_admin, decimals
from shared.accounts_admin import AccountError
from shared.alerts import channel_admin, rule_admin, rule_check, wording
from shared.alerts.model import CREATED, RATES, SELF_MEASURES, SYSTEM, TEST_SUBJECT, AlertRule, TrialReply, TrialRequest
from shared.limits import admin as limit_admin

PAGE = 20  # rules on a page
CHANNELS = 100  # listed
HISTORY = 50  # messages listed
TEST_SECONDS = 150.0  # that a logger has for a test: it may try a channel for two minutes
PERIODS = {
    "month": "this month",
    "week": "this week",
    "day": "today",
    "30d": "the last 30 days",
    "7d": "the last 7 days",
    "24h": "the last 24 hours",
    "1h": "the last hour",
    "15m": "the last 15 minutes",
    CREATED: "since it was created",
}
SUBJECT_NAMES = {
    "": "all requests together",
    "requester": "each requester",
    "token": "each token",
    "provider": "each provider",
    "model": "each model",
}
LEVELS = {"alert": "Alert", "warning": "Warning", "ok": "OK", "": "Not evaluated yet"}
FIELDS = (
    "account", "name", "change", "measure", "threshold", "period", "timezone", "by", "warn", "minimum", "forecast",
    "cooldown", *scope_fields.NAMES,
)  # fmt: skip
DEFAULTS = {"measure": "cost", "period": "month", "timezone": "UTC", "warn": "90", "currency": "USD", "cooldown": "24"}
CHANNEL_FIELDS = ("account", "name", "kind", "recipients", "region")  # those that are no secrets


def routes() -> Sequence[web.RouteDef]:
    """GET /alerts and the changes of its rules."""
    return [
        web.get("/alerts", show),
        web.post("/alerts", forms.handler(set_rule, show)),
        web.post("/alerts/delete", forms.handler(delete_rule, show)),
        web.post("/alerts/pause", forms.handler(pause_rule, show)),
        web.post("/alerts/test", forms.handler(test_rule, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show rules, history and channels of the user's accounts."""
    context = request.app[app_context.APP_CONTEXT]
    user = app_context.user(request)
    chosen = app_context.account_of(request, request.query.get("account", ""))
    failure = ""
    found = VisibleAlerts()
    try:
        found = await alert_states.read(context.nats.js, user)
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    shown = [account for account in found.accounts if chosen in ("", account)]
    rules = sorted(
        (rule for rule in found.rules if rule.account in shown), key=lambda rule: (shown.index(rule.account), rule.name)
    )
    channels = [one for one in found.channels if one.account in shown][:CHANNELS]
    typed = result.typed
    edited = None
    if not result.done:
        named = (chosen or (shown[0] if len(shown) == 1 else ""), request.query.get("edit", ""))
        edited = next((rule for rule in found.rules if user.admin and (rule.account, rule.name) == named), None)
    draft = _rule_draft(typed, edited, {"account": chosen, "timezone": user.tz})
    return await render.page(
        request,
        "alerts.html",
        active="/alerts",
        status=status,
        result=result,
        failure=failure,
        chosen=chosen,
        accounts={name: title(name) for name in found.accounts},
        groups=[
            (account, [alert_states.rule_state(rule, found.states) for rule in group])
            for account, group in itertools.groupby(
                paging.part(request, rules, PAGE), key=operator.attrgetter("account")
            )
        ],
        pages=paging.pages(request, len(rules), PAGE),
        history=[one for one in found.history if one[0] in shown][:HISTORY],
        draft=draft,
        channels=channels,
        most_channels=CHANNELS,
        ticked=_ticked(typed, edited),
        is_rule_open=bool(typed and "threshold" in typed) or edited is not None,
        channel_draft=_draft(typed, CHANNEL_FIELDS, {"account": chosen, "kind": "email", "region": "us"}, "kind"),
        is_channel_typed=bool(typed and "kind" in typed),
        measures={name: wording.NAMES[name] for name in rule_check.MEASURES},
        self_measures={name: wording.NAMES[name] for name in SELF_MEASURES} if user.operator else {},
        periods={draft["period"]: draft["period"]} | PERIODS,
        subjects=SUBJECT_NAMES | ({"account": "each account"} if user.operator else {}),
        levels=LEVELS,
        kinds=channel_admin.KINDS,
        providers=sorted(context.providers),
        can_store_secrets=bool(context.vault.ids),
        most_history=HISTORY,
        default_minimum=rule_check.DEFAULT_MINIMUM,
    )


async def set_rule(request: web.Request, form: Form) -> FormResult:
    """Create a rule, or change the one that the form names in `change`."""
    context = request.app[app_context.APP_CONTEXT]
    account = await account_in(request, form)
    rule = _rule(form, account, context)
    is_change = form["change"] == rule.name
    await (rule_admin.change if is_change else rule_admin.create)(context.nats.js, rule)
    details = {"rule": wording.text(rule), "channels": ", ".join(rule.channels)}
    action = "change" if is_change else "create"
    unrecorded = await forms.record(request, "alert", action, rule.name, account=account, details=details)
    return FormResult(done=f"Alert {rule.name} of {title(account)} {action}d: {wording.text(rule)}.{unrecorded}")


async def delete_rule(request: web.Request, form: Form) -> FormResult:
    """Delete a rule."""
    account = await account_in(request, form)
    name = form["name"]
    await rule_admin.delete(app_context.jetstream(request), account=account, name=name)
    unrecorded = await forms.record(request, "alert", "delete", name, account=account)
    return FormResult(done=f"Alert {name} of {title(account)} deleted.{unrecorded}")


async def pause_rule(request: web.Request, form: Form) -> FormResult:
    """Pause or resume a rule."""
    account = await account_in(request, form)
    name = form["name"]
    is_paused = form["paused"] == "1"
    await rule_admin.pause(app_context.jetstream(request), account=account, name=name, is_paused=is_paused)
    action = "pause" if is_paused else "resume"
    unrecorded = await forms.record(request, "alert", action, name, account=account)
    return FormResult(done=f"Alert {name} of {title(account)} {action}d.{unrecorded}")


async def test_rule(request: web.Request, form: Form) -> FormResult:
    """Let a logger send a test message of a rule."""
    account = await account_in(request, form)
    name = form["name"]
    asked = msgspec.json.encode(TrialRequest(account=account, rule=name))
    try:
        message = await request.app[app_context.APP_CONTEXT].nats.nc.request(TEST_SUBJECT, asked, timeout=TEST_SECONDS)
        reply = msgspec.json.decode(message.data, type=TrialReply)
    except nats.errors.NoRespondersError:
        raise AccountError("no logger is running to send it") from None
    except nats.errors.TimeoutError:
        raise AccountError("the logger has not responded yet; the history will show what was sent") from None
    except msgspec.MsgspecError:
        raise AccountError("the logger's response could not be read; is it the same version?") from None
    if reply.error:
        raise AccountError(reply.error)
    failed = "; ".join(f"{channel} failed: {reason}" for channel, reason in reply.failed.items())
    details = {"reached": ", ".join(reply.reached), "failed": failed}
    unrecorded = await forms.record(request, "alert", "test", name, account=account, details=details)
    if not reply.reached:
        raise AccountError(f"the test of {name} was not delivered; {failed}{unrecorded}")
    done = f"Test of {name} sent to {', '.join(reply.reached)}."
    return FormResult(done=f"{done}{f' {failed}.' if failed else ''}{unrecorded}")


async def account_in(request: web.Request, form: Form) -> str:
    """Return the account that a form is about, or SYSTEM; AccountError if unknown.

    It becomes a part of subjects in NATS. 403 for an account that the user may not change.
    """
    account = app_context.account_of(request, form["account"])
    if account == SYSTEM:
        return account
    if account not in (await accounts_admin.read(app_context.jetstream(request))).accounts:
        raise AccountError(f"account {account!r} does not exist")
    return account


def title(account: str) -> str:
    """Return the name of an account in headings and messages."""
    return "Metrion itself" if account == SYSTEM else account


def _draft(typed: Form | None, names: Sequence[str], defaults: Mapping[str, str], own: str) -> dict[str, str]:
    """Return the values of a form: as typed, if it was the one with the field `own`."""
    if typed and own in typed:
        return {name: typed[name] for name in names}
    return dict.fromkeys(names, "") | dict(defaults)


def _rule_draft(typed: Form | None, edited: AlertRule | None, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the form for a rule: as typed, of the rule to change, or defaults."""
    if edited is None or (typed and "threshold" in typed):
        return _draft(typed, FIELDS, DEFAULTS | dict(defaults), "threshold")
    return scope_fields.values(edited.scope) | {
        "account": edited.account,
        "name": edited.name,
        "change": edited.name,
        "measure": edited.measure,
        "threshold": decimals.exact(edited.threshold),
        "period": edited.period,
        "timezone": edited.timezone,
        "by": edited.by,
        "warn": str(edited.warn_percent),
        "minimum": str(edited.minimum or ""),
        "forecast": "1" if edited.is_forecast else "",
        "cooldown": str(edited.cooldown_hours),
        "currency": edited.currency,
        "rate": "" if edited.currency == "USD" else decimals.exact(edited.rate),
    }


def _ticked(typed: Form | None, edited: AlertRule | None) -> Sequence[str]:
    """Return the channels ticked in the form, each as <account>.<name>."""
    if typed and "threshold" in typed:
        return typed.chosen("channel")
    return [f"{edited.account}.{name}" for name in edited.channels] if edited else ()


def _rule(form: Form, account: str, context: AppContext) -> AlertRule:
    """Build a rule from a form; AccountError for a field that cannot be read."""
    measure = form["measure"]
    is_without_period = measure in SELF_MEASURES and measure != "unpriced"
    fields: dict[str, Any] = {
        "measure": measure,
        "threshold": limit_admin.amount(form["threshold"]),
        "period": "1d" if is_without_period else form["period"],
        "timezone": form["timezone"] or "UTC",
        "by": form["by"],
        "warn_percent": _number(form, "warn", "the warning"),
        "minimum": _number(form, "minimum", "the minimum of requests", default=_minimum(measure)),
        "is_forecast": bool(form["forecast"]),
        "cooldown_hours": _number(form, "cooldown", "the cooldown"),
        "channels": _channels(form, account),
        "scope": scope_fields.scope(form, context),
        **scope_fields.money(form, context),
    }
    return AlertRule(account=account, name=form["name"], created_at=datetime.now(UTC), **fields)


def _channels(form: Form, account: str) -> tuple[str, ...]:
    """Return the names of the channels ticked, each sent as <account>.<name>."""
    names = []
    for value in form.chosen("channel"):
        owner, _, name = value.partition(".")
        if owner != account:
            raise AccountError(f"the channel {name!r} is of {title(owner)}, the alert of {title(account)}")
        names.append(name)
    return tuple(names)


def _minimum(measure: str) -> int:
    return rule_check.DEFAULT_MINIMUM if measure in RATES else 0


def _number(form: Form, field: str, what: str, *, default: int = 0) -> int:
    text = form[field] or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 7):
        raise AccountError(f"{what} is a whole number, not {text!r}")
    return int(text)
