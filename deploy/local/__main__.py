"""`python -m deploy.local`: runs Metrion on this machine until Ctrl-C."""

import asyncio
import os
import signal
import sys

from deploy.local import plan, seed, start
from deploy.local.start import Installation
from deploy.local.supervisor import Console, StartFailed, Supervisor
from shared import settings as settings_module
from shared.process import cancel_and_wait
from shared.providers import ProvidersError


def main() -> None:
    """Run until stopped; exit code 0 after a clean stop, 1 if something cannot start."""
    try:
        settings = settings_module.load(plan.Settings, os.environ)
    except settings_module.SettingsError as error:
        sys.exit(f"settings: {error}")
    try:
        with start.installation(settings, caller=os.environ) as installation:
            asyncio.run(_run(installation))
    except (OSError, StartFailed, seed.SeedFailed, ProvidersError) as error:
        sys.exit(f"metrion cannot start: {error}")


async def _run(installation: Installation) -> None:
    console, stop = Console(sys.stdout), asyncio.Event()
    supervisor = Supervisor(console)

    def interrupted() -> None:
        if stop.is_set():
            console.log("stopping now: open requests are cut")
            supervisor.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupted)
    starting = asyncio.create_task(start.start_all(installation, supervisor=supervisor, console=console))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stopped
        console.log("stopping (press Ctrl-C again to stop now)")
    finally:
        await cancel_and_wait(starting)
        await supervisor.stop()
        console.log("stopped")


if __name__ == "__main__":
    main()
