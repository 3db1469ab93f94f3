"""Alerts page: rules with their state, what was sent, and the channels."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec
import nats.errors
from aiohttp import web

from services.dashboard import app_context, forms, render, scope_fields
from services.dashboard.app_context import AppContext, User
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from shared import accounts_admin
from shared.accounts_admin import AccountError
from shared.alerts import built_in, channel_admin, rule_admin, wording
from shared.alerts.model import (
    SELF_MEASURES,
    SYSTEM,
    TEST_SUBJECT,
    AlertRule,
    Channel,
    Entry,
    State,
    TrialReply,
    TrialRequest,
    subject_key,
)
from shared.limits import admin as limit_admin

HISTORY = 50  # messages listed
SUBJECTS = 10  # of a rule that watches each value
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
}
SUBJECT_NAMES = {
    "": "everything together",
    "requester": "each requester",
    "token": "each token",
    "provider": "each provider",
    "model": "each model",
}
LEVELS = {"alert": "Alert", "warning": "Warning", "ok": "OK", "": "Not evaluated yet"}
FIELDS = (
    "account", "name", "measure", "threshold", "period", "timezone", "by", "warn", "minimum", "forecast", "cooldown",
    *scope_fields.NAMES,
)  # fmt: skip
DEFAULTS = {"measure": "cost", "period": "month", "timezone": "UTC", "warn": "90", "currency": "USD", "cooldown": "24"}
CHANNEL_FIELDS = ("account", "name", "kind", "recipients", "region")  # those that are no secrets
_RANKS = {"alert": 0, "warning": 1, "ok": 2}


class RuleState(NamedTuple):
    """A rule as shown. `level`: the highest of its subjects; "" if not evaluated yet."""

    rule: AlertRule
    text: str
    level: str
    value: str  # of the whole rule, or of the subject with the largest value
    since: datetime | None  # when the level was told; None for ok
    at: datetime | None  # when it was evaluated
    subjects: Sequence[tuple[State, str]]  # warning or alert, with the value in words
    is_built_in: bool


class Group(NamedTuple):
    """The rules and channels of an account, or of Metrion itself."""

    account: str
    title: str
    rules: Sequence[RuleState]
    channels: Sequence[Channel]


class Contents(msgspec.Struct):
    """What the alerts bucket holds of the accounts that a user sees."""

    accounts: list[str] = []  # with SYSTEM for those who run the installation
    rules: list[AlertRule] = []
    states: dict[str, State] = {}  # by <account>.<rule>.<subject key>
    history: list[tuple[str, str, Entry]] = []  # with account and rule, newest first
    channels: list[Channel] = []


def routes() -> Sequence[web.RouteDef]:
    """GET /alerts and the changes of its rules."""
    return [
        web.get("/alerts", show),
        web.post("/alerts", forms.handler(create_rule, show)),
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
    contents = Contents()
    try:
        contents = await _contents(context, user)
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    shown = [account for account in contents.accounts if chosen in ("", account)]
    groups = [_group(contents, account) for account in shown]
    typed = result.typed
    return await render.page(
        request,
        "alerts.html",
        active="/alerts",
        status=status,
        result=result,
        failure=failure,
        chosen=chosen,
        accounts={name: title(name) for name in contents.accounts},
        groups=[group for group in groups if group.rules or group.channels],
        history=[one for one in contents.history if one[0] in shown][:HISTORY],
        draft=_draft(typed, FIELDS, DEFAULTS | {"account": chosen, "timezone": user.tz}, "threshold"),
        channels=[one for one in contents.channels if one.account in shown],
        ticked=typed.chosen("channel") if typed else (),
        is_rule_typed=bool(typed and "threshold" in typed),
        channel_draft=_draft(typed, CHANNEL_FIELDS, {"account": chosen, "kind": "email", "region": "us"}, "kind"),
        is_channel_typed=bool(typed and "kind" in typed),
        measures={name: wording.NAMES[name] for name in rule_admin.MEASURES},
        self_measures={name: wording.NAMES[name] for name in SELF_MEASURES} if user.operator else {},
        periods=PERIODS,
        subjects=SUBJECT_NAMES | ({"account": "each account"} if user.operator else {}),
        levels=LEVELS,
        kinds=channel_admin.KINDS,
        providers=sorted(context.providers),
        can_store_secrets=bool(context.vault.ids),
        most_history=HISTORY,
        default_minimum=rule_admin.DEFAULT_MINIMUM,
    )


async def create_rule(request: web.Request, form: Form) -> FormResult:
    """Create a rule."""
    context = request.app[app_context.APP_CONTEXT]
    account = await account_in(request, form)
    rule = _rule(form, account, context)
    await rule_admin.create(context.nats.js, rule)
    details = {"rule": wording.text(rule), "channels": ", ".join(rule.channels)}
    unrecorded = await forms.record(request, "alert", "create", rule.name, account=account, details=details)
    return FormResult(done=f"Alert {rule.name} of {title(account)} created: {wording.text(rule)}.{unrecorded}")


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
        raise AccountError("no logger is running that could send it") from None
    except nats.errors.TimeoutError:
        raise AccountError("the logger has not answered yet; the history will show what was sent") from None
    except msgspec.MsgspecError:
        raise AccountError("the logger's answer could not be read; is it of the same version?") from None
    if reply.error:
        raise AccountError(reply.error)
    failed = "; ".join(f"{channel} failed: {reason}" for channel, reason in reply.failed.items())
    details = {"reached": ", ".join(reply.reached), "failed": failed}
    unrecorded = await forms.record(request, "alert", "test", name, account=account, details=details)
    if not reply.reached:
        raise AccountError(f"the test of {name} has reached nobody; {failed}{unrecorded}")
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
        raise AccountError(f"there is no account {account!r}")
    return account


def title(account: str) -> str:
    """Return the name of an account in headings and messages."""
    return "Metrion itself" if account == SYSTEM else account


async def _contents(context: AppContext, user: User) -> Contents:
    js = context.nats.js
    directory, rules, states, history, channels = await asyncio.gather(
        accounts_admin.read(js),
        rule_admin.rules_with_built_in(js, account=user.account),
        rule_admin.states(js, account=user.account),
        rule_admin.history(js, account=user.account),
        channel_admin.channels(js, account=user.account),
    )
    accounts = [name for name in sorted(directory.accounts) if user.account in ("", name)]
    if user.operator:
        accounts.append(SYSTEM)
    return Contents(
        accounts=accounts,
        rules=rules,
        states=dict(states),
        history=[(*key.split(".")[:2], entry) for key, entry in history],  # type: ignore[misc]
        channels=channels,
    )


def _group(contents: Contents, account: str) -> Group:
    rules = sorted((rule for rule in contents.rules if rule.account == account), key=lambda rule: rule.name)
    channels = [channel for channel in contents.channels if channel.account == account]
    return Group(account, title(account), [_state(rule, contents.states) for rule in rules], channels)


def _state(rule: AlertRule, states: Mapping[str, State]) -> RuleState:
    prefix = f"{rule.account}.{rule.name}."
    own = {
        key.removeprefix(prefix): state
        for key, state in states.items()
        if key.startswith(prefix) and state.rule_at == rule.created_at
    }
    whole = own.get(subject_key(""))
    raised = [state for key, state in own.items() if state.level != "ok" and state.subject and key != subject_key("")]
    raised.sort(key=lambda state: (_RANKS[state.level], -_decimal(state.value)))
    worst = min(own.values(), key=lambda state: _RANKS[state.level], default=None)
    return RuleState(
        rule=rule,
        text=wording.text(rule),
        level=worst.level if worst else "",
        value=_value(rule, whole),
        since=worst.notified_at if worst and worst.level != "ok" else None,
        at=max((state.at for state in own.values()), default=None),
        subjects=[(state, _value(rule, state)) for state in raised],
        is_built_in=rule.account == SYSTEM and rule.name in built_in.RULES,
    )


def _value(rule: AlertRule, state: State | None) -> str:
    return "" if state is None else wording.amount(rule, _decimal(state.value))


def _decimal(text: str) -> Decimal:
    with contextlib.suppress(InvalidOperation):
        return Decimal(text)
    return Decimal(0)


def _draft(typed: Form | None, names: Sequence[str], defaults: Mapping[str, str], own: str) -> dict[str, str]:
    """Return the values of a form: as typed, if it was the one with the field `own`."""
    if typed and own in typed:
        return {name: typed[name] for name in names}
    return dict.fromkeys(names, "") | dict(defaults)


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
    return rule_admin.DEFAULT_MINIMUM if measure in rule_admin.RATES else 0


def _number(form: Form, field: str, what: str, *, default: int = 0) -> int:
    text = form[field] or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 7):
        raise AccountError(f"{what} is a whole number, not {text!r}")
    return int(text)
