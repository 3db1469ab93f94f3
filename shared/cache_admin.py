"""Cache administration: statistics and purges."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.errors import NotFoundError

from shared import cache_protocol
from shared.accounts_admin import ACCOUNT_PATTERN, AccountError
from shared.cache_protocol import Purge, Reply, Stats

GATHER_S = 0.5  # seconds that replicas have to reply
API_S = 10.0  # timeout for JetStream requests: purging many entries takes a while
NO_RESPONDERS = "503"  # NATS status: no subscriber

_stats = msgspec.msgpack.Decoder(Stats)
_reply = msgspec.msgpack.Decoder(Reply)


class Stored(NamedTuple):
    """Contents of the stream."""

    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0


class Purged(NamedTuple):
    """Result of a purge: entries removed, and replicas that confirmed it."""

    entries: int
    replicas: int

    def sentence(self) -> str:
        """The result in words."""
        entries = f"{self.entries} {'entry' if self.entries == 1 else 'entries'} purged"
        if not self.replicas:
            return f"{entries}. No cache service responded; an unresponsive one may still serve them from memory."
        return f"{entries}, {self.replicas} replica{'' if self.replicas == 1 else 's'} cleared from memory."


class _Purged(msgspec.Struct):
    """JetStream's response to a purge."""

    purged: int = 0
    error: dict[str, Any] | None = None


async def stats(nc: Client) -> list[Stats]:
    """Statistics of each replica, by name; [] if no cache service responds."""
    return sorted(map(_stats.decode, await _gather(nc, cache_protocol.STATS, b"")), key=lambda replica: replica.replica)


async def stored(nc: Client) -> Stored:
    """Contents of the stream; empty if it does not exist."""
    try:
        info = await nc.jetstream(timeout=API_S).stream_info(cache_protocol.STREAM)
    except NotFoundError:
        return Stored()
    return Stored(info.state.messages, info.state.bytes, info.config.max_bytes or 0)


def patterns(*, account: str = "", provider: str = "", model: str = "", known: Iterable[str]) -> list[str]:
    """Purge patterns for an account, a model, both or everything.

    `known`: all providers, used for a model without a provider. Raises AccountError for a combination that cannot be
    matched by key.
    """
    if account and ACCOUNT_PATTERN.fullmatch(account) is None:
        raise AccountError(f"{account!r} is not a valid account name")
    if provider and not model:
        raise AccountError("a provider needs a model: cache keys contain the two only together")
    if not model:
        return [f"{account or '*'}.*.*"]
    candidates = [provider] if provider else sorted(known)
    return [f"{account or '*'}.{cache_protocol.model_part(f'{name}/{model}')}.*" for name in candidates]


async def purge(nc: Client, patterns: Sequence[str]) -> Purged:
    """Purge entries by patterns; AccountError if NATS refuses."""
    # The stream first: a replica that has cleared its memory must not read a purged entry again.
    purged = sum([await _purge_stream(nc, pattern) for pattern in patterns])
    replies = await asyncio.gather(
        *(_gather(nc, cache_protocol.PURGE, cache_protocol.encode(Purge(pattern))) for pattern in patterns)
    )
    confirmed = [sum(_reply.decode(data).kind == cache_protocol.MISS for data in received) for received in replies]
    return Purged(purged, min(confirmed))


async def _purge_stream(nc: Client, pattern: str) -> int:
    """Purge the stream; returns the number of entries, which nats-py's own purge does not."""
    request = msgspec.json.encode({"filter": cache_protocol.SUBJECT + pattern})
    response = await nc.request(f"$JS.API.STREAM.PURGE.{cache_protocol.STREAM}", request, timeout=API_S)
    purged = msgspec.json.decode(response.data, type=_Purged)
    if purged.error is not None and purged.error.get("code") != 404:  # no stream, so no entries
        raise AccountError(f"NATS did not purge: {purged.error.get('description')}")
    return purged.purged


async def _gather(nc: Client, subject: str, data: bytes) -> list[bytes]:
    """Replies of all replicas within GATHER_S; [] immediately if there are none."""
    replies = []
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox)
    await nc.publish(subject, data, reply=inbox)
    loop = asyncio.get_running_loop()
    until = loop.time() + GATHER_S
    try:
        while loop.time() < until:
            message = await subscription.next_msg(timeout=max(until - loop.time(), 0.001))
            if (message.headers or {}).get("Status") == NO_RESPONDERS:
                break
            replies.append(message.data)
    except (NatsTimeout, NoRespondersError):
        pass
    await subscription.unsubscribe()
    return replies
