"""Secrets of channels, sealed with the vault for one channel and one purpose."""

from typing import Literal

from shared.vault import Sealed, Vault

Purpose = Literal["url", "secret"]


def seal(vault: Vault, text: str, *, account: str, channel: str, purpose: Purpose) -> Sealed:
    """Seal a channel's URL or key; VaultError without a secret key."""
    return vault.seal(text, account=account, provider=_bound_to(channel, purpose))


def open_sealed(vault: Vault, sealed: Sealed, *, account: str, channel: str, purpose: Purpose) -> str:
    """Open a channel's URL or key; VaultError if it is of another channel or purpose."""
    return vault.open(sealed, account=account, provider=_bound_to(channel, purpose))


def _bound_to(channel: str, purpose: Purpose) -> str:
    return f"channel:{channel}:{purpose}"  # no provider's name contains a colon
