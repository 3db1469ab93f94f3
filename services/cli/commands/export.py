"""The command `export focus`: cost and usage of a month for finance tools."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.cli import options, periods
from services.cli.errors import Refused
from services.cli.options import Group
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    from shared.focus import Tags

export = Group(
    "export",
    help="Export cost and usage to finance tools.",
    examples=("metrion export focus --month 2026-11 --output november.csv",),
)


@export.command(
    "focus",
    examples=(
        "metrion export focus --month 2026-11 --output november.csv",
        "metrion export focus --month 2026-11 --format parquet --output nov.parquet",
        "metrion export focus --month 2026-11 --tz Europe/Zurich --tag project",
    ),
)
@click.option("--month", required=True, metavar="MONTH", help="Calendar month, e.g. 2026-11.")
@options.account_filter
@click.option(
    "--tz", default="UTC", metavar="ZONE", show_default=True, help="Time zone of the month, e.g. Europe/Zurich."
)
@click.option(
    "--format", "file_format", type=click.Choice(("csv", "parquet")), default="csv", show_default=True,
    help="Format of the file.",
)  # fmt: skip
@click.option(
    "--version", type=click.Choice(("1.2", "1.3")), default="1.2", show_default=True, help="Version of FOCUS."
)
@click.option(
    "--tag", "tags", multiple=True, metavar="KEY",
    help="Metadata key that becomes a tag; repeatable.  [default: keys of at most 100 values]",
)  # fmt: skip
@click.option("--output", default="", metavar="FILE", help="File to write.  [default: standard output]")
async def export_focus(
    *, month: str, account: str, tz: str, file_format: str, version: str, tags: tuple[str, ...], output: str
) -> Outcome:
    """Export a month in FOCUS, the FinOps Open Cost and Usage Specification.

    One row per day, account, requester, provider, model, token class and service
    tier. The costs add up to those of `metrion statement`; where a provider's
    report is saved (`metrion reconcile --save`), to what the provider charged.
    """
    from services.cli import clickhouse, lookup
    from shared import focus

    zone = periods.zone(tz)
    since, until = periods.of_month(month, tz=zone)
    if account:
        await lookup.require_recorded_account(account)
    if file_format == focus.PARQUET and not output and sys.stdout.isatty():
        raise Refused("Parquet is not text; name a file: --output FILE")
    wanted = focus.Export(since, until, zone.key, account, tags)
    async with clickhouse.connection(patience=_PATIENCE_SECONDS) as client:
        chosen = focus.Tags(list(tags), []) if tags else await focus.tags(client, wanted)
        wanted = wanted._replace(tags=chosen.chosen)
        async with focus.stream(client, wanted, file_format=file_format, version=version) as blocks:
            await _write(output, blocks)
    return Outcome(note=_note(chosen, is_running=until > datetime.now(UTC)))


_PATIENCE_SECONDS = 3600.0  # until the first block: ClickHouse reads the whole month before


async def _write(name: str, blocks: AsyncIterator[bytes]) -> None:
    """Write to standard output, or to a file that appears once it is complete."""
    if not name:
        await _write_output(blocks)
        return
    with _file(name) as write:
        async for block in blocks:
            write(block)


@contextlib.contextmanager
def _file(name: str) -> Iterator[Callable[[bytes], None]]:
    partial = Path(f"{name}.part")
    with _writing(name):
        file = partial.open("wb")

    def write(block: bytes) -> None:
        with _writing(name):
            file.write(block)

    try:
        yield write
        with _writing(name):
            file.close()
            partial.replace(name)
    finally:
        with contextlib.suppress(OSError):
            file.close()
        partial.unlink(missing_ok=True)


async def _write_output(blocks: AsyncIterator[bytes]) -> None:
    try:
        async for block in blocks:
            with _writing("standard output"):
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader left (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refused(f"cannot write {name}: {error.strerror}") from None


def _note(tags: "Tags", *, is_running: bool) -> str:
    notes = [f"Tags: {', '.join(tags.chosen)}." if tags.chosen else "No metadata became a tag."]
    if tags.omitted:
        notes.append(f"Left out, because of too many values or keys (see --tag): {', '.join(tags.omitted)}.")
    if is_running:
        notes.append("The month is not over: the figures are preliminary.")
    return " ".join(notes)
