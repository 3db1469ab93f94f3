"""Secret keys are replaced while requests go on, none of which may fail for it."""

import asyncio

import pytest

from services.gateway import service
from services.gateway.request.provider_keys import Keys
from services.gateway.settings import Settings
from shared import vault
from shared.vault import Vault
from tests.support.gateway_app import NoKeys


async def test_removed_secret_key_serves_until_the_look_after(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (Vault.parse(vault.new_key()) for _ in range(2))
    looks = [old, new.including(old), new, new]
    served: list[tuple[str, ...]] = []
    keys = Keys({}, sealed=NoKeys(), vault=old)

    async def sleep(_: float) -> None:
        served.append(keys.vault.ids)
        if not looks:
            raise asyncio.CancelledError

    monkeypatch.setattr(service, "vault", lambda _: looks.pop(0))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await service._reload(Settings(nats_url=""), keys)
    assert served == [old.ids, old.ids, new.ids + old.ids, new.ids + old.ids, new.ids]
