"""API keys with their state and last use, as the Settings page lists them."""

from datetime import UTC, datetime
from typing import NamedTuple

from nats.js import JetStreamContext

from services.dashboard.app_context import User
from shared import api_keys
from shared.api_keys import ApiKey


class KeyEntry(NamedTuple):
    """An API key as shown."""

    key: ApiKey
    state: str
    last_used: datetime | None


async def entries(js: JetStreamContext, user: User) -> list[KeyEntry]:
    """Return the keys that are not revoked, of the user's account or of all."""
    if not user.admin:
        return []
    uses = await api_keys.last_uses(js)
    now = datetime.now(UTC)
    found = await api_keys.listing(js, account=user.account)
    return [KeyEntry(key, key.state(now=now), uses.get(digest)) for digest, key in found if key.revoked_at is None]
