"""The processes under comparison, with their CPU, memory and stored events."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import psutil
from nats.aio.client import Client

from deploy.local import children
from shared import accounts_admin, events, nats_client
from tests.support import paths, ports, servers

ROOT = paths.ROOT
TOKEN = "sk-metrion-" + "b" * 32
_PATH = "/v1/chat/completions"
_STORED_WITHIN = 30.0  # seconds after the last request


class Peer(NamedTuple):
    """One way to the provider. `pid` is the measured process, 0 for direct access."""

    name: str
    port: int
    path: str
    pid: int


class Bench(NamedTuple):
    """What runs. `logger` is a NATS connection that may read the events, `ops_port` the gateway's."""

    direct: Peer
    bare: Peer
    gateway: Peer
    nats_pid: int
    logger: Client
    ops_port: int
    nats_urls: dict[str, str]  # by user


@contextlib.asynccontextmanager
async def started(
    folder: Path, overrides: Mapping[str, str] | None = None, gateway_module: str = "services.gateway"
) -> AsyncIterator[Bench]:
    """Direct access, the bare proxy and the gateway, with a nats-server that stores every event.

    `overrides`: of the gateway's environment.
    """
    with servers.nats_server(folder / "nats") as nats, contextlib.ExitStack() as stack:
        admin = await nats_client.connect(nats.url("admin"), service="admin")
        logger = await nats_client.connect(nats.url("admin"), service="cli")
        await servers.provision(nats)
        await accounts_admin.ensure_account(admin.jetstream(), "default")
        await accounts_admin.ensure_token(admin.jetstream(), account="default", name="bench", token=TOKEN)
        upstream, bare, gateway, ops = (ports.free_port() for _ in range(4))
        url = f"http://127.0.0.1:{upstream}"
        environment = {
            "METRION_NATS_URL": nats.url("gateway"),
            "METRION_GATEWAY_HOST": "127.0.0.1",
            "METRION_GATEWAY_PORT": str(gateway),
            "METRION_GATEWAY_OPS_PORT": str(ops),
            "METRION_GATEWAY_DIR": str(folder / "gateway"),
            "METRION_UPSTREAM_OPENAI": url,
            "METRION_LOG_LEVEL": "WARNING",
            "METRION_DEFAULT_REQUESTS_PER_MINUTE": "0",
            "OPENAI_API_KEY": "upstream-key",
            **(overrides or {}),
        }
        start(stack, ["tests.bench.upstream", str(upstream)], upstream)
        bare_pid = start(stack, ["tests.bench.bare_proxy", str(bare), url], bare)
        gateway_pid = start(stack, [gateway_module], gateway, environment)
        servers.wait_for(lambda: servers.answers(f"http://127.0.0.1:{ops}/readyz"), "the gateway's readiness")
        try:
            yield Bench(
                Peer("direct", upstream, _PATH, 0),
                Peer("bare", bare, _PATH, bare_pid),
                Peer("gateway", gateway, f"/api/proxy/openai{_PATH}", gateway_pid),
                nats.pid,
                logger,
                ops,
                {user: nats.url(user) for user in nats.users},
            )
        finally:
            await admin.close()
            await logger.close()


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Give this thread some cores for as long, and the processes that it starts meanwhile for good."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(measured: set[int]) -> None:
    """Give the measured processes the first core, and this process with all others below it the rest."""
    first, *others = sorted(os.sched_getaffinity(0))
    for pid in tree(os.getpid()):
        for thread in psutil.Process(pid).threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, {first} if pid in measured or not others else set(others))


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def start(
    stack: contextlib.ExitStack, arguments: list[str], port: int, environment: dict[str, str] | None = None
) -> int:
    """Start a Python module, wait until it listens, have it stopped with the stack: its process id."""
    process = launch(stack, [sys.executable, "-m", *arguments], environment)
    servers.wait_for(lambda: children.answers(port), arguments[0], abort=lambda: process.poll() is not None)
    return process.pid


def launch(
    stack: contextlib.ExitStack,
    command: list[str],
    environment: dict[str, str] | None = None,
    *,
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command that is stopped with the stack. `output`: where what it prints goes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, **(environment or {})},
        stdout=output,
        stderr=output,
        preexec_fn=children.kill_with_parent(os.getpid()),
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        print(f"process {process.pid} had to be killed: it did not stop within 20 s")


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used, user and system, all threads."""
    if not pid:
        return 0.0
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | 2)  # its CPU clock: /proc only counts in steps of 10 ms
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def peak_megabytes(pid: int) -> float:
    """The most memory a process has had resident, in 10^6 bytes; where the system does not say: what it has now."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6
    return float(psutil.Process(pid).memory_info().rss) / 1e6


async def stored(logger: Client, *ops_ports: int) -> tuple[int, int]:
    """Events in the stream once the gateways' outboxes are empty, beats left out: (all, distinct)."""
    deadline = time.monotonic() + _STORED_WITHIN
    for port in ops_ports:
        while await asyncio.to_thread(_pending, port) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
    js = logger.jetstream()
    info = await js.stream_info(events.EVENTS_STREAM)
    subscription = await js.subscribe(f"{events.EVENTS_SUBJECT}.>", ordered_consumer=True)
    count, distinct = 0, set()
    for _ in range(info.state.messages):
        message = await subscription.next_msg(timeout=10)
        for frame in events.frames(message.data):
            event = events.decode(frame)
            if not isinstance(event, events.GatewayBeat):
                count += 1
                distinct.add(event.origin)
    await subscription.unsubscribe()
    return count, len(distinct)


def _pending(ops_port: int) -> float:
    """Bytes in the gateway's outbox that NATS has not stored yet."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{ops_port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("metrion_gateway_outbox_bytes ")).split()[1])
