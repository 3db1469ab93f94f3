"""Contents of the accounts bucket: accounts, tokens, limits, sealed provider keys."""

import logging
from datetime import datetime
from typing import Annotated

import msgspec

from shared.limits.model import LIMIT_KEY, Limit
from shared.vault import Sealed

log = logging.getLogger(__name__)

ACCOUNT_KEY = "account."  # KV key: account.<name>
TOKEN_KEY = "token."  # noqa: S105 — KV key: token.<sha256 hex of the token>
PROVIDER_KEY = "key."  # KV key: key.<account>.<provider>
INSTALLATION_KEY = "installation"  # KV key, written when the bucket is created

Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # timezone-aware; the decoder rejects naive ones


class Account(msgspec.Struct, frozen=True):
    """Owner of tokens, provider keys and rows. JSON under account.<name>."""

    name: str  # [a-z0-9][a-z0-9-]{0,62}
    created_at: Moment
    cache: bool = False  # requests are cached without x-metrion-cache


def validity(revoked_at: datetime | None, expires_at: datetime | None, *, now: datetime) -> str:
    """Return active, expired or revoked."""
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and expires_at <= now else "active"


class Token(msgspec.Struct, frozen=True):
    """A token and its permissions. JSON under token.<sha256>; revoked, never deleted."""

    account: str
    name: str  # unique in its account among tokens that are not revoked
    created_at: Moment
    hint: str = ""  # the token's last four characters, to tell tokens apart
    expires_at: Moment | None = None
    revoked_at: Moment | None = None
    providers: tuple[str, ...] = ()  # empty: all
    models: tuple[str, ...] = ()  # fnmatch patterns; empty: all
    requester: str = ""  # recorded when the request does not name one
    allow: tuple[str, ...] = ()  # extra rights of a token with `models` (shared.rights); others have all rights

    def state(self, *, now: datetime) -> str:
        """Return active, expired or revoked."""
        return validity(self.revoked_at, self.expires_at, now=now)


class ProviderKey(msgspec.Struct, frozen=True):
    """An account's own sealed provider key. JSON under key.<account>.<provider>.

    A deleted key keeps its record without the ciphertext.
    """

    account: str
    provider: str
    created_at: Moment
    hint: str = ""  # the key's last four characters
    sealed: Sealed | None = None
    deleted_at: Moment | None = None


class Installation(msgspec.Struct, frozen=True):
    """Beginning of an installation, since version 0.2.0.

    JSON under installation.
    """

    created_at: Moment
    version: str


Entry = Account | Token | ProviderKey | Limit


class Accounts(msgspec.Struct):
    """A snapshot of the bucket."""

    accounts: dict[str, Account] = {}  # by name
    tokens: dict[str, Token] = {}  # by hash
    keys: dict[str, ProviderKey] = {}  # by <account>.<provider>, deleted ones included
    limits: dict[str, Limit] = {}  # by <account>.<name>
    installation: Installation | None = None  # None for one that began before 0.2.0
    revision: int = 0  # the snapshot is current as long as nothing has a higher sequence number

    def put(self, key: str, value: bytes) -> None:
        """Apply a value of the bucket; one that cannot be decoded is logged and ignored."""
        self.remove(key)
        try:
            if key.startswith(TOKEN_KEY):
                self.tokens[key.removeprefix(TOKEN_KEY)] = _token(value)
            elif key.startswith(ACCOUNT_KEY):
                self.accounts[key.removeprefix(ACCOUNT_KEY)] = _account(value)
            elif key.startswith(PROVIDER_KEY):
                self.keys[key.removeprefix(PROVIDER_KEY)] = _provider_key(value)
            elif key.startswith(LIMIT_KEY):
                self.limits[key.removeprefix(LIMIT_KEY)] = _limit(value)
            elif key == INSTALLATION_KEY:
                self.installation = _installation(value)
        except msgspec.MsgspecError:
            log.error("accounts: skipping %s, its value cannot be decoded", key)

    def remove(self, key: str) -> None:
        """Forget a key of the bucket."""
        self.tokens.pop(key.removeprefix(TOKEN_KEY), None)
        self.accounts.pop(key.removeprefix(ACCOUNT_KEY), None)
        self.keys.pop(key.removeprefix(PROVIDER_KEY), None)
        self.limits.pop(key.removeprefix(LIMIT_KEY), None)
        if key == INSTALLATION_KEY:
            self.installation = None

    def active(self, account: str, name: str | None = None) -> dict[str, Token]:
        """Tokens that are not revoked, even if expired, of an account or of one name."""
        return {
            key: token
            for key, token in self.tokens.items()
            if token.account == account and token.revoked_at is None and name in (None, token.name)
        }

    def limits_of(self, account: str) -> list[Limit]:
        """The limits of an account, by name."""
        return sorted((limit for limit in self.limits.values() if limit.account == account), key=lambda one: one.name)

    def provider_key(self, account: str, provider: str) -> ProviderKey | None:
        """The account's own key for a provider; None if it has none or deleted it."""
        key = self.keys.get(f"{account}.{provider}")
        return None if key is None or key.sealed is None else key


_account = msgspec.json.Decoder(Account).decode
_token = msgspec.json.Decoder(Token).decode
_provider_key = msgspec.json.Decoder(ProviderKey).decode
_limit = msgspec.json.Decoder(Limit).decode
_installation = msgspec.json.Decoder(Installation).decode
