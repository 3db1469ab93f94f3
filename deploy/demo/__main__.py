"""`python -m deploy.demo`: a whole Metrion with a bundled provider, traffic through it, and the report that follows."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

from deploy.demo import arguments, chapters, house, provider
from deploy.demo.house import House
from deploy.demo.screen import Screen

_INTERRUPTED = 130


def main() -> None:
    """Exit code 0 when every request was booked, 1 when not or when it cannot start, 130 after Ctrl-C."""
    options = arguments.parse()
    screen = Screen()
    try:
        sys.exit(asyncio.run(_until_interrupted(options, screen)))
    except house.CannotStart as error:
        sys.exit(f"the demo cannot start: {error}")


async def _until_interrupted(options: argparse.Namespace, screen: Screen) -> int:
    """The exit code; Ctrl-C, SIGTERM or SIGHUP stop everything in its order."""
    work = asyncio.create_task(_demo(options, screen))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return _INTERRUPTED


async def _demo(options: argparse.Namespace, screen: Screen) -> int:
    data = options.data_dir.resolve()
    screen.say(f"starting NATS, ClickHouse, logger and gateway in {options.data_dir} …")
    async with provider.serve() as upstream, house.running(data, upstream=upstream, caller=os.environ) as place:
        screen.say(_where(options, place))
        since = datetime.now(UTC)
        if options.history:
            await chapters.fill(options, place, screen)
            since -= timedelta(days=options.history)
        if options.seconds:
            await chapters.live(options, place, screen)
        by = ("requester", "model", "day") if options.history else ("requester", "model")
        code = await chapters.report(place, screen, since=since, by=by)
        if options.keep:
            screen.say("\nCtrl-C stops it.")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        screen.say(f"stopping; the data stay in {options.data_dir}")
        return code


def _where(options: argparse.Namespace, place: House) -> str:
    return "\n".join(
        [
            f"  gateway     {place.gateway}   token {place.tokens['default']}",
            f"  ClickHouse  {place.clickhouse}   without a password, for reading; /play in a browser",
            f"  command     METRION_DATA_DIR={options.data_dir} .venv/bin/metrion report",
            f"  dashboard   {place.dashboard}",
            f"  output      {options.data_dir}/{house.LOG}",
        ]
    )


if __name__ == "__main__":
    main()
