"""The commands `cache …`: what replicas and stream hold comes out, and what is to be forgotten goes in."""

import asyncio
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.errors import NotFoundError

from services.cli import connections, tables
from services.cli.connections import connection
from services.cli.outcome import Outcome
from services.cli.tokens import known_provider
from shared import caching, providers
from shared.accounts import ACCOUNT_PATTERN, AccountError
from shared.caching import Purge, Reply, Stats

GATHER_S = 0.5  # how long replicas have to answer
API_S = 10.0  # for the stream: a purge of many entries takes its time
NOBODY = "503"  # NATS' status: nobody listens there
COLUMNS = ("replica", "entries", "bytes", "hits", "misses", "evictions")

_stats = msgspec.msgpack.Decoder(Stats)
_reply = msgspec.msgpack.Decoder(Reply)


class _Purged(msgspec.Struct):
    """JetStream's answer to a purge."""

    purged: int = 0
    error: dict[str, Any] | None = None


async def stats(options: Namespace) -> Outcome:
    async with connection() as nc:
        stream = await _stream(nc)
        found = sorted(map(_stats.decode, await _gather(nc, caching.STATS, b"")), key=lambda one: one.replica)
    note, status = ("", 0) if found else ("No cache service answers.", 1)
    if options.json:
        rows = [msgspec.structs.asdict(one) for one in found]
        return Outcome(tables.as_json({"replicas": rows, "stream": stream}), note=note, status=status)
    table = tables.as_table(COLUMNS, [msgspec.structs.astuple(one) for one in found])
    stored = f"Stored: {stream['entries']} entries, {stream['bytes']} of at most {stream['max_bytes']} bytes.\n"
    return Outcome(table + stored, note=note, status=status)


async def purge(options: Namespace) -> Outcome:
    patterns = _patterns(options)
    async with connection() as nc:
        if options.all and not options.yes and sys.stdin.isatty():
            count = (await _stream(nc))["entries"]
            if not await asyncio.to_thread(_sure, count):
                return Outcome(note="Nothing was purged.", status=1)
        # The stream first: what a replica reads after it has forgotten must not be there any more.
        purged = sum([await _purge_stream(nc, pattern) for pattern in patterns])
        answers = await asyncio.gather(
            *(_gather(nc, caching.PURGE, caching.encode(Purge(pattern))) for pattern in patterns)
        )
    confirmed = min(sum(_reply.decode(data).kind == caching.MISS for data in one) for one in answers)
    entries = f"{purged} {'entry' if purged == 1 else 'entries'} purged"
    if not confirmed:
        return Outcome(note=f"{entries}. No cache service answers; one that hangs may serve from its memory.")
    return Outcome(note=f"{entries}, and {confirmed} replica{'' if confirmed == 1 else 's'} forgot what was in memory.")


def _patterns(options: Namespace) -> list[str]:
    """What is to go, as purge patterns; AccountError when that is not said, or said twice."""
    some = bool(options.account or options.model or options.provider)
    if options.all + bool(options.key) + some != 1:
        raise AccountError("say what to purge: --all, or --key KEY, or --account and --model")
    if options.all:
        return ["*.*.*"]
    if options.key:
        if caching.KEY_PATTERN.fullmatch(options.key) is None:
            raise AccountError("a key is ACCOUNT.MODEL.DIGEST")
        return [options.key]
    if options.account and ACCOUNT_PATTERN.fullmatch(options.account) is None:
        raise AccountError(f"{options.account!r} is no account's name")
    if options.provider and not options.model:
        raise AccountError("--provider goes with --model: a key does not show its provider alone")
    account = options.account or "*"
    if not options.model:
        return [f"{account}.*.*"]
    known = [known_provider(options.provider)] if options.provider else _providers()
    return [f"{account}.{caching.model_part(f'{provider}/{options.model}')}.*" for provider in known]


def _providers() -> list[str]:
    path = connections.optional("METRION_PROVIDERS_FILE", os.environ)
    try:
        return sorted(providers.load(Path(path) if path else None))
    except providers.ProvidersError as error:
        raise AccountError(str(error)) from None


def _sure(count: int) -> bool:
    return input(f"Purge all {count} entries of all accounts? [y/N] ").strip().lower() in ("y", "yes")


async def _stream(nc: Client) -> dict[str, int]:
    try:
        info = await nc.jetstream(timeout=API_S).stream_info(caching.STREAM)
    except NotFoundError:
        return {"entries": 0, "bytes": 0, "max_bytes": 0}
    return {
        "entries": info.state.messages,
        "bytes": info.state.bytes,
        "max_bytes": info.config.max_bytes or 0,
    }


async def _purge_stream(nc: Client, pattern: str) -> int:
    """How many entries that were; not nats-py's own purge, which does not tell."""
    request = msgspec.json.encode({"filter": caching.SUBJECT + pattern})
    answer = await nc.request(f"$JS.API.STREAM.PURGE.{caching.STREAM}", request, timeout=API_S)
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
