"""What cache replicas and the stream hold comes out, and what is to be forgotten goes in: for all who administer it."""

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

GATHER_S = 0.5  # how long replicas have to answer
API_S = 10.0  # for the stream: a purge of many entries takes its time
NOBODY = "503"  # NATS' status: nobody listens there

_stats = msgspec.msgpack.Decoder(Stats)
_reply = msgspec.msgpack.Decoder(Reply)


class Stored(NamedTuple):
    """What the stream holds."""

    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0


class Purged(NamedTuple):
    """How much went from the stream, and how many replicas said that they hold nothing of it any more."""

    entries: int
    replicas: int

    def said(self) -> str:
        """The same in words."""
        entries = f"{self.entries} {'entry' if self.entries == 1 else 'entries'} purged"
        if not self.replicas:
            return f"{entries}. No cache service answers; one that hangs may serve from its memory."
        return f"{entries}, and {self.replicas} replica{'' if self.replicas == 1 else 's'} forgot what was in memory."


class _Purged(msgspec.Struct):
    """JetStream's answer to a purge."""

    purged: int = 0
    error: dict[str, Any] | None = None


async def stats(nc: Client) -> list[Stats]:
    """Each replica's, by name; [] when no cache service answers."""
    return sorted(map(_stats.decode, await _gather(nc, cache_protocol.STATS, b"")), key=lambda one: one.replica)


async def stored(nc: Client) -> Stored:
    """What the stream holds; nothing when there is none."""
    try:
        info = await nc.jetstream(timeout=API_S).stream_info(cache_protocol.STREAM)
    except NotFoundError:
        return Stored()
    return Stored(info.state.messages, info.state.bytes, info.config.max_bytes or 0)


def patterns(*, account: str = "", provider: str = "", model: str = "", known: Iterable[str]) -> list[str]:
    """Purge patterns of an account, a model or both; all for neither. `known`: providers, for a model of any of them.

    AccountError for what no entry's key can tell.
    """
    if account and ACCOUNT_PATTERN.fullmatch(account) is None:
        raise AccountError(f"{account!r} is no account's name")
    if provider and not model:
        raise AccountError("a provider goes with a model: an entry's key does not show its provider alone")
    if not model:
        return [f"{account or '*'}.*.*"]
    offered = [provider] if provider else sorted(known)
    return [f"{account or '*'}.{cache_protocol.model_part(f'{one}/{model}')}.*" for one in offered]


async def purge(nc: Client, forget: Sequence[str]) -> Purged:
    """Forget entries by their patterns; AccountError when NATS does not."""
    # The stream first: what a replica reads after it has forgotten must not be there any more.
    purged = sum([await _purge_stream(nc, pattern) for pattern in forget])
    answers = await asyncio.gather(
        *(_gather(nc, cache_protocol.PURGE, cache_protocol.encode(Purge(pattern))) for pattern in forget)
    )
    return Purged(purged, min(sum(_reply.decode(data).kind == cache_protocol.MISS for data in one) for one in answers))


async def _purge_stream(nc: Client, pattern: str) -> int:
    """How many entries that were; not nats-py's own purge, which does not tell."""
    request = msgspec.json.encode({"filter": cache_protocol.SUBJECT + pattern})
    answer = await nc.request(f"$JS.API.STREAM.PURGE.{cache_protocol.STREAM}", request, timeout=API_S)
    purged = msgspec.json.decode(answer.data, type=_Purged)
    if purged.error is not None and purged.error.get("code") != 404:  # no stream: no entry
        raise AccountError(f"NATS did not purge: {purged.error.get('description')}")
    return purged.purged


async def _gather(nc: Client, subject: str, data: bytes) -> list[bytes]:
    """What all replicas answer in the time that they have; nothing, at once, when there is none."""
    answers, inbox = [], nc.new_inbox()
    heard = await nc.subscribe(inbox)
    await nc.publish(subject, data, reply=inbox)
    loop = asyncio.get_running_loop()
    until = loop.time() + GATHER_S
    try:
        while (left := until - loop.time()) > 0:
            message = await heard.next_msg(timeout=left)
            if (message.headers or {}).get("Status") == NOBODY:
                break
            answers.append(message.data)
    except (NatsTimeout, NoRespondersError):
        pass
    await heard.unsubscribe()
    return answers
