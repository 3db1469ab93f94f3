"""Creates the first account, token and dashboard admin."""

import asyncio
import time

import nats.errors
import nats.js.errors

from shared import accounts_admin, dashboard_users, nats_client, passwords

ACCOUNT = "default"
_DEADLINE = 60.0  # seconds: the provisioning job creates the bucket, and may itself have to wait


class SeedFailed(Exception):
    """Account or token could not be written; the message says why."""


async def admin(url: str, *, password: str = "") -> str:
    """Create the dashboard's first admin if there are no users.

    Returns the password if it was generated here, else "".
    """
    made = password or passwords.generated()
    client = await nats_client.connect(url, service="cli")
    try:
        is_created = await dashboard_users.create_first_admin(client.jetstream(), password=made)
        return made if is_created and not password else ""
    except (accounts_admin.AccountError, nats.errors.Error, nats.js.errors.Error) as error:
        raise SeedFailed(f"the dashboard's admin: {error}") from error
    finally:
        await client.close()


async def account_and_token(url: str, *, token: str, account: str = ACCOUNT, name: str = "") -> bool:
    """Create an account and its token if missing; False if the token has been revoked."""
    client = await nats_client.connect(url, service="cli")
    deadline = time.monotonic() + _DEADLINE
    name = name or "local-" + accounts_admin.token_hash(token)[:8]  # a bootstrap token may be different at each start
    try:
        js = client.jetstream()
        while True:
            try:
                await accounts_admin.ensure_account(js, account)
                await accounts_admin.ensure_token(js, account=account, name=name, token=token)
                stored = (await accounts_admin.read(js)).tokens[accounts_admin.token_hash(token)]
                return stored.revoked_at is None
            except (accounts_admin.AccountError, nats.errors.Error, nats.js.errors.Error) as error:
                if time.monotonic() > deadline:
                    raise SeedFailed(f"account and token: {error}") from error
                await asyncio.sleep(0.1)
    finally:
        await client.close()
