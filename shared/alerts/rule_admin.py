"""Creates, changes and deletes alert rules in the alerts bucket."""

import re
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import TypeVar

import msgspec
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import accounts_admin, accounts_kv, stream_reader
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts
from shared.alerts.built_in import RULES
from shared.alerts.model import (
    ADDED_UP,
    ALERTS_BUCKET,
    ALERTS_STREAM,
    CHANNEL_KEY,
    HISTORY_KEY,
    NAME_PATTERN,
    RATES,
    RULE_KEY,
    SELF_MEASURES,
    STATE_KEY,
    SYSTEM,
    AlertRule,
    Entry,
    State,
    window,
)
from shared.limits import periods
from shared.limits.model import EACH, MOST

DEFAULT_MINIMUM = 20  # requests below which a rate is not judged, unless stated
MOST_RULES = 100  # of an account
MOST_COOLDOWN = 31 * 24  # hours
MEASURES = (*ADDED_UP, *RATES)
MONEY = ("cost", "cost_per_request")
_DECIMALS = {"cost": 6, "cost_per_request": 9, "error_rate": 3}
_CALENDAR = (periods.DAY, periods.WEEK, periods.MONTH)
_BY = ("", "requester", "token", "provider", "model", "account")
_LONGEST = 256  # characters of a condition
_CURRENCY = re.compile(r"[A-Z]{3}")
_SUBJECT = f"$KV.{ALERTS_BUCKET}."
_FILTER = "Nats-Expected-Last-Subject-Sequence-Subject"
_CONFLICTS = (10071, 10164)  # JetStream errors: wrong last sequence
_ATTEMPTS = 50

T = TypeVar("T")
Rules = dict[str, AlertRule]  # of an account, by name


async def rules(js: JetStreamContext, *, account: str = "") -> list[AlertRule]:
    """Read the stored rules of an account, or of all, by account and name."""
    found, _ = await _read(js, _pattern(account))
    return sorted(found, key=lambda rule: (rule.account, rule.name))


async def rules_with_built_in(js: JetStreamContext, *, account: str = "") -> list[AlertRule]:
    """Read rules like `rules`, with the built-in ones that no stored rule replaces."""
    stored = await rules(js, account=account)
    if account not in ("", SYSTEM):
        return stored
    replaced = {rule.name for rule in stored if rule.account == SYSTEM}
    built_in = [rule for name, rule in RULES.items() if name not in replaced]
    return sorted([*stored, *built_in], key=lambda rule: (rule.account, rule.name))


async def create(js: JetStreamContext, rule: AlertRule) -> None:
    """Store a new rule; AccountError if it is invalid or its name is taken."""
    check(rule)
    if rule.account != SYSTEM:
        _check_account(rule, await accounts_admin.read(js))
    await _check_channels(js, rule)

    def decide(existing: Rules) -> AlertRule | None:
        before = existing.get(rule.name)
        if before == rule:  # by an earlier attempt, whose acknowledgement was lost
            return None
        if before is not None:
            raise AccountError(f"account {rule.account!r} has an alert {rule.name!r} already; delete it first")
        if len(existing) >= MOST_RULES:
            raise AccountError(f"account {rule.account!r} already has {MOST_RULES} alerts; delete one first")
        return rule

    await _change(js, rule.account, decide)


async def pause(js: JetStreamContext, *, account: str, name: str, is_paused: bool) -> AlertRule:
    """Pause or resume a rule, also a built-in one; AccountError if there is none."""
    _check_names(account, name)
    changed: AlertRule | None = None

    def decide(existing: Rules) -> AlertRule | None:
        nonlocal changed
        rule = existing.get(name) or (RULES.get(name) if account == SYSTEM else None)
        if rule is None:
            raise missing(account, name)
        changed = msgspec.structs.replace(rule, is_paused=is_paused)
        return None if changed == existing.get(name) else changed

    await _change(js, account, decide)
    assert changed is not None
    return changed


async def delete(js: JetStreamContext, *, account: str, name: str) -> None:
    """Delete a rule; AccountError if there is none."""
    _check_names(account, name)
    found, _ = await _read(js, account)
    if name not in {rule.name for rule in found}:
        if account == SYSTEM and name in RULES:
            raise AccountError(f"{name!r} is built in; pause it instead")
        raise missing(account, name)
    await js.publish(
        f"{_SUBJECT}{RULE_KEY}{account}.{name}", b"", stream=ALERTS_STREAM, headers={"KV-Operation": "DEL"}
    )


async def states(js: JetStreamContext, *, account: str = "", name: str = "") -> list[tuple[str, State]]:
    """Read states with their keys: <account>.<rule>.<subject key>."""
    return await _records(js, f"{STATE_KEY}{_pattern(account)}.{_pattern(name)}.*", STATE_KEY, State)


async def history(js: JetStreamContext, *, account: str = "", name: str = "") -> list[tuple[str, Entry]]:
    """Read what was sent, newest first, with keys: <account>.<rule>.<id>."""
    found = await _records(js, f"{HISTORY_KEY}{_pattern(account)}.{_pattern(name)}.*", HISTORY_KEY, Entry)
    return sorted(found, key=lambda one: one[1].at, reverse=True)


def default_period(measure: str) -> str:
    """Return the period of a rule that states none."""
    if measure in SELF_MEASURES:
        return "1d"
    return "1h" if measure in RATES else periods.MONTH


def check(rule: AlertRule) -> None:
    """Raise AccountError for a rule that is invalid by itself."""
    if NAME_PATTERN.fullmatch(rule.name) is None:
        raise AccountError(f"alert name {rule.name!r}: 1 to 40 of a-z, 0-9 and -, the first not -")
    if rule.by not in _BY:
        raise AccountError(f"an alert cannot watch each {rule.by!r}; use {', '.join(_BY[1:])}")
    _check_measure(rule)
    _check_threshold(rule)
    _check_period(rule)
    _check_scope(rule)
    if not 0 <= rule.warn_percent <= 99:
        raise AccountError("a warning is sent at 1 to 99 percent of the threshold; 0 for none")
    if not 1 <= rule.cooldown_hours <= MOST_COOLDOWN:
        raise AccountError(f"a cooldown is 1 to {MOST_COOLDOWN} hours")
    if rule.minimum and rule.measure not in RATES:
        raise AccountError(f"only rates have a minimum of requests: {', '.join(RATES)}")
    if not 0 <= rule.minimum <= 1_000_000:
        raise AccountError("a minimum is 0 to 1,000,000 requests")


def _check_measure(rule: AlertRule) -> None:
    known = (*MEASURES, *SELF_MEASURES) if rule.account == SYSTEM else MEASURES
    if rule.measure not in known:
        if rule.measure in SELF_MEASURES:
            raise AccountError(f"{rule.measure} is a measure of Metrion itself, not of an account")
        raise AccountError(f"unknown measure {rule.measure!r}; use one of {', '.join(known)}")


def _check_threshold(rule: AlertRule) -> None:
    number = rule.threshold
    if not number.is_finite() or not 0 < number <= MOST:
        raise AccountError(f"a threshold is more than 0 and at most {MOST:,}")
    if rule.measure == "error_rate" and number > 100:
        raise AccountError("an error rate is at most 100 percent")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    decimals = _DECIMALS.get(rule.measure, 0)
    if exponent < -decimals and number != round(number, decimals):
        limit = f"at most {decimals} decimals" if decimals else "no decimals"
        raise AccountError(f"a threshold of {rule.measure} has {limit}")
    if _CURRENCY.fullmatch(rule.currency) is None:
        raise AccountError(f"{rule.currency!r} is not a currency code such as EUR")
    if not rule.rate.is_finite() or not Decimal("0.000001") <= rule.rate <= 1_000_000:
        raise AccountError("a rate is units of the currency for one US dollar, from 0.000001 to 1,000,000")
    if rule.currency == "USD" and rule.rate != 1:
        raise AccountError("one US dollar is one US dollar: state the currency of the rate")
    if rule.measure not in MONEY and rule.currency != "USD":
        raise AccountError("only costs have a currency")


def _check_period(rule: AlertRule) -> None:
    if not (window(rule.period) or rule.period in _CALENDAR or periods.rolling_days(rule.period)):
        raise AccountError(
            f"unknown period {rule.period!r}; use day, week, month, days such as 30d (1d to 366d), "
            "or a window such as 15m or 1h (5m to 48h)"
        )
    try:
        periods.zone(rule.timezone)
    except ValueError as error:
        raise AccountError(str(error)) from None
    if rule.measure in SELF_MEASURES and rule.measure != "unpriced" and rule.period != "1d":
        raise AccountError(f"{rule.measure} has no period")
    if rule.is_forecast and (rule.period not in _CALENDAR or rule.measure not in ADDED_UP):
        raise AccountError("only cost, requests, tokens and errors of a day, week or month can be forecast")


def _check_scope(rule: AlertRule) -> None:
    scope = rule.scope
    values = (scope.token, scope.requester, scope.provider, scope.model, scope.metadata_key, scope.metadata_value)
    if any(len(value) > _LONGEST for value in values):
        raise AccountError(f"a condition must not exceed {_LONGEST} characters")
    if EACH in (scope.token, scope.requester, scope.metadata_value):
        raise AccountError("'*' is not for alerts; watch each value instead")
    if "[" in scope.model:
        raise AccountError("a model of an alert is a name, in which * and ? stand for others")
    if bool(scope.metadata_key) != bool(scope.metadata_value):
        raise AccountError("metadata is KEY=VALUE")
    if rule.by and rule.by != "account" and getattr(scope, rule.by) and rule.by != "model":
        raise AccountError(f"an alert of each {rule.by} cannot be confined to one")
    if rule.account == SYSTEM:
        if scope.token:
            raise AccountError("tokens belong to accounts: a rule of all accounts cannot be confined to one")
        if rule.measure in SELF_MEASURES and (rule.by or any(values)):
            raise AccountError(f"{rule.measure} is about Metrion as a whole")
    elif rule.by == "account":
        raise AccountError("only a rule of all accounts can watch each account")


def _check_account(rule: AlertRule, directory: Accounts) -> None:
    account, token = rule.account, rule.scope.token
    if account not in directory.accounts:
        raise AccountError(f"there is no account {account!r}; create it first")
    if token and not directory.active(account, token):
        raise AccountError(f"account {account!r} has no active token {token!r}")


async def _check_channels(js: JetStreamContext, rule: AlertRule) -> None:
    if len(set(rule.channels)) != len(rule.channels):
        raise AccountError("a channel is named twice")
    known = await channel_names(js, rule.account)
    for name in rule.channels:
        if name not in known:
            raise AccountError(f"account {rule.account!r} has no channel {name!r}")


async def channel_names(js: JetStreamContext, account: str) -> Collection[str]:
    """Read the names of an account's channels."""
    messages = await _messages(js, f"{CHANNEL_KEY}{account}.*")
    return {message.subject.rpartition(".")[2] for message in messages if not accounts_kv.removes(message.headers)}


def _check_names(*names: str) -> None:
    """Raise AccountError for what is no name of an account or a rule: in NATS, * and > stand for any."""
    for name in names:
        if name != SYSTEM and accounts_admin.ACCOUNT_PATTERN.fullmatch(name) is None:
            raise AccountError(f"{name!r} is not a name")


def _pattern(name: str) -> str:
    """Return a name, or what stands for all if there is none."""
    if name:
        _check_names(name)
    return name or "*"


def missing(account: str, name: str) -> AccountError:
    """Return the error for a rule that does not exist."""
    return AccountError(f"account {account!r} has no alert {name!r}")


async def _change(js: JetStreamContext, account: str, decide: Callable[[Rules], AlertRule | None]) -> None:
    """Write the rule that `decide` returns, unless a rule of the account was changed meanwhile.

    `decide` is then called again; None: nothing is left to do.
    """
    lost = 0
    for _ in range(_ATTEMPTS):
        found, revision = await _read(js, account)
        rule = decide({one.name: one for one in found})
        if rule is None:
            return
        headers = {
            api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision),
            _FILTER: f"{_SUBJECT}{RULE_KEY}{account}.*",
        }
        subject = f"{_SUBJECT}{RULE_KEY}{account}.{rule.name}"
        try:
            await js.publish(subject, msgspec.json.encode(rule), stream=ALERTS_STREAM, headers=headers)
            return
        except APIError as error:
            if error.err_code not in _CONFLICTS:
                raise
        except NatsTimeout:
            lost += 1
            if lost == 3:
                raise
    raise AccountError("others keep changing the alerts at the same time; try again")


async def _read(js: JetStreamContext, account: str) -> tuple[list[AlertRule], int]:
    """Rules of an account, or of all for *, and the last revision among them."""
    found = []
    revision = 0
    for message in await _messages(js, f"{RULE_KEY}{account}.*"):
        revision = max(revision, message.metadata.sequence.stream)
        if not accounts_kv.removes(message.headers):
            try:
                found.append(_decode(message.data))
            except (msgspec.MsgspecError, ValueError):
                continue  # of a later version
    return found, revision


async def _records(js: JetStreamContext, keys: str, prefix: str, kind: type[T]) -> list[tuple[str, T]]:
    found = []
    for message in await _messages(js, keys):
        if not accounts_kv.removes(message.headers):
            try:
                record = msgspec.json.decode(message.data, type=kind)
            except (msgspec.MsgspecError, ValueError):
                continue
            found.append((message.subject.removeprefix(_SUBJECT + prefix), record))
    return found


async def _messages(js: JetStreamContext, keys: str) -> list[Msg]:
    try:
        return await stream_reader.messages(js, ALERTS_STREAM, _SUBJECT + keys, config=stream_reader.latest())
    except NotFoundError:
        raise AccountError("there is no alerts bucket in NATS; the provisioning job creates it") from None


_decode = msgspec.json.Decoder(AlertRule).decode
