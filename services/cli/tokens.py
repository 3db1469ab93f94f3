"""The commands `account …` and `token …`: arguments in, what is to be printed out."""

import os
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.cli import connections, periods, tables, trail
from services.cli.connections import jetstream
from services.cli.outcome import Outcome
from shared import accounts_admin, providers
from shared.accounts_admin import AccountError
from shared.accounts_model import Token

DEFAULT_ACCOUNT = "default"
TOKEN_COLUMNS = (
    "name",
    "account",
    "hint",
    "created",
    "expires",
    "revoked",
    "state",
    "providers",
    "models",
    "requester",
    "allow",
)


def known_provider(name: str) -> str:
    """A provider's proper name; AccountError when there is none of that name."""
    path = connections.optional("METRION_PROVIDERS_FILE", os.environ)
    try:
        known = providers.load(Path(path) if path else None)
    except providers.ProvidersError as error:
        raise AccountError(str(error)) from None
    if providers.canonical(name) not in known:
        raise AccountError(f"unknown provider {name!r}; known are {', '.join(sorted(known))}")
    return providers.canonical(name)


def state(token: Token, *, now: datetime) -> str:
    """active, expired or revoked."""
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "active"


async def create_account(options: Namespace) -> Outcome:
    async with jetstream() as js:
        await accounts_admin.create_account(js, options.account)
        unrecorded = await trail.change(js, "account", "create", options.account, account=options.account)
    following = f"metrion token create --account {options.account} --name …"
    return Outcome(note=f"Account {options.account} made. Next: {following}{unrecorded}")


async def set_account(options: Namespace) -> Outcome:
    async with jetstream() as js:
        await accounts_admin.set_cache(js, options.account, on=options.cache == "on")
        details = {"cache": options.cache}
        unrecorded = await trail.change(js, "account", "set", options.account, account=options.account, details=details)
    what = "cached unless they say max-age=0" if options.cache == "on" else "cached only when they ask for it"
    return Outcome(note=f"Requests of account {options.account} are {what}.{unrecorded}")


async def list_accounts(options: Namespace) -> Outcome:
    async with jetstream() as js:
        found = await accounts_admin.read(js)
    rows = [
        {
            "name": name,
            "created": account.created_at,
            "active_tokens": len(found.active(name)),
            "cache": "on" if account.cache else "off",
        }
        for name, account in sorted(found.accounts.items())
    ]
    if options.json:
        return Outcome(tables.as_json(rows))
    columns = ("name", "created", "active tokens", "cache")
    return Outcome(tables.as_table(columns, [tuple(row.values()) for row in rows]))


async def revoke_account(options: Namespace) -> Outcome:
    async with jetstream() as js:
        count = await accounts_admin.revoke_account(js, options.account)
        details = {"tokens": str(count)}
        unrecorded = await trail.change(
            js, "account", "revoke", options.account, account=options.account, details=details
        )
    return Outcome(note=f"{count} token{'' if count == 1 else 's'} of account {options.account} revoked.{unrecorded}")


async def create_token(options: Namespace) -> Outcome:
    fields = {
        "providers": tuple(known_provider(name) for name in options.provider),
        "models": tuple(options.model),
        "requester": options.requester,
        "allow": tuple(options.allow),
        "expires_at": _expiry(options.expires),
    }
    async with jetstream() as js:
        if options.account == DEFAULT_ACCOUNT:
            await accounts_admin.ensure_account(js, DEFAULT_ACCOUNT)
        token = await accounts_admin.create_token(js, account=options.account, name=options.name, **fields)
        unrecorded = await trail.change(js, "token", "create", options.name, account=options.account)
    return _shown_once(token, options, unrecorded)


async def regenerate_token(options: Namespace) -> Outcome:
    fields: dict[str, Any] = {} if options.expires is None else {"expires_at": _expiry(options.expires)}
    if options.allow:
        fields["allow"] = tuple(options.allow)
    async with jetstream() as js:
        token = await accounts_admin.regenerate_token(js, account=options.account, name=options.name, **fields)
        unrecorded = await trail.change(js, "token", "regenerate", options.name, account=options.account)
    return _shown_once(token, options, unrecorded)


async def revoke_token(options: Namespace) -> Outcome:
    async with jetstream() as js:
        await accounts_admin.revoke_token(js, account=options.account, name=options.name)
        unrecorded = await trail.change(js, "token", "revoke", options.name, account=options.account)
    return Outcome(note=f"Token {options.name} of account {options.account} revoked.{unrecorded}")


async def list_tokens(options: Namespace) -> Outcome:
    async with jetstream() as js:
        found = await accounts_admin.read(js)
    now = datetime.now(UTC)
    chosen = [token for token in found.tokens.values() if options.account in (None, token.account)]
    chosen.sort(key=lambda token: (token.account, token.name, token.created_at))
    rows = [_row(token, now=now) for token in chosen]
    if options.json:
        return Outcome(tables.as_json(rows))
    for row in rows:
        row["allow"] = row["allow"] or ("none",) if row["models"] else ()
    return Outcome(tables.as_table(TOKEN_COLUMNS, [tuple(_readable(value) for value in row.values()) for row in rows]))


def _row(token: Token, *, now: datetime) -> dict[str, Any]:
    values = (
        token.name,
        token.account,
        token.hint,
        token.created_at,
        token.expires_at,
        token.revoked_at,
        state(token, now=now),
        token.providers,
        token.models,
        token.requester,
        token.allow,
    )
    return dict(zip(TOKEN_COLUMNS, values, strict=True))


def _readable(value: Any) -> Any:
    """Nothing is unknown here: None is never, an empty tuple is all."""
    if isinstance(value, tuple):
        return ", ".join(value) or "all"
    return "–" if value is None else value


def _expiry(text: str | None) -> datetime | None:
    return None if text is None else periods.expiry(text, now=datetime.now(UTC))


def _shown_once(token: str, options: Namespace, unrecorded: str) -> Outcome:
    if options.json:
        shown = {"token": token, "account": options.account, "name": options.name}
        return Outcome(tables.as_json(shown), note=unrecorded.strip())
    return Outcome(token + "\n", note=f"Keep it: it is shown this once and stored only as a hash.{unrecorded}")
