"""`python -m deploy.demo`: Metrion with a mock provider and synthetic traffic."""

import argparse
import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from deploy.demo import history, month, provider, publish, screen, stack, stored, traffic
from deploy.demo.stack import Stack
from deploy.local import plan
from shared import nats_client

ROWS_A_DAY = 10_000
_MOST_DAYS = 365  # rows are kept for 400
_SPAN = re.compile(r"(\d{1,3})([dw])")
_INTERRUPTED = 130
_STORED_SECONDS = 20.0  # how long rows may take to appear after the last response


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the options; exits with a message if they are invalid."""
    parser = argparse.ArgumentParser(
        prog="make demo ARGS='…'",
        description="Try Metrion without a provider key, with synthetic traffic to a mock provider.",
    )
    parser.add_argument("--seconds", type=_whole, default=55, help="duration of the traffic (default 55; 0 for none)")
    parser.add_argument("--rate", type=float, default=15.0, help="requests per second (default 15)")
    parser.add_argument(
        "--history", type=_days, default=0, metavar="SPAN", help="generate history first: 30d, 4w, at most 365d"
    )
    parser.add_argument("--rows", type=_whole, default=0, help=f"rows of history (default {ROWS_A_DAY} per day)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random traffic and history (default 1)")
    parser.add_argument("--keep", action="store_true", help="keep running after the report, until Ctrl-C")
    parser.add_argument("--data-dir", type=Path, default=Path(".metrion-demo"), help="default .metrion-demo")
    return parser.parse_args(arguments)


def _days(text: str) -> int:
    match = _SPAN.fullmatch(text)
    days = int(match[1]) * (7 if match[2] == "w" else 1) if match else 0
    if not 0 < days <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"a span like 30d or 4w, at most {_MOST_DAYS}d")
    return days


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) > 100_000_000:
        raise argparse.ArgumentTypeError("a non-negative integer")
    return int(text)


def main() -> None:
    """Exit with 0 if every request was stored, 1 if not, 130 after Ctrl-C."""
    options = parse()
    try:
        sys.exit(asyncio.run(_until_interrupted(options)))
    except stack.CannotStart as error:
        sys.exit(f"the demo cannot start: {error}")


async def _until_interrupted(options: argparse.Namespace) -> int:
    """Run until done; Ctrl-C, SIGTERM or SIGHUP stop everything in order."""
    work = asyncio.create_task(_demo(options))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return _INTERRUPTED


async def _demo(options: argparse.Namespace) -> int:
    data = options.data_dir.resolve()
    screen.say(f"starting NATS, ClickHouse, logger and gateway in {options.data_dir} …")
    async with provider.serve() as upstream, stack.running(data, upstream=upstream, caller=os.environ) as place:
        screen.say(_where(options, place))
        since = datetime.now(UTC)
        if options.history:
            await _fill(options, place)
            since -= timedelta(days=options.history)
        if options.seconds:
            await _live(options, place)
        for by in ("requester", "model", "day") if options.history else ("requester", "model"):
            await _metrion(place, "report", "--by", by, "--since", since.isoformat())
        code = await _metrion(place, "completeness")
        if options.keep:
            screen.say("\nPress Ctrl-C to stop.")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        screen.say(f"stopping; the data is kept in {options.data_dir}")
        return code


def _where(options: argparse.Namespace, place: Stack) -> str:
    return "\n".join(
        [
            f"  gateway     {place.gateway}   token {place.tokens['default']}",
            f"  ClickHouse  {place.clickhouse}   read-only without a password; /play in a browser",
            f"  command     METRION_DATA_DIR={options.data_dir} .venv/bin/metrion report",
            f"  dashboard   {place.dashboard}",
            f"  output      {options.data_dir}/{stack.LOG}",
        ]
    )


async def _fill(options: argparse.Namespace, place: Stack) -> None:
    """Publish the history up to now; days already stored are skipped."""
    now = datetime.now(UTC)
    days, rows = options.history, options.rows or options.history * ROWS_A_DAY
    story = month.Plan(seed=options.seed, first=now.date() - timedelta(days=days - 1), days=days, rows=rows)
    known, progress, began = await stored.spools(place.clickhouse), publish.Progress(), time.monotonic()

    def line() -> str:
        seconds = time.monotonic() - began
        full = " (the event stream is full: waiting for the logger to purge it)" if progress.refused else ""
        rate = progress.events / max(seconds, 0.001)
        sent = f"history: {progress.rows:,} of {rows:,} rows, {seconds:.0f} s, {rate:,.0f} events/s"
        return f"{sent}, the logger {progress.behind} messages behind{full}"

    missing = [number for number in range(days) if not _is_stored(story, number, known)]
    counts = month.rows_a_day(story)
    client = await nats_client.connect(place.commands["METRION_NATS_URL"], service="cli")
    try:
        async with screen.progress(line):
            for number in missing:
                messages = history.messages(story, number, counts[number], until=now)
                await publish.publish(client, messages, progress)
            await publish.wait_for_logger(client, progress)
    finally:
        await client.close()
    if len(missing) < days:
        screen.say(f"{days - len(missing)} of {days} days are already stored and are skipped")


def _is_stored(story: month.Plan, number: int, known: dict[str, bool]) -> bool:
    """Whether a day is stored: complete, or by another plan."""
    own = history.spool(story, number)
    others = any(name.startswith(history.day_prefix(story, number)) and name != own for name in known)
    return known.get(own, False) or others


async def _live(options: argparse.Namespace, place: Stack) -> None:
    """Send traffic and wait until it is stored."""
    progress, began, since, rows = traffic.Progress(), time.monotonic(), datetime.now(UTC), stored.Live()

    def line() -> str:
        sent = f"traffic: {time.monotonic() - began:.0f} s, {progress.sent} sent, {progress.open} open"
        cost = "" if rows.cost is None else f", ${rows.cost:.4f}"
        return f"{sent}; recorded {rows.requests}, {rows.errors} errors{cost}, {rows.tokens:,} tokens"

    clients = traffic.run(
        place.gateway, place.tokens, progress, seconds=options.seconds, rate=options.rate, seed=options.seed
    )
    async with aiohttp.ClientSession() as session, screen.progress(line), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(clients)
        deadline = None
        while not running.done() or (rows.requests < progress.recorded and time.monotonic() < (deadline or 0)):
            await asyncio.sleep(0.5)
            rows = await stored.live(session, place.clickhouse, since=since)
            if running.done() and deadline is None:
                deadline = time.monotonic() + _STORED_SECONDS


async def _metrion(place: Stack, *words: str) -> int:
    """Run a `metrion` command as a user would; returns its exit code."""
    here = Path.cwd()
    folder = place.data.relative_to(here) if place.data.is_relative_to(here) else place.data
    screen.say(f"\n$ METRION_DATA_DIR={folder} .venv/bin/metrion {' '.join(words)}")
    environment = os.environ | {"METRION_DATA_DIR": str(place.data)} | place.commands
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", *words, cwd=plan.ROOT, env=environment
    )
    return await process.wait()


if __name__ == "__main__":
    main()
