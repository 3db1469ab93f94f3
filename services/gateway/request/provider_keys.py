"""Choice of a request's provider key: the account's own, else the operator's."""

import logging
from collections.abc import Mapping
from typing import Protocol

from services.gateway.request.errors import Refusal
from shared.accounts_model import ProviderKey
from shared.providers import Provider
from shared.vault import Vault, VaultError

log = logging.getLogger(__name__)


class SealedKeys(Protocol):
    """Source of accounts' sealed keys: services.gateway.accounts_mirror.Mirror."""

    def provider_key(self, account: str, provider: str) -> ProviderKey | None:
        """Return the account's key for a provider; None if it has none."""
        ...

    def provider_keys(self) -> list[ProviderKey]:
        """Return all sealed keys."""
        ...


class Keys:
    """Provider keys, unsealed for each request (1 µs) so that none is kept in plain.

    `vault` may be replaced at any time.
    """

    def __init__(self, own: Mapping[str, str], *, sealed: SealedKeys, vault: Vault) -> None:
        self._own = own
        self._sealed = sealed
        self.vault = vault

    def find(self, account: str, provider: str) -> str:
        """Return the key to use; "" if there is none.

        Refusal 401 for a stored key that cannot be unsealed: no other key takes its place.
        """
        stored = self._sealed.provider_key(account, provider)
        if stored is None or stored.sealed is None:
            return self._own.get(provider, "")
        try:
            return self.vault.open(stored.sealed, account=account, provider=provider)
        except VaultError as error:
            log.error("the key of account %s for %s cannot be unsealed: %s", account, provider, error)
            message = f"This gateway cannot unseal the stored key for {provider}; ask the operator."
            raise Refusal(401, "unreadable_provider_key", message) from None

    def unreadable(self) -> int:
        """Number of stored keys that this gateway cannot unseal."""
        return sum(not self._opens(stored) for stored in self._sealed.provider_keys())

    def _opens(self, stored: ProviderKey) -> bool:
        assert stored.sealed is not None
        try:
            self.vault.open(stored.sealed, account=stored.account, provider=stored.provider)
        except VaultError:
            return False
        return True


def missing(provider: Provider) -> Refusal:
    """Build the refusal of a request without a provider key."""
    name = provider.name
    variable = f", or {provider.key_variable} on the gateway" if provider.key_variable else ""
    return Refusal(401, "no_provider_key", f"There is no key for {name}: metrion key set {name}{variable}.")
