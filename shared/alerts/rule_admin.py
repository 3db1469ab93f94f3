"""Creates, changes and deletes alert rules in the alerts bucket."""

from collections.abc import Callable, Collection
from typing import TypeVar

import msgspec
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import accounts_admin, accounts_kv, stream_reader
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts
from shared.alerts import rule_check
from shared.alerts.built_in import RULES
from shared.alerts.model import (
    ALERTS_BUCKET,
    ALERTS_STREAM,
    CHANNEL_KEY,
    HISTORY_KEY,
    RULE_KEY,
    STATE_KEY,
    SYSTEM,
    AlertRule,
    Entry,
    State,
)

MOST_RULES = 100  # of an account
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
    rule_check.check(rule)
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


async def change(js: JetStreamContext, rule: AlertRule) -> None:
    """Replace a rule; AccountError if it is invalid or there is none of its name.

    It stays paused if it was. It begins anew, as if nothing had been sent, if something else than its channels or its
    cooldown is changed.
    """
    rule_check.check(rule)
    if rule.account != SYSTEM:
        _check_account(rule, await accounts_admin.read(js))
    await _check_channels(js, rule)

    def decide(existing: Rules) -> AlertRule | None:
        before = existing.get(rule.name)
        if before is None:
            raise missing(rule.account, rule.name)
        kept = {"created_at": before.created_at, "channels": before.channels, "cooldown_hours": before.cooldown_hours}
        made = msgspec.structs.replace(rule, is_paused=before.is_paused)
        if msgspec.structs.replace(made, **kept) == before:
            made = msgspec.structs.replace(made, created_at=before.created_at)
        return None if made == before else made

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


def _check_account(rule: AlertRule, directory: Accounts) -> None:
    account, token = rule.account, rule.scope.token
    if account not in directory.accounts:
        raise AccountError(f"account {account!r} does not exist; create it first")
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
    """Raise AccountError unless a name is one of an account or rule: in NATS, * and > are wildcards."""
    for name in names:
        if name != SYSTEM and accounts_admin.ACCOUNT_PATTERN.fullmatch(name) is None:
            raise AccountError(f"{name!r} is not a name")


def _pattern(name: str) -> str:
    """Return a name, or the wildcard for all if it is empty."""
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
    raise AccountError("the alerts are being changed by others; try again")


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
        raise AccountError("NATS has no alerts bucket; the provisioning job creates it") from None


_decode = msgspec.json.Decoder(AlertRule).decode
