"""Cost of rate limits: CPU of requests with several of them, and how long a burst waits for its permits."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from services.gateway.limits.limiter import Limiter
from shared import accounts_admin, nats_client
from shared.events import OPENAI_CHAT, Envelope
from shared.limits import admin
from shared.limits.model import Limit, Scope
from tests.bench.load import Load, Outcome
from tests.bench.peers import TOKEN, Bench, cpu_seconds

NOW = datetime.now(UTC)
CONCURRENCY = 32
REQUESTS = 400
SINGLES = 50
ROUNDS = 40  # short ones, so that what else the machine does hits all accounts
OFF = "no limit"
SETTLE = 0.1  # seconds after the load
_NEVER = Decimal(10_000_000)  # per minute
# The limits of an account, by what they measure and cover.
_ACCOUNTS = {
    "one limit": [("requests", Scope(token="*"))],
    "three limits": [
        ("requests", Scope(token="*")),
        ("requests", Scope(requester="*")),
        ("requests", Scope(model="gpt-*")),
    ],
    "tokens per minute": [("tokens", Scope(token="*"))],
}


BURST_SECONDS = 10
BURST_PER_SECOND = 1000
BURST_LIMIT = 60_000  # per minute, as much as the burst makes


class Limits:
    """The limits of the burst's account."""

    def __init__(self, *limits: Limit) -> None:
        self._limits = limits

    def limits(self, account: str) -> Sequence[Limit]:
        return self._limits


class Round(NamedTuple):
    """One round of one account. CPU is in seconds per request, of the gateway and of the nats-server."""

    cpu: float
    nats_cpu: float
    busy: Outcome
    single: Outcome


async def compare(bench: Bench, body: bytes, *, rounds: int) -> dict[str, Any]:
    """Medians by account, and the median of the rounds' ratios to no limit."""
    tokens = {OFF: TOKEN} | await _accounts(bench)
    samples: list[dict[str, Round]] = []
    for number in range(rounds + 1):
        order = list(tokens)
        turn = number % len(order)
        found = {name: await _measure(bench, tokens[name], body) for name in (*order[turn:], *order[:turn])}
        if number:  # the first is to warm up
            samples.append(found)
    return {name: _medians(samples, name) for name in tokens}


async def waits(bench: Bench) -> dict[str, float]:
    """How long the checks of a burst take, with permits leased from the real NATS."""
    nc = await nats_client.connect(bench.nats_urls["gateway"], service="gateway")
    limiter = Limiter(Limits(Limit("burst", "burst", NOW, Decimal(BURST_LIMIT), scope=Scope(token="*"))), name="bench")
    limiter.attach(nc)
    without = Limiter(Limits(), name="bench")
    request = Envelope(
        "id", "burst", "app", "", {}, "openai", OPENAI_CHAT, "POST /v1/chat/completions", "gpt-4o", False, NOW, "bench"
    )
    durations: dict[Limiter, list[float]] = {limiter: [], without: []}
    cpu = {limiter: 0.0, without: 0.0}

    async def check(one: Limiter) -> None:
        began = time.perf_counter()
        await one.check(request, [])
        durations[one].append(time.perf_counter() - began)

    together = BURST_PER_SECOND // 100
    for _ in range(BURST_SECONDS * 100):
        for one in cpu:  # each after a pause, so that both find the same caches
            began = time.process_time()
            await asyncio.gather(*(check(one) for _ in range(together)))
            cpu[one] += time.process_time() - began
            await asyncio.sleep(0.005)
    await nc.close()
    waited = sorted(durations[limiter])
    return {
        "p50_us": statistics.median(waited) * 1e6,
        "p99_us": waited[len(waited) * 99 // 100] * 1e6,
        "most_us": waited[-1] * 1e6,
        "cpu_us": cpu[limiter] / len(waited) * 1e6,
        "cpu_without_us": cpu[without] / len(waited) * 1e6,
        "leases": float(limiter.leases),
        "requests": float(len(waited)),
    }


def waits_line(found: dict[str, float], *, whole_us: float) -> str:
    """The waits as text. `whole_us`: CPU of a whole request without a limit."""
    limit_us = found["cpu_us"] - found["cpu_without_us"]
    return (
        f"burst of {found['requests']:.0f} requests, {BURST_PER_SECOND} a second, limit {BURST_LIMIT:,} per minute: "
        f"check p50 {found['p50_us']:.0f} µs, p99 {found['p99_us']:.0f} µs, most {found['most_us']:.0f} µs, "
        f"{found['leases']:.0f} leases\n"
        f"CPU of a task with the check {found['cpu_us']:.1f} µs, without a limit {found['cpu_without_us']:.1f} µs: the "
        f"limit takes {limit_us:.1f} µs, {limit_us / whole_us:.3f} of a whole request"
    )


async def _accounts(bench: Bench) -> dict[str, str]:
    """Accounts with limits: their tokens by name."""
    nc = await nats_client.connect(bench.nats_urls["admin"], service="admin")
    js = nc.jetstream()
    tokens = {}
    for name, limits in _ACCOUNTS.items():
        account = name.replace(" ", "-")
        await accounts_admin.create_account(js, account)
        tokens[name] = await accounts_admin.create_token(js, account=account, name="bench")
        for number, (measure, scope) in enumerate(limits):
            limit = Limit(account, f"limit-{number}", datetime.now(UTC), _NEVER, measure=measure, scope=scope)  # type: ignore[arg-type]
            await admin.put(js, limit)
    await nc.close()
    await asyncio.sleep(1.5)  # the gateway knows them by now
    return tokens


async def _measure(bench: Bench, token: str, body: bytes) -> Round:
    gateway = bench.gateway
    load = Load(gateway.port, gateway.path, token, body)
    before, nats_before = cpu_seconds(gateway.pid), cpu_seconds(bench.nats_pid)
    busy = await load.run(REQUESTS, CONCURRENCY)
    await asyncio.sleep(SETTLE)
    cpu, nats_cpu = cpu_seconds(gateway.pid) - before, cpu_seconds(bench.nats_pid) - nats_before
    return Round(cpu / REQUESTS, nats_cpu / REQUESTS, busy, await load.run(SINGLES, 1))


def _medians(samples: list[dict[str, Round]], name: str) -> dict[str, float]:
    own = [one[name] for one in samples]
    return {
        "cpu_us": statistics.median(one.cpu for one in own) * 1e6,
        "nats_cpu_us": statistics.median(one.nats_cpu for one in own) * 1e6,
        "p50_ms": statistics.median(one.single.p50 for one in own) * 1e3,
        "p95_ms": statistics.median(one.single.p95 for one in own) * 1e3,
        "requests_per_second": statistics.median(one.busy.rate for one in own),
        "cpu_ratio": statistics.median(one[name].cpu / one[OFF].cpu for one in samples),
    }


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    head = ("gateway CPU µs", "NATS CPU µs", "p50 ms", "p95 ms", "req/s", "CPU ratio")
    lines = [f"{'1 KB JSON':26}" + "".join(f"{column:>16}" for column in head)]
    for name, one in report.items():
        values = (
            f"{one['cpu_us']:.0f}",
            f"{one['nats_cpu_us']:.0f}",
            f"{one['p50_ms']:.2f}",
            f"{one['p95_ms']:.2f}",
            f"{one['requests_per_second']:.0f}",
            f"{one['cpu_ratio']:.3f}",
        )
        lines.append(f"  {name:24}" + "".join(f"{value:>16}" for value in values))
    return "\n".join(lines)
