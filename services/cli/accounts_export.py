"""Encrypted export of accounts, tokens, limits, keys and alerts, and its import."""

import os
from collections.abc import Collection
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from nats.js import JetStreamContext

from services.cli.alerts_export import Alerts
from shared import accounts_admin
from shared.accounts_admin import AccountError, Change
from shared.accounts_model import ACCOUNT_KEY, PROVIDER_KEY, TOKEN_KEY, Account, Accounts, ProviderKey, Token
from shared.limits.model import LIMIT_KEY, Limit
from shared.vault import Vault, VaultError

SHORTEST_PASSPHRASE = 12
_FORMAT = "metrion-accounts"
_N = 1 << 15  # 32 MB and 0.1 s per guess
_R = 8
_P = 1


class PlainKey(msgspec.Struct, frozen=True):
    """A provider key in plain text, only inside an encrypted export."""

    stored: ProviderKey
    key: str


_Exported = Account | Token | PlainKey | Limit


class Content(msgspec.Struct, frozen=True):
    """The content of an export."""

    accounts: tuple[Account, ...]
    tokens: dict[str, Token]  # by hash
    keys: tuple[PlainKey, ...]
    limits: tuple[Limit, ...] = ()
    alerts: Alerts = Alerts()


class Restored(msgspec.Struct, frozen=True):
    """The result of an import: names of added and kept entries."""

    added: tuple[str, ...]
    kept: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """The file: JSON, bytes in base64. The scrypt parameters are bounded, since they are read from it."""

    format: str
    version: int
    n: Annotated[int, msgspec.Meta(ge=2, le=1 << 20)]
    r: Annotated[int, msgspec.Meta(ge=1, le=16)]
    p: Annotated[int, msgspec.Meta(ge=1, le=4)]
    salt: bytes
    nonce: bytes
    data: bytes


def collect(directory: Accounts, vault: Vault, alerts: Alerts) -> Content:
    """Collect all entries, with provider keys decrypted; AccountError on failure."""
    plain = []
    for name, stored in sorted(directory.keys.items()):
        if stored.sealed is None:
            continue
        try:
            key = vault.open(stored.sealed, account=stored.account, provider=stored.provider)
        except VaultError as error:
            raise AccountError(f"key {name}: {error}") from None
        plain.append(PlainKey(msgspec.structs.replace(stored, sealed=None), key))
    ordered = tuple(account for _, account in sorted(directory.accounts.items()))
    limits = tuple(limit for _, limit in sorted(directory.limits.items()))
    return Content(ordered, dict(sorted(directory.tokens.items())), tuple(plain), limits, alerts)


def encrypt(content: Content, passphrase: str) -> bytes:
    """Encrypt an export with a key derived by scrypt, using AES-256-GCM."""
    salt = os.urandom(16)
    nonce = os.urandom(12)
    cipher = AESGCM(Scrypt(salt=salt, length=32, n=_N, r=_R, p=_P).derive(passphrase.encode()))
    data = cipher.encrypt(nonce, msgspec.json.encode(content), _FORMAT.encode())
    return msgspec.json.encode(_File(format=_FORMAT, version=1, n=_N, r=_R, p=_P, salt=salt, nonce=nonce, data=data))


def decrypt(data: bytes, passphrase: str) -> Content:
    """Decrypt a file; AccountError if it or the passphrase is invalid."""
    try:
        file = msgspec.json.decode(data, type=_File)
        if (file.format, file.version) != (_FORMAT, 1):
            raise AccountError(f"unsupported export format: {file.format[:40]} {file.version}")
        cipher = AESGCM(Scrypt(salt=file.salt, length=32, n=file.n, r=file.r, p=file.p).derive(passphrase.encode()))
        return msgspec.json.decode(cipher.decrypt(file.nonce, file.data, _FORMAT.encode()), type=Content)
    except InvalidTag:
        raise AccountError("the passphrase is wrong, or the file was changed") from None
    except (msgspec.MsgspecError, ValueError):
        raise AccountError("not an export of accounts") from None


async def restore(js: JetStreamContext, content: Content, vault: Vault, *, dry_run: bool = False) -> Restored:
    """Write missing entries; keep existing ones, also revoked and deleted ones."""
    entries: dict[str, _Exported] = {ACCOUNT_KEY + account.name: account for account in content.accounts}
    entries |= {TOKEN_KEY + key: token for key, token in content.tokens.items()}
    entries |= {f"{PROVIDER_KEY}{key.stored.account}.{key.stored.provider}": key for key in content.keys}
    entries |= {f"{LIMIT_KEY}{limit.account}.{limit.name}": limit for limit in content.limits}
    directory = await accounts_admin.read(js)
    added = [name for name in entries if not _holds(directory, name)]
    for name in () if dry_run else added:
        await accounts_admin.change(js, lambda now, name=name: _missing(now, name, entries[name], vault))  # type: ignore[misc]
    return Restored(
        tuple(_title(name, entries[name]) for name in added),
        tuple(_title(name, entry) for name, entry in entries.items() if name not in added),
    )


def _missing(now: Accounts, name: str, entry: _Exported, vault: Vault) -> Change | None:
    if _holds(now, name):
        return None
    if not isinstance(entry, PlainKey):
        return name, entry
    stored = entry.stored
    try:
        sealed = vault.seal(entry.key, account=stored.account, provider=stored.provider)
    except VaultError as error:
        raise AccountError(str(error)) from None
    return name, msgspec.structs.replace(stored, sealed=sealed, deleted_at=None)


def _holds(directory: Accounts, name: str) -> bool:
    prefix, _, key = name.partition(".")
    stored: dict[str, Collection[str]] = {
        ACCOUNT_KEY: directory.accounts,
        TOKEN_KEY: directory.tokens,
        PROVIDER_KEY: directory.keys,
        LIMIT_KEY: directory.limits,
    }
    return key in stored[f"{prefix}."]


def _title(name: str, entry: _Exported) -> str:
    if isinstance(entry, Token):
        return f"token {entry.name} of {entry.account}"
    return name.replace(".", " ")
