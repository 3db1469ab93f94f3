"""Encryption of provider keys: AES-256-GCM under the operator's secret keys."""

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12


class VaultError(ValueError):
    """An invalid secret key or a value that cannot be opened; never contains a secret."""


class Sealed(msgspec.Struct, frozen=True):
    """A secret bound to its account and provider, sealed under the key `key_id`."""

    key_id: str
    nonce: bytes
    data: bytes  # ciphertext and tag


class Vault:
    """Seals with the first secret key and opens with any, which allows key rotation."""

    def __init__(self, keys: list[bytes]) -> None:
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.ids = tuple(self._ciphers)

    @classmethod
    def parse(cls, text: str) -> "Vault":
        """Parse METRION_SECRET_KEY: comma-separated 32-byte keys in base64; "" for none."""
        keys = []
        for number, part in enumerate(filter(None, (item.strip() for item in text.split(","))), 1):
            try:
                key = base64.b64decode(part, validate=True)
            except (binascii.Error, ValueError):
                raise VaultError(f"secret key {number} is not base64") from None
            if len(key) != _KEY_BYTES:
                raise VaultError(f"secret key {number} has {len(key)} bytes, not {_KEY_BYTES}")
            keys.append(key)
        return cls(keys)

    @classmethod
    def read(cls, path: Path) -> "Vault":
        """Read secret keys from a file, separated by lines or commas; raises VaultError."""
        try:
            return cls.parse(",".join(path.read_text().split()))
        except (OSError, UnicodeDecodeError) as error:
            raise VaultError(f"{path} cannot be read: {type(error).__name__}") from None

    def including(self, former: "Vault") -> "Vault":
        """A vault that also opens what the former one opens."""
        found = Vault([])
        found._ciphers = self._ciphers | {name: former._ciphers[name] for name in former.ids if name not in self.ids}
        found.ids = tuple(found._ciphers)
        return found

    def seal(self, secret: str, *, account: str, provider: str) -> Sealed:
        """Seal a secret for an account and provider; VaultError without a secret key."""
        if not self.ids:
            raise VaultError("there is no secret key: set METRION_SECRET_KEY (openssl rand -base64 32)")
        nonce = os.urandom(_NONCE_BYTES)
        data = self._ciphers[self.ids[0]].encrypt(nonce, secret.encode(), _bound_to(account, provider))
        return Sealed(self.ids[0], nonce, data)

    def open(self, sealed: Sealed, *, account: str, provider: str) -> str:
        """Open a secret; VaultError if key, account or provider differ, or it was changed."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise VaultError(
                f"it was sealed under secret key {sealed.key_id}, which METRION_SECRET_KEY does not contain"
            )
        try:
            return cipher.decrypt(sealed.nonce, sealed.data, _bound_to(account, provider)).decode()
        except (InvalidTag, ValueError):
            raise VaultError("it was changed, or sealed for another account or provider") from None

    def is_current(self, sealed: Sealed) -> bool:
        """Whether it is sealed under the current key."""
        return bool(self.ids) and sealed.key_id == self.ids[0]


def key_id(key: bytes) -> str:
    """A public identifier of a secret key: 8 hex characters."""
    return hashlib.sha256(b"metrion secret key id" + key).hexdigest()[:8]


def new_key() -> str:
    """Generate a secret key in base64."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _bound_to(account: str, provider: str) -> bytes:
    return f"metrion provider key\0{account}\0{provider}".encode()
