"""Sets, lists, deletes and reseals channels in the alerts bucket."""

import re
import secrets
from collections.abc import Callable

import msgspec
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import accounts_admin, accounts_kv, stream_reader
from shared.accounts_admin import AccountError
from shared.alerts import channel_secrets, email_address, webhook_url
from shared.alerts.channel_secrets import Purpose
from shared.alerts.model import ALERTS_BUCKET, ALERTS_STREAM, CHANNEL_KEY, NAME_PATTERN, SYSTEM, Channel
from shared.vault import Sealed, Vault, VaultError

KINDS = ("email", "webhook", "slack", "teams", "discord", "pagerduty")
PAGERDUTY = {  # service region → URL
    "us": "https://events.pagerduty.com/v2/enqueue",
    "eu": "https://events.eu.pagerduty.com/v2/enqueue",
}
MOST_CHANNELS = 20  # of an account
MOST_RECIPIENTS = 20
_SUBJECT = f"$KV.{ALERTS_BUCKET}."
_FILTER = "Nats-Expected-Last-Subject-Sequence-Subject"
_CONFLICTS = (10071, 10164, 10057)  # JetStream errors: wrong last sequence (twice), no message found
_ATTEMPTS = 100
_KEY = re.compile(r"[!-~]{16,256}")
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")

Channels = dict[str, tuple[Channel, int]]  # name → channel and its revision


async def channels(js: JetStreamContext, *, account: str = "") -> list[Channel]:
    """Read the channels of an account, or of all, by account and name."""
    found, _ = await _read(js, f"{account or '*'}.*")
    return sorted((channel for channel, _ in found.values()), key=lambda one: (one.account, one.name))


async def put(js: JetStreamContext, channel: Channel) -> bool:
    """Store a channel, or replace the one of that name; returns whether it is new.

    Raises AccountError if it is invalid, its account unknown, or there are too many.
    """
    check(channel)
    account = channel.account
    if account != SYSTEM and account not in (await accounts_admin.read(js)).accounts:
        raise AccountError(f"account {account!r} does not exist; create it first")
    is_new = True

    def decide(existing: Channels) -> Channel | None:
        nonlocal is_new
        before = existing.get(channel.name)
        if before is not None and before[0] == channel:  # an earlier attempt, whose acknowledgement was lost
            return None
        is_new = before is None
        if is_new and len(existing) >= MOST_CHANNELS:
            raise AccountError(f"account {account!r} already has {MOST_CHANNELS} channels; delete one first")
        return channel

    await _change(js, account, decide)
    return is_new


async def delete(js: JetStreamContext, *, account: str, name: str) -> None:
    """Delete a channel, erasing its secrets; AccountError if there is none."""
    found, _ = await _read(js, f"{account}.*")
    if name not in found:
        raise AccountError(f"account {account!r} has no channel {name!r}")
    _, revision = found[name]
    subject = f"{_SUBJECT}{CHANNEL_KEY}{account}.{name}"
    try:
        await js.delete_msg(ALERTS_STREAM, revision)  # by default the server overwrites it with random bytes
        headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0", "KV-Operation": "DEL"}
        await js.publish(subject, b"", stream=ALERTS_STREAM, headers=headers)
    except APIError as error:
        if error.err_code in _CONFLICTS:
            raise AccountError(
                f"channel {name!r} of account {account!r} was changed at the same time; check it and try again"
            ) from None
        raise


async def reseal(js: JetStreamContext, vault: Vault) -> tuple[int, int]:
    """Reseal all channels under the first secret key; returns (resealed, unchanged).

    Raises AccountError naming a channel whose secrets cannot be opened.
    """
    done = 0

    def decide(existing: Channels) -> Channel | None:
        nonlocal done
        for channel, _ in existing.values():
            stale = [(purpose, sealed) for purpose, sealed in _secrets(channel) if not vault.is_current(sealed)]
            if stale:
                done += len(stale)
                return msgspec.structs.replace(channel, **{name: _resealed(vault, channel, name) for name, _ in stale})
        return None

    for account in {channel.account for channel in await channels(js)}:
        while await _change(js, account, decide):
            pass
    return done, sum(len(_secrets(channel)) for channel in await channels(js)) - done


def _resealed(vault: Vault, channel: Channel, purpose: Purpose) -> Sealed:
    sealed = dict(_secrets(channel))[purpose]
    try:
        text = channel_secrets.open_sealed(
            vault, sealed, account=channel.account, channel=channel.name, purpose=purpose
        )
        return channel_secrets.seal(vault, text, account=channel.account, channel=channel.name, purpose=purpose)
    except VaultError as error:
        raise AccountError(f"channel {channel.name} of account {channel.account}: {error}") from None


def check(channel: Channel) -> None:
    """Raise AccountError for a channel that is invalid or incomplete for its kind."""
    if NAME_PATTERN.fullmatch(channel.name) is None:
        raise AccountError(f"channel name {channel.name!r}: 1 to 40 of a-z, 0-9 and -, the first not -")
    if channel.kind not in KINDS:
        raise AccountError(f"{channel.kind!r} is not one of {', '.join(KINDS)}")
    if channel.kind != "email":
        if channel.recipients:
            raise AccountError("only channels of kind email have recipients")
        return
    if not 1 <= len(channel.recipients) <= MOST_RECIPIENTS:
        raise AccountError(f"a channel of kind email has 1 to {MOST_RECIPIENTS} recipients")
    for recipient in channel.recipients:
        if not email_address.is_valid(recipient):
            raise AccountError(f"{recipient!r} is not an e-mail address in ASCII, such as ops@example.com")


def with_secrets(vault: Vault, channel: Channel, *, url: str, key: str, region: str) -> tuple[Channel, str]:
    """Check a channel and add the secrets that its kind has, sealed.

    Returns it with the signing key that was made for a webhook without one, to be shown once; else "".
    """
    check(channel)
    if channel.kind == "email":
        return channel, ""
    made = ""
    secret = None
    account, name = channel.account, channel.name
    if channel.kind == "pagerduty":
        if region not in PAGERDUTY:
            raise AccountError(f"{region!r} is not a service region of PagerDuty; use us or eu")
        url = PAGERDUTY[region]
        secret = sealed_key(vault, key, account=account, channel=name, is_routing_key=True)
    elif channel.kind == "webhook":
        made = "" if key.strip() else secrets.token_hex(32)
        secret = sealed_key(vault, key if key.strip() else made, account=account, channel=name)
    hint, sealed = sealed_url(vault, url, account=account, channel=name)
    return msgspec.structs.replace(channel, hint=hint, url=sealed, secret=secret), made


def sealed_url(vault: Vault, text: str, *, account: str, channel: str) -> tuple[str, Sealed]:
    """Check and seal a URL; returns what may be shown of it, and the sealed URL."""
    try:
        url = webhook_url.parse(text.strip())
        return url.origin, channel_secrets.seal(vault, url.text, account=account, channel=channel, purpose="url")
    except ValueError as error:  # VaultError is one
        raise AccountError(str(error)) from None


def sealed_key(vault: Vault, text: str, *, account: str, channel: str, is_routing_key: bool = False) -> Sealed:
    """Check and seal a signing key, or a routing key of PagerDuty."""
    text = text.strip()
    if is_routing_key and _ROUTING_KEY.fullmatch(text) is None:
        raise AccountError("an integration key of PagerDuty has 32 letters and digits")
    if _KEY.fullmatch(text) is None:
        raise AccountError("a signing key has 16 to 256 printable ASCII characters without spaces")
    try:
        return channel_secrets.seal(vault, text, account=account, channel=channel, purpose="secret")
    except VaultError as error:
        raise AccountError(str(error)) from None


async def _change(js: JetStreamContext, account: str, decide: Callable[[Channels], Channel | None]) -> bool:
    """Write the channel that `decide` returns, unless a channel of the account was changed meanwhile.

    `decide` is then called again. Returns False once it returned None.
    """
    scope = f"{account}.*"
    lost = 0
    for _ in range(_ATTEMPTS):
        existing, revision = await _read(js, scope)
        channel = decide(existing)
        if channel is None:
            return False
        headers = {
            api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision),
            _FILTER: f"{_SUBJECT}{CHANNEL_KEY}{scope}",
        }
        key = f"{_SUBJECT}{CHANNEL_KEY}{channel.account}.{channel.name}"
        try:
            await js.publish(key, msgspec.json.encode(channel), stream=ALERTS_STREAM, headers=headers)
            return True
        except APIError as error:
            if error.err_code not in _CONFLICTS:
                raise
        except NatsTimeout:
            lost += 1
            if lost == 3:
                raise
    raise AccountError("the channels are being changed by others; try again")


async def _read(js: JetStreamContext, scope: str) -> tuple[Channels, int]:
    """Channels by name, or by account and name for all accounts, and the last revision among them."""
    subject = f"{_SUBJECT}{CHANNEL_KEY}{scope}"
    try:
        messages = await stream_reader.messages(js, ALERTS_STREAM, subject, config=stream_reader.latest())
    except NotFoundError:
        raise AccountError("NATS has no alerts bucket; the provisioning job creates it") from None
    found: Channels = {}
    revision = 0
    for message in messages:
        sequence = message.metadata.sequence.stream
        revision = max(revision, sequence)
        if accounts_kv.removes(message.headers):
            continue
        try:
            channel = _decode(message.data)
        except msgspec.MsgspecError:
            continue  # of a later version
        found[channel.name if "*." not in scope else f"{channel.account}.{channel.name}"] = (channel, sequence)
    return found, revision


def _secrets(channel: Channel) -> list[tuple[Purpose, Sealed]]:
    found: list[tuple[Purpose, Sealed]] = []
    if channel.url is not None:
        found.append(("url", channel.url))
    if channel.secret is not None:
        found.append(("secret", channel.secret))
    return found


_decode = msgspec.json.Decoder(Channel).decode
