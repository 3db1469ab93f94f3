"""Runs `python -m deploy.local` as a child process, on ports of its own."""

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import msgspec
import nats.errors
import nats.js.errors

from deploy.demo.cast import CAST, MAIN
from deploy.local import children, plan
from shared import accounts_admin, nats_client, providers

_READY = re.compile(
    r"^metrion ready: gateway (?P<gateway>\S+) token (?P<token>\S+) clickhouse (?P<clickhouse>\S+) "
    r"dashboard (?P<dashboard>\S+)"
)
_PORTS = ("GATEWAY", "GATEWAY_OPS", "LOGGER_OPS", "CACHE_OPS", "DASHBOARD", "DASHBOARD_OPS", "CLICKHOUSE", "NATS")
_ABOVE = 10_000  # offset from the ports of `make run`
_STOP_SECONDS = 60.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
LOG = "demo.log"


class CannotStart(Exception):
    """Metrion did not start; the message is its last output."""


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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.local",
        cwd=plan.ROOT,
        env=_environment(data, upstream=upstream, caller=caller),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches only the demo, which then stops this
        preexec_fn=children.dies_with(os.getpid()),
    )
    log: asyncio.Task[None] | None = None
    try:
        assert process.stdout
        ready, lines = await _until_ready(process.stdout)
        log = asyncio.create_task(_write_log(process.stdout, data / LOG, lines))
        variables = (line.partition("=") for line in (data / "cli.env").read_text().splitlines())
        commands = {name: value for name, _, value in variables if value}
        tokens = {MAIN: ready["token"]} | await _accounts(commands["METRION_NATS_URL"], secret=ready["token"])
        await _until_accepted(ready["gateway"], tokens)
        yield Stack(data, ready["gateway"], ready["clickhouse"], ready["dashboard"], tokens, commands)
    finally:
        await _stop(process)
        if log is not None:
            await log


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


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
    standard = plan.Settings()
    variables = {name: f"METRION_{name}_PORT" for name in _PORTS}
    found = {variable: caller[variable] for variable in variables.values() if caller.get(variable)}
    for name, variable in variables.items():
        if variable in found:
            continue
        port = getattr(standard, f"{name.lower()}_port") + _ABOVE
        while not children.is_free(port) or str(port) in found.values():
            port = children.free_port()
        found[variable] = str(port)
    return found


async def _until_ready(output: asyncio.StreamReader) -> tuple[Mapping[str, str], list[str]]:
    """The ready line and all lines before it; CannotStart if it never appears."""
    lines: list[str] = []
    while line := (await output.readline()).decode(errors="replace"):
        lines.append(line)
        if found := _READY.match(line):
            return found.groupdict(), lines
    last = [line for line in lines if line.strip()][-5:]
    raise CannotStart("".join(last).strip().replace("set METRION_DATA_DIR to", "choose with --data-dir"))


async def _write_log(output: asyncio.StreamReader, path: Path, lines: list[str]) -> None:
    """Copy the services' output to a file, to keep the screen for the demo."""
    with path.open("w") as file:
        file.writelines(lines)
        while line := await output.readline():
            file.write(line.decode(errors="replace"))
            file.flush()


async def _accounts(url: str, *, secret: str) -> dict[str, str]:
    """The other accounts and their tokens, derived from the folder's first token."""
    found: dict[str, str] = {}
    client = await nats_client.connect(url, service="cli")
    try:
        js = client.jetstream()
        for account, name in CAST.tokens.items():
            if account != MAIN:
                digest = hashlib.sha256(f"{secret} {account}".encode()).hexdigest()
                found[account] = accounts_admin.TOKEN_PREFIX + digest[:32]
                await accounts_admin.ensure_account(js, account)
                await accounts_admin.ensure_token(js, account=account, name=name, token=found[account])
    except (nats.errors.Error, nats.js.errors.Error, accounts_admin.AccountError) as error:
        raise CannotStart(f"accounts: {error}") from error
    finally:
        await client.close()
    return found


async def _until_accepted(gateway: str, tokens: Mapping[str, str]) -> None:
    """Wait until the gateway accepts all tokens, shortly after they are written."""
    async with asyncio.timeout(15), aiohttp.ClientSession() as session:
        for token in tokens.values():
            headers = {"authorization": f"Bearer {token}", "x-metrion-user": "demo"}
            while True:
                async with session.get(f"{gateway}/api/proxy/openai/v1/models", headers=headers) as response:
                    if response.status != 401:
                        break
                await asyncio.sleep(0.05)
