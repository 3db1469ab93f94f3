"""The demo's three chapters: a past into the event stream, traffic through the gateway, what `metrion` says of both."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from deploy.demo import arguments, books, history, month, publish, traffic
from deploy.demo.house import House
from deploy.demo.screen import Screen
from deploy.local import plan
from shared import bus

_BOOKED_SECONDS = 20.0  # how long rows may take after the last answer


async def fill(options: argparse.Namespace, place: House, screen: Screen) -> None:
    """The past up to now. A day that stands already is left as it is."""
    now = datetime.now(UTC)
    days, rows = options.history, options.rows or options.history * arguments.ROWS_A_DAY
    story = month.Plan(seed=options.seed, first=now.date() - timedelta(days=days - 1), days=days, rows=rows)
    standing, progress, began = await books.spools(place.clickhouse), publish.Progress(), time.monotonic()

    def line() -> str:
        seconds = time.monotonic() - began
        full = " (the event stream is full: waiting until the logger has purged it)" if progress.refused else ""
        rate = progress.events / max(seconds, 0.001)
        sent = f"history: {progress.rows:,} of {rows:,} rows, {seconds:.0f} s, {rate:,.0f} events/s"
        return f"{sent}, the logger {progress.behind} messages behind{full}"

    client = await bus.connect(place.commands["METRION_NATS_URL"], service="cli")
    try:
        async with screen.progress(line):
            for number, count in enumerate(month.rows_a_day(story)):
                if not _stands(story, number, standing):
                    await publish.publish(client, history.messages(story, number, count, until=now), progress)
            await publish.stored(client, progress)
    finally:
        await client.close()
    skipped = sum(_stands(story, number, standing) for number in range(days))
    if skipped:
        screen.say(f"{skipped} of {days} days stood there already and are left as they are")


def _stands(story: month.Plan, number: int, standing: dict[str, bool]) -> bool:
    """Whether a day is there: complete, or told by another plan."""
    own = history.spool(story, number)
    others = any(name.startswith(history.day_prefix(story, number)) and name != own for name in standing)
    return standing.get(own, False) or others


async def live(options: argparse.Namespace, place: House, screen: Screen) -> None:
    seen, began, since, booked = traffic.Seen(), time.monotonic(), datetime.now(UTC), books.SoFar()

    def line() -> str:
        sent = f"traffic: {time.monotonic() - began:.0f} s, {seen.sent} sent, {seen.open} open"
        cost = "" if booked.cost is None else f", ${booked.cost:.4f}"
        return f"{sent}; booked {booked.requests}, {booked.errors} errors{cost}, {booked.tokens:,} tokens"

    async with aiohttp.ClientSession() as session, screen.progress(line):
        running = asyncio.create_task(
            traffic.run(
                place.gateway, place.tokens, seen, seconds=options.seconds, rate=options.rate, seed=options.seed
            )
        )
        try:
            ended = 0.0
            while not running.done() or (booked.requests < seen.booked and time.monotonic() < ended + _BOOKED_SECONDS):
                await asyncio.sleep(0.5)
                booked = await books.so_far(session, place.clickhouse, since=since)
                ended = ended if ended or not running.done() else time.monotonic()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    running.result()


async def report(place: House, screen: Screen, *, since: datetime, by: Sequence[str]) -> int:
    """What `metrion` says of it, as anybody would ask; its verdict on completeness."""
    for one in by:
        await _metrion(place, screen, "report", "--by", one, "--since", since.isoformat())
    return await _metrion(place, screen, "completeness")


async def _metrion(place: House, screen: Screen, *words: str) -> int:
    here = Path.cwd()
    folder = place.data.relative_to(here) if place.data.is_relative_to(here) else place.data
    screen.say(f"\n$ METRION_DATA_DIR={folder} .venv/bin/metrion {' '.join(words)}")
    environment = os.environ | {"METRION_DATA_DIR": str(place.data)} | place.commands
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", *words, cwd=plan.ROOT, env=environment
    )
    return await process.wait()
