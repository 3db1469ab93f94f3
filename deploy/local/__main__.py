"""`python -m deploy.local`: runs Metrion on this machine until Ctrl-C."""

import asyncio
import fcntl
import os
import signal
import sys
from typing import IO

from deploy.local import children, plan, seed, welcome
from deploy.local import secrets as secrets_module
from deploy.local.secrets import Secrets
from deploy.local.supervisor import Console, StartFailed, Supervisor
from shared import settings as settings_module
from shared.providers import ProvidersError


def main() -> None:
    """Run until stopped; exit code 0 after a clean stop, 1 if something cannot start."""
    try:
        settings = settings_module.load(plan.Settings, os.environ)
    except settings_module.SettingsError as error:
        sys.exit(f"settings: {error}")
    try:
        data = secrets_module.data_folder(settings.data_dir.resolve())
    except OSError as error:
        sys.exit(f"metrion cannot start: {error}")
    lock = _lock(settings)
    _check_ports(settings)
    try:
        secrets = secrets_module.load(data, bootstrap_token=settings.bootstrap_token)
        asyncio.run(_run(settings, secrets))
    except (OSError, StartFailed, seed.SeedFailed, ProvidersError) as error:
        sys.exit(f"metrion cannot start: {error}")
    finally:
        lock.close()


def _lock(settings: plan.Settings) -> IO[str]:
    """Lock the data folder: two instances would overwrite each other's data."""
    lock = (settings.data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(
            f"metrion is already running from {settings.data_dir}: stop it, or set METRION_DATA_DIR to another folder"
        )
    return lock


def _check_ports(settings: plan.Settings) -> None:
    seen: dict[int, str] = {}
    for port, variable in plan.ports(settings):
        if port in seen:
            sys.exit(f"port {port} is configured twice: set {variable} or {seen[port]} to another port")
        if not children.is_free(port):
            sys.exit(
                f"port {port} is already in use: stop the process listening there, or set {variable} to another port"
            )
        seen[port] = variable


async def _run(settings: plan.Settings, secrets: Secrets) -> None:
    console, stop = Console(), asyncio.Event()
    supervisor = Supervisor(console)

    def interrupted() -> None:
        if stop.is_set():
            console.say("stopping now: open requests are cut")
            supervisor.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupted)
    starting = asyncio.create_task(_start(settings, secrets, supervisor=supervisor, console=console))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stopped
        console.say("stopping (press Ctrl-C again to stop now)")
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await supervisor.stop()
        console.say("stopped")


async def _start(settings: plan.Settings, secrets: Secrets, *, supervisor: Supervisor, console: Console) -> None:
    commands = plan.commands(settings, secrets, caller=os.environ)
    secrets_module.write_environment(settings.data_dir / "cli.env", commands)
    supervisor.start(plan.servers(settings, secrets))
    await supervisor.ready()
    behind = [make(settings, secrets, caller=os.environ) for make in (plan.logger, plan.cache)]
    supervisor.start(behind)  # gateways wait for their streams
    await supervisor.run(plan.provision(settings, secrets, caller=os.environ))
    await supervisor.ready()
    valid = await seed.account_and_token(commands["METRION_NATS_URL"], token=secrets.token)
    password = await seed.admin(commands["METRION_NATS_URL"], password=settings.dashboard_admin_password)
    workers = range(settings.workers)
    supervisor.start([plan.dashboard(settings, secrets, caller=os.environ)])
    supervisor.start([plan.gateway(settings, secrets, worker=worker, caller=os.environ) for worker in workers])
    await supervisor.ready()
    console.say(welcome.text(settings, token=secrets.token, valid=valid, password=password, caller=os.environ))


if __name__ == "__main__":
    main()
