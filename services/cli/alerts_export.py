"""Alerts and their channels in the encrypted export of accounts."""

import msgspec
from nats.js import JetStreamContext

from shared.accounts_admin import AccountError
from shared.alerts import channel_admin, channel_secrets, rule_admin
from shared.alerts.channel_secrets import Purpose
from shared.alerts.model import AlertRule, Channel
from shared.vault import Sealed, Vault, VaultError


class PlainChannel(msgspec.Struct, frozen=True):
    """A channel with its secrets in plain text, only inside an encrypted export."""

    stored: Channel
    url: str = ""
    secret: str = ""


class Alerts(msgspec.Struct, frozen=True):
    """The alerts of an export."""

    channels: tuple[PlainChannel, ...] = ()
    rules: tuple[AlertRule, ...] = ()


class Restored(msgspec.Struct, frozen=True):
    """The result of an import: names of added, kept and refused entries."""

    added: tuple[str, ...]
    kept: tuple[str, ...]
    refused: tuple[str, ...]  # with the reason


async def collect(js: JetStreamContext, vault: Vault) -> Alerts:
    """Collect all alerts, with secrets decrypted; AccountError on failure."""
    channels = tuple(_opened(vault, channel) for channel in await channel_admin.channels(js))
    return Alerts(channels, tuple(await rule_admin.rules(js)))


async def restore(js: JetStreamContext, content: Alerts, vault: Vault, *, dry_run: bool = False) -> Restored:
    """Add missing channels and rules; keep existing ones."""
    existing = {f"channel {one.account} {one.name}" for one in await channel_admin.channels(js)}
    existing |= {f"alert {one.account} {one.name}" for one in await rule_admin.rules(js)}
    added: list[str] = []
    kept: list[str] = []
    refused: list[str] = []
    entries: tuple[PlainChannel | AlertRule, ...] = (*content.channels, *content.rules)
    for entry in entries:
        is_rule = isinstance(entry, AlertRule)
        stored = entry if isinstance(entry, AlertRule) else entry.stored
        name = f"{'alert' if is_rule else 'channel'} {stored.account} {stored.name}"
        if name in existing:
            kept.append(name)
            continue
        try:
            if not dry_run:
                if isinstance(entry, AlertRule):
                    await rule_admin.create(js, entry)
                else:
                    await channel_admin.put(js, _sealed(vault, entry))
            added.append(name)
        except AccountError as error:  # such as the rule of a token that was revoked
            refused.append(f"{name}: {error}")
    return Restored(tuple(added), tuple(kept), tuple(refused))


def _opened(vault: Vault, channel: Channel) -> PlainChannel:
    def text(sealed: Sealed | None, purpose: Purpose) -> str:
        if sealed is None:
            return ""
        return channel_secrets.open_sealed(
            vault, sealed, account=channel.account, channel=channel.name, purpose=purpose
        )

    try:
        url, secret = text(channel.url, "url"), text(channel.secret, "secret")
    except VaultError as error:
        raise AccountError(f"channel {channel.name} of account {channel.account}: {error}") from None
    return PlainChannel(msgspec.structs.replace(channel, url=None, secret=None), url, secret)


def _sealed(vault: Vault, plain: PlainChannel) -> Channel:
    channel = plain.stored

    def sealed(text: str, purpose: Purpose) -> Sealed | None:
        if not text:
            return None
        return channel_secrets.seal(vault, text, account=channel.account, channel=channel.name, purpose=purpose)

    try:
        return msgspec.structs.replace(channel, url=sealed(plain.url, "url"), secret=sealed(plain.secret, "secret"))
    except VaultError as error:
        raise AccountError(str(error)) from None
