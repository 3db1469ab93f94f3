"""The commands `cache …`: what replicas and stream hold comes out, and what is to be forgotten goes in."""

import asyncio
import os
import sys
from argparse import Namespace
from pathlib import Path

import msgspec

from services.cli import connections, tables, trail
from services.cli.connections import connection
from services.cli.outcome import Outcome
from services.cli.tokens import known_provider
from shared import cache_admin, cache_protocol, providers
from shared.accounts_admin import AccountError

COLUMNS = ("replica", "entries", "bytes", "hits", "misses", "evictions")


async def stats(options: Namespace) -> Outcome:
    async with connection() as nc:
        stream = await cache_admin.stored(nc)
        found = await cache_admin.stats(nc)
    note, status = ("", 0) if found else ("No cache service answers.", 1)
    if options.json:
        rows = [msgspec.structs.asdict(one) for one in found]
        return Outcome(tables.as_json({"replicas": rows, "stream": stream._asdict()}), note=note, status=status)
    table = tables.as_table(COLUMNS, [msgspec.structs.astuple(one) for one in found])
    text = f"Stored: {stream.entries} entries, {stream.bytes} of at most {stream.max_bytes} bytes.\n"
    return Outcome(table + text, note=note, status=status)


async def purge(options: Namespace) -> Outcome:
    forget = _patterns(options)
    async with connection() as nc:
        if options.all and not options.yes and sys.stdin.isatty():
            count = (await cache_admin.stored(nc)).entries
            if not await asyncio.to_thread(_sure, count):
                return Outcome(note="Nothing was purged.", status=1)
        done = await cache_admin.purge(nc, forget)
        details = {
            "model": options.model,
            "provider": options.provider,
            "key": options.key,
            "entries": str(done.entries),
        }
        unrecorded = await trail.change(nc.jetstream(), "cache", "purge", account=options.account, details=details)
    return Outcome(note=done.said() + unrecorded)


def _patterns(options: Namespace) -> list[str]:
    """What is to go, as purge patterns; AccountError when that is not said, or said twice."""
    some = bool(options.account or options.model or options.provider)
    if options.all + bool(options.key) + some != 1:
        raise AccountError("say what to purge: --all, or --key KEY, or --account and --model")
    if options.key:
        if cache_protocol.KEY_PATTERN.fullmatch(options.key) is None:
            raise AccountError("a key is ACCOUNT.MODEL.DIGEST")
        return [options.key]
    provider = known_provider(options.provider) if options.provider else ""
    known = _providers() if options.model and not provider else ()
    return cache_admin.patterns(account=options.account, provider=provider, model=options.model, known=known)


def _providers() -> list[str]:
    path = connections.optional("METRION_PROVIDERS_FILE", os.environ)
    try:
        return sorted(providers.load(Path(path) if path else None))
    except providers.ProvidersError as error:
        raise AccountError(str(error)) from None


def _sure(count: int) -> bool:
    return input(f"Purge all {count} entries of all accounts? [y/N] ").strip().lower() in ("y", "yes")
