"""`python -m deploy.demo`: Metrion with a mock provider and synthetic traffic."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from rich.console import Console
from rich.live import Live
from rich.text import Text

from deploy.demo import history, month, provider, publish, stack, stored, traffic
from deploy.local import plan
from deploy.local.seed import SeedFailed
from deploy.local.start import Installation
from deploy.local.supervisor import StartFailed
from shared import clickhouse, nats_client

ROWS_A_DAY = 10_000
_MOST_DAYS = 365  # rows are kept for 400
_INTERRUPTED = 130
_STORED_SECONDS = 120  # how long the last rows may take to appear, on a busy machine
_SETTLED_SECONDS = 30  # how long events without a row may take: a heartbeat comes every ten seconds
_COUNT = click.IntRange(0, 100_000_000)
_console = Console(highlight=False, markup=False, soft_wrap=True)


class Options(msgspec.Struct, frozen=True):
    """The options, as given."""

    seconds: int
    rate: float
    history: int  # days
    rows: int
    seed: int
    keep: bool
    data_dir: Path


def _days(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    match = re.fullmatch(r"(\d{1,3})([dw])", text)
    days = int(match[1]) * (7 if match[2] == "w" else 1) if match else 0
    if text and not 0 < days <= _MOST_DAYS:
        raise click.BadParameter(f"a span like 30d or 4w, at most {_MOST_DAYS}d")
    return days


@click.command(help="Try Metrion without a provider key, with synthetic traffic to a mock provider.")
@click.option("--seconds", type=_COUNT, default=55, help="Duration of the traffic (default 55; 0 for none).")
@click.option("--rate", type=float, default=15.0, help="Requests per second (default 15).")
@click.option(
    "--history", default="", callback=_days, metavar="SPAN", help="Generate history first: 30d, 4w, at most 365d."
)
@click.option("--rows", type=_COUNT, default=0, help=f"Rows of history (default {ROWS_A_DAY} per day).")
@click.option("--seed", type=int, default=1, help="Seed of the random traffic and history (default 1).")
@click.option("--keep", is_flag=True, help="Keep running after the report, until Ctrl-C.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=".metrion-demo", help="Folder (default .metrion-demo)."
)
def main(**options: Any) -> None:
    """Exit with 0 if every request was stored, 1 if not, 130 after Ctrl-C."""
    try:
        sys.exit(asyncio.run(_demo(Options(**options))))
    except asyncio.CancelledError:
        sys.exit(_INTERRUPTED)
    except (StartFailed, SeedFailed) as error:
        reason = str(error).replace("set METRION_DATA_DIR to", "choose with --data-dir")
        sys.exit(f"the demo cannot start: {reason}")


async def _demo(options: Options) -> int:
    """Run until done; Ctrl-C, SIGTERM or SIGHUP stop everything in order."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    data, folder = options.data_dir.resolve(), options.data_dir
    _console.print(f"starting NATS, ClickHouse, logger and gateway in {folder} …")
    async with (
        provider.serve() as upstream,
        stack.running(data, upstream=upstream, caller=os.environ) as (place, tokens),
    ):
        gateway = f"http://127.0.0.1:{place.settings.gateway_port}"
        _console.print(
            f"  gateway     {gateway}   token {tokens['default']}\n"
            f"  ClickHouse  http://127.0.0.1:{place.settings.clickhouse_port}"
            "   read-only without a password; /play in a browser\n"
            f"  command     METRION_DATA_DIR={folder} .venv/bin/metrion report\n"
            f"  dashboard   http://127.0.0.1:{place.settings.dashboard_port}\n"
            f"  output      {folder}/{stack.LOG}"
        )
        since = datetime.now(UTC) - timedelta(days=options.history)
        async with await clickhouse.connect(place.commands["METRION_CLICKHOUSE_URL"], service="demo") as client:
            if options.history:
                await _fill(options, place, client)
            if options.seconds:
                await _live(options, gateway, tokens, client)
            await stored.settled(client, since=since, seconds=_SETTLED_SECONDS)
        for by in ("requester", "model", "day") if options.history else ("requester", "model"):
            await _metrion(place, "report", "--by", by, "--since", since.isoformat())
        code = await _metrion(place, "completeness")
        if options.keep:
            _console.print("\nPress Ctrl-C to stop.")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        _console.print(f"stopping; the data is kept in {folder}")
        return code


@contextlib.contextmanager
def _progress(line: Callable[[], str]) -> Iterator[None]:
    """Show `line()` while the block runs, on a terminal; the last one stays."""
    with Live(get_renderable=lambda: Text(line(), no_wrap=True, overflow="ellipsis"), console=_console, transient=True):
        yield
    _console.print(line())


async def _fill(options: Options, place: Installation, client: AsyncClient) -> None:
    """Publish the history up to now; days already stored are skipped."""
    now, began, progress = datetime.now(UTC), time.monotonic(), publish.Progress()
    days, rows = options.history, options.rows or options.history * ROWS_A_DAY
    story = month.Plan(seed=options.seed, first=now.date() - timedelta(days=days - 1), days=days, rows=rows)
    known, counts = await stored.spools(client), month.rows_a_day(story)
    missing = [number for number in range(days) if not history.is_stored(story, number, known)]

    def line() -> str:
        seconds = time.monotonic() - began
        full = " (the event stream is full: waiting for the logger to purge it)" if progress.refused else ""
        sent = (
            f"history: {progress.rows:,} of {rows:,} rows, {seconds:.0f} s, {progress.events / seconds:,.0f} events/s"
        )
        return f"{sent}, the logger {progress.behind} messages behind{full}"

    async with await nats_client.connect(place.commands["METRION_NATS_URL"], service="cli") as nats:
        with _progress(line):
            for number in missing:
                await publish.publish(nats, history.messages(story, number, counts[number], until=now), progress)
            await publish.wait_for_logger(nats, progress)
    if len(missing) < days:
        _console.print(f"{days - len(missing)} of {days} days are already stored and are skipped")


async def _live(options: Options, gateway: str, tokens: dict[str, str], client: AsyncClient) -> None:
    """Send traffic and wait until it is stored."""
    progress, began, since = traffic.Progress(), time.monotonic(), datetime.now(UTC)
    deadline = began + options.seconds + _STORED_SECONDS
    totals = await stored.totals(client, since=since)

    def line() -> str:
        sent = f"traffic: {time.monotonic() - began:.0f} s, {progress.sent} sent, {progress.open} open"
        cost = "" if totals["cost_sum"] is None else f", ${totals['cost_sum']:.4f}"
        tokens = (totals["input_sum"] or 0) + (totals["output_sum"] or 0)
        return f"{sent}; recorded {totals['requests']}, {totals['errors']} errors{cost}, {tokens:,} tokens"

    with _progress(line):
        async with asyncio.TaskGroup() as tasks:
            clients = traffic.run(
                gateway, tokens, progress, seconds=options.seconds, rate=options.rate, seed=options.seed
            )
            running = tasks.create_task(clients)
            while not running.done() or (totals["requests"] < progress.recorded and time.monotonic() < deadline):
                await asyncio.sleep(0.5)
                totals = await stored.totals(client, since=since)


async def _metrion(place: Installation, *words: str) -> int:
    """Run a `metrion` command as a user would; returns its exit code."""
    data, here = place.settings.data_dir, Path.cwd()
    folder = data.relative_to(here) if data.is_relative_to(here) else data
    _console.print(f"\n$ METRION_DATA_DIR={folder} .venv/bin/metrion {' '.join(words)}")
    environment = os.environ | {"METRION_DATA_DIR": str(data)} | place.commands
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", *words, cwd=plan.ROOT, env=environment
    )
    return await process.wait()


if __name__ == "__main__":
    main()
