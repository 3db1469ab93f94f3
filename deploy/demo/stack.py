"""Runs all of Metrion as `make run` does, on ports of its own."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from deploy.demo.cast import CAST, MAIN
from deploy.local import children, plan, seed, start
from deploy.local.supervisor import Console, StartFailed, Supervisor
from shared import accounts_admin, providers, settings

_PORTS = ("GATEWAY", "GATEWAY_OPS", "LOGGER_OPS", "CACHE_OPS", "DASHBOARD", "DASHBOARD_OPS", "CLICKHOUSE", "NATS")
_ABOVE = 10_000  # offset from the ports of `make run`
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
LOG = "demo.log"


class CannotStart(Exception):
    """Metrion did not start; the message says why."""


class Stack(msgspec.Struct, frozen=True):
    """Addresses and tokens of the running installation."""

    data: Path
    gateway: str  # URLs
    clickhouse: str
    dashboard: str
    tokens: dict[str, str]  # account → token
    commands: dict[str, str]  # environment for the command line, with passwords


@contextlib.asynccontextmanager
async def running(data: Path, *, upstream: str, caller: Mapping[str, str]) -> AsyncIterator[Stack]:
    """Start everything with the demo's accounts; stop it in order afterwards."""
    environment = _environment(data, upstream=upstream, caller=caller)
    local = settings.load(plan.Settings, environment)
    async with contextlib.AsyncExitStack() as stack:
        try:
            place = stack.enter_context(start.installation(local, caller=environment))
            console = Console(stack.enter_context((data / LOG).open("w")))
            supervisor = Supervisor(console)
            stack.push_async_callback(supervisor.stop)
            first = place.secrets.token
            tokens = {account: _token(first, account) for account in CAST.tokens}
            others = {account: (CAST.tokens[account], token) for account, token in tokens.items() if account != MAIN}
            await start.start_all(place, supervisor=supervisor, console=console, accounts=others)
        except (OSError, StartFailed, seed.SeedFailed) as error:
            raise CannotStart(str(error).replace("set METRION_DATA_DIR to", "choose with --data-dir")) from error
        yield Stack(
            data=data,
            gateway=f"http://127.0.0.1:{local.gateway_port}",
            clickhouse=f"http://127.0.0.1:{local.clickhouse_port}",
            dashboard=f"http://127.0.0.1:{local.dashboard_port}",
            tokens=tokens,
            commands=place.commands,
        )


def _token(first: str, account: str) -> str:
    """An account's token: the folder's first one, or derived from it."""
    if account == MAIN:
        return first
    return accounts_admin.TOKEN_PREFIX + hashlib.sha256(f"{first} {account}".encode()).hexdigest()[:32]


def _environment(data: Path, *, upstream: str, caller: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without settings, provider keys and proxies."""
    known = providers.BUILT_IN.values()
    keys = {one.key_variable: f"demo-key-of-{one.name}" for one in known}
    kept = {
        name: value
        for name, value in caller.items()
        if not name.startswith("METRION_") and name not in keys and name.lower() not in _PROXIES
    }
    upstreams = {f"METRION_UPSTREAM_{one.name.upper()}": f"{upstream}/{one.name}" for one in known}
    own = {
        "METRION_DATA_DIR": str(data),
        "METRION_STOP_SECONDS": "10",
        "METRION_LOG_LEVEL": "INFO",
        "METRION_DEFAULT_REQUESTS_PER_MINUTE": "0",  # one token makes all of an account's traffic
        "METRION_DASHBOARD_SIGN_IN": "off",  # it shows invented figures, on this machine only
        "METRION_DASHBOARD_QUERY_SECONDS": "30",  # ClickHouse merges a month while the first pages query it
    }
    return kept | keys | upstreams | own | _ports(caller)


def _ports(caller: Mapping[str, str]) -> dict[str, str]:
    """The ports that the caller sets; else those of `make run` plus 10,000, or any free port if one is taken."""
    variables = {name: f"METRION_{name}_PORT" for name in _PORTS}
    found = {variable: caller[variable] for variable in variables.values() if caller.get(variable)}
    for name, variable in variables.items():
        port = getattr(plan.Settings(), f"{name.lower()}_port") + _ABOVE
        while variable not in found and (not children.is_free(port) or str(port) in found.values()):
            port = children.free_port()
        found.setdefault(variable, str(port))
    return found
