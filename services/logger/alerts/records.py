"""Rules, channels and states of the alerts bucket, mirrored in memory."""

import logging
from collections.abc import Iterator
from typing import Any

import msgspec
from nats.aio.client import Client

from services.logger.alerts.bucket import PREFIX
from shared.alerts.model import ALERTS_STREAM, CHANNEL_KEY, RULE_KEY, STATE_KEY, AlertRule, Channel, State
from shared.process import run_all
from shared.stream_watch import Changed, StreamWatch

log = logging.getLogger(__name__)


class Records:
    """Records by key without its prefix: <account>.<name>, and a state's subject."""

    def __init__(self) -> None:
        self.rules: dict[str, AlertRule] = {}
        self.channels: dict[str, Channel] = {}
        self.states: dict[str, State] = {}
        self._watches = [
            StreamWatch(ALERTS_STREAM, PREFIX + RULE_KEY, _keep(self.rules, AlertRule)),
            StreamWatch(ALERTS_STREAM, PREFIX + CHANNEL_KEY, _keep(self.channels, Channel)),
            StreamWatch(ALERTS_STREAM, PREFIX + STATE_KEY, _keep(self.states, State)),
        ]

    async def follow(self, nc: Client) -> None:
        """Follow the bucket until cancelled."""
        await run_all(*(watch.follow(nc) for watch in self._watches))

    async def wait_until_loaded(self) -> None:
        """Wait until everything has been read once."""
        for watch in self._watches:
            await watch.loaded.wait()

    def channel(self, account: str, name: str) -> Channel | None:
        """Return a channel; None if there is none."""
        return self.channels.get(f"{account}.{name}")

    def channels_of(self, account: str) -> tuple[str, ...]:
        """Return the names of an account's channels."""
        return tuple(sorted(one.name for one in self.channels.values() if one.account == account))

    def states_of(self, rule: AlertRule) -> Iterator[tuple[str, State]]:
        """Yield the subject keys and states of a rule."""
        prefix = f"{rule.account}.{rule.name}."
        for key, state in list(self.states.items()):
            if key.startswith(prefix) and state.rule_at == rule.created_at:
                yield key.removeprefix(prefix), state


def _keep(held: dict[str, Any], kind: Any) -> Changed:
    decode = msgspec.json.Decoder(kind).decode

    def changed(key: str, value: bytes | None) -> None:
        held.pop(key, None)
        if value is not None:
            try:
                record = decode(value)
            except (msgspec.MsgspecError, ValueError) as error:
                log.error("cannot read %s in the alerts bucket: %s", key, error)
                return
            if kind is State or key == f"{record.account}.{record.name}":
                held[key] = record

    return changed
