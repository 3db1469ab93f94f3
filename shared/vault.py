"""Provider keys in plain text come in, sealed ones go out, and back: AES-256-GCM under the operator's secret keys."""

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES, _NONCE_BYTES = 32, 12


class VaultError(ValueError):
    """A secret key that is none, or a sealed value that these secret keys do not open; no message holds a secret."""


class Sealed(msgspec.Struct, frozen=True):
    """A secret that only its account, its provider and the secret key of this id can open. In JSON bytes are base64."""

    key_id: str
    nonce: bytes
    data: bytes  # ciphertext and tag


class Vault:
    """The first secret key seals, each of them opens: so a new one is put before the old, and the old removed later."""

    def __init__(self, keys: list[bytes]) -> None:
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.ids = tuple(self._ciphers)

    @classmethod
    def parse(cls, text: str) -> "Vault":
        """Secret keys as METRION_SECRET_KEY has them: 32 bytes in base64 each, comma-separated; "" for none."""
        keys = []
        for number, part in enumerate(filter(None, (one.strip() for one in text.split(","))), 1):
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
        """Secret keys from a file, one a line or comma-separated; VaultError when it cannot be read."""
        try:
            return cls.parse(",".join(path.read_text().split()))
        except (OSError, UnicodeDecodeError) as error:
            raise VaultError(f"{path} cannot be read: {type(error).__name__}") from None

    def seal(self, secret: str, *, account: str, provider: str) -> Sealed:
        """The secret for this account and provider alone; VaultError when there is no secret key."""
        if not self.ids:
            raise VaultError("there is no secret key: set METRION_SECRET_KEY (openssl rand -base64 32)")
        nonce = os.urandom(_NONCE_BYTES)
        data = self._ciphers[self.ids[0]].encrypt(nonce, secret.encode(), _bound_to(account, provider))
        return Sealed(self.ids[0], nonce, data)

    def open(self, sealed: Sealed, *, account: str, provider: str) -> str:
        """The secret; VaultError when it was sealed under another key, for somebody else, or changed since."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise VaultError(f"it was sealed under secret key {sealed.key_id}, which is not among METRION_SECRET_KEY")
        try:
            return cipher.decrypt(sealed.nonce, sealed.data, _bound_to(account, provider)).decode()
        except (InvalidTag, ValueError):
            raise VaultError("it was changed, or sealed for another account or provider") from None

    def is_current(self, sealed: Sealed) -> bool:
        """Whether it is sealed under the key that seals now."""
        return bool(self.ids) and sealed.key_id == self.ids[0]


def key_id(key: bytes) -> str:
    """Tells secret keys apart and says nothing about them: 8 hex characters."""
    return hashlib.sha256(b"metrion secret key id" + key).hexdigest()[:8]


def new_key() -> str:
    """A fresh secret key in base64."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _bound_to(account: str, provider: str) -> bytes:
    return f"metrion provider key\0{account}\0{provider}".encode()
