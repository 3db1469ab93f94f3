"""The commands `cache …`: show statistics and purge entries."""

import sys

import click

from services.cli import confirm, lookup, options, output
from services.cli.errors import Refused
from services.cli.options import Group
from services.cli.outcome import Outcome

COLUMNS = ("replica", "entries", "bytes", "hits", "misses", "evictions")

cache = Group(
    "cache",
    help="Show cache statistics and purge entries.",
    examples=("metrion cache stats", "metrion cache purge --account team-a"),
)


@cache.command("stats", examples=("metrion cache stats", "metrion cache stats --json"))
@options.json_option
async def stats(*, as_json: bool) -> Outcome:
    """Show each replica's counters and what is stored.

    Counters start at zero when a replica starts.
    """
    from services.cli import nats_connection
    from shared import cache_admin

    async with nats_connection.connection() as nc:
        stream = await cache_admin.stored(nc)
        replicas = await cache_admin.stats(nc)
    rows = [tuple(getattr(replica, name) for name in COLUMNS) for replica in replicas]
    note, status = ("", 0) if rows else ("No cache service responds.", 1)
    if as_json:
        named = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        return Outcome(output.as_json({"replicas": named, "stream": stream._asdict()}), note=note, status=status)
    table = output.as_table(COLUMNS, rows) if rows else ""
    text = f"Stored: {stream.entries} entries, {stream.bytes:,} of at most {stream.max_bytes:,} bytes.\n"
    return Outcome(table + text, note=note, status=status)


@cache.command(
    "purge",
    examples=(
        "metrion cache purge --account team-a",
        "metrion cache purge --model gpt-4o --provider openai",
        "metrion cache purge --all --yes",
    ),
)
@click.option("--all", "everything", is_flag=True, help="Purge every entry.")
@click.option("--account", default="", metavar="NAME", help="Only this account's entries.")
@click.option("--model", default="", metavar="NAME", help="Only this model's, named as in requests.")
@click.option("--provider", default="", metavar="NAME", help="Provider of --model.  [default: each that offers it]")
@click.option("--key", default="", metavar="KEY", help="One entry: ACCOUNT.MODEL.DIGEST.")
@click.option("--yes", is_flag=True, help="Skip the confirmation of --all.")
async def purge(*, everything: bool, account: str, model: str, provider: str, key: str, yes: bool) -> Outcome:
    """Delete cache entries.

    Select them with --all, --key, or --account and --model. Asks before --all
    at a terminal.
    """
    from services.cli import audit_log, nats_connection
    from shared import cache_admin

    if everything + bool(key) + bool(account or model or provider) != 1:
        raise Refused("choose what to purge: --all, or --key KEY, or --account and --model")
    patterns = _patterns(account=account, model=model, provider=provider, key=key)
    async with nats_connection.connection() as nc:
        if everything and sys.stdin.isatty():
            count = output.plural((await cache_admin.stored(nc)).entries, "entry", "entries")
            if not await confirm.confirmed(f"Purge {count} of all accounts?", yes=yes):
                return Outcome(note="Nothing was purged.", status=1)
        done = await cache_admin.purge(nc, patterns)
        details = {"model": model, "provider": provider, "key": key, "entries": str(done.entries)}
        warning = await audit_log.record(nc.jetstream(), "cache", "purge", account=account, details=details)
    return Outcome(note=done.sentence() + warning)


def _patterns(*, account: str, model: str, provider: str, key: str) -> list[str]:
    """Return the subjects to purge."""
    from shared import cache_admin, cache_protocol

    if key:
        if cache_protocol.KEY_PATTERN.fullmatch(key) is None:
            raise Refused("a key is ACCOUNT.MODEL.DIGEST")
        return [key]
    name = lookup.known_provider(provider) if provider else ""
    known = lookup.provider_names() if model and not name else ()
    return cache_admin.patterns(account=account, provider=name, model=model, known=known)
