"""Starts a local installation: locks its folder, checks its ports, runs its parts."""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping

import msgspec

from deploy.local import children, plan, seed, welcome
from deploy.local import secrets as secrets_module
from deploy.local.secrets import Secrets
from deploy.local.supervisor import Console, StartFailed, Supervisor


class Installation(msgspec.Struct, frozen=True):
    """A locked data folder, ready to start from."""

    settings: plan.Settings
    secrets: Secrets
    caller: Mapping[str, str]  # environment of the services

    @property
    def commands(self) -> dict[str, str]:
        """The environment of the command line."""
        return plan.commands(self.settings, self.secrets, caller=self.caller)


@contextlib.contextmanager
def installation(settings: plan.Settings, *, caller: Mapping[str, str]) -> Iterator[Installation]:
    """Lock the data folder: two instances would overwrite each other's data.

    StartFailed if another instance holds the lock, or a port is taken.
    """
    data = secrets_module.data_folder(settings.data_dir.resolve())
    with (settings.data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartFailed(
                f"it is already running from {settings.data_dir}: stop it, or set METRION_DATA_DIR to another folder"
            ) from None
        _check_ports(settings)
        secrets = secrets_module.load(data, bootstrap_token=settings.bootstrap_token)
        yield Installation(settings, secrets, caller)


def _check_ports(settings: plan.Settings) -> None:
    seen: dict[int, str] = {}
    for port, variable in plan.ports(settings):
        if port in seen:
            raise StartFailed(f"port {port} is configured twice: set {variable} or {seen[port]} to another port")
        if not children.is_free(port):
            raise StartFailed(
                f"port {port} is already in use: stop the process listening there, or set {variable} to another port"
            )
        seen[port] = variable


async def start_all(
    place: Installation,
    *,
    supervisor: Supervisor,
    console: Console,
    accounts: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Start all parts, in order; returns once they are ready.

    `accounts`: further accounts to create, each with the name of its token and the token.
    """
    settings, secrets, caller = place.settings, place.secrets, place.caller
    commands = place.commands
    secrets_module.write_environment(settings.data_dir / "cli.env", commands)
    supervisor.start(plan.servers(settings, secrets))
    await supervisor.ready()
    behind = [make(settings, secrets, caller=caller) for make in (plan.logger, plan.cache)]
    supervisor.start(behind)  # gateways wait for their streams
    await supervisor.run(plan.provision(settings, secrets, caller=caller))
    await supervisor.ready()
    valid = await seed.account_and_token(commands["METRION_NATS_URL"], token=secrets.token)
    for account, (name, token) in (accounts or {}).items():
        await seed.account_and_token(commands["METRION_NATS_URL"], account=account, name=name, token=token)
    password = await seed.admin(commands["METRION_NATS_URL"], password=settings.dashboard_admin_password)
    workers = range(settings.workers)
    supervisor.start([plan.dashboard(settings, secrets, caller=caller)])
    supervisor.start([plan.gateway(settings, secrets, worker=worker, caller=caller) for worker in workers])
    await supervisor.ready()
    console.log(welcome.text(settings, token=secrets.token, valid=valid, password=password, caller=caller))
