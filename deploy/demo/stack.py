"""Runs all of Metrion as `make run` does, on ports of its own."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from deploy.demo.cast import CAST, MAIN
from deploy.local import children, plan, start
from deploy.local.start import Installation
from deploy.local.supervisor import Console, StartFailed, Supervisor
from shared import accounts_admin, providers, settings

LOG = "demo.log"
_ABOVE = 10_000  # offset from the ports of `make run`
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SETTINGS = {
    "METRION_STOP_SECONDS": "10",
    "METRION_LOG_LEVEL": "INFO",
    "METRION_DEFAULT_REQUESTS_PER_MINUTE": "0",  # one token makes all of an account's traffic
    "METRION_DASHBOARD_SIGN_IN": "off",  # it shows invented figures, on this machine only
    "METRION_DASHBOARD_QUERY_SECONDS": "30",  # ClickHouse merges a month while the first pages query it
}


@contextlib.asynccontextmanager
async def running(
    data: Path, *, upstream: str, caller: Mapping[str, str]
) -> AsyncIterator[tuple[Installation, dict[str, str]]]:
    """Start everything with the demo's accounts, and stop it in order.

    Yields the installation, and the tokens by account.
    """
    environment = _environment(data, upstream=upstream, caller=caller)
    local = settings.load(plan.Settings, environment)
    async with contextlib.AsyncExitStack() as stack:
        try:
            place = stack.enter_context(start.installation(local, caller=environment))
            console = Console(stack.enter_context((data / LOG).open("w")))
            supervisor = Supervisor(console)
            stack.push_async_callback(supervisor.stop)
            tokens = {account: _token(place.secrets.token, account) for account in CAST.tokens}
            others = {account: (CAST.tokens[account], tokens[account]) for account in tokens if account != MAIN}
            await start.start_all(place, supervisor=supervisor, console=console, accounts=others)
        except OSError as error:
            raise StartFailed(str(error)) from error
        yield place, tokens


def _token(first: str, account: str) -> str:
    """An account's token: the folder's first one, or derived from it."""
    derived = accounts_admin.TOKEN_PREFIX + hashlib.sha256(f"{first} {account}".encode()).hexdigest()[:32]
    return first if account == MAIN else derived


def _environment(data: Path, *, upstream: str, caller: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without settings, provider keys and proxies."""
    known = providers.BUILT_IN.values()
    keys = {one.key_variable: f"demo-key-of-{one.name}" for one in known}
    upstreams = {f"METRION_UPSTREAM_{one.name.upper()}": f"{upstream}/{one.name}" for one in known}
    kept = {
        name: value
        for name, value in caller.items()
        if not name.startswith("METRION_") and name.lower() not in _PROXIES
    }
    return kept | keys | upstreams | _SETTINGS | _ports(caller) | {"METRION_DATA_DIR": str(data)}


def _ports(caller: Mapping[str, str]) -> dict[str, str]:
    """The ports that the caller sets; else those of `make run` plus 10,000, or any free port if one is taken."""
    fields = [field for field in msgspec.structs.fields(plan.Settings) if field.name.endswith("_port")]
    defaults = {f"METRION_{field.name.upper()}": field.default + _ABOVE for field in fields}
    found = {variable: caller[variable] for variable in defaults if caller.get(variable)}
    for variable, port in defaults.items():
        while variable not in found and (not children.is_free(port) or str(port) in found.values()):
            port = children.free_port()
        found.setdefault(variable, str(port))
    return found
