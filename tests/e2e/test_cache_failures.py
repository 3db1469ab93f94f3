"""The cache killed, frozen and restarted under load harms no client; what it keeps outlasts everything; a dead caller is
replaced by one that waits."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import ports, servers
from tests.support.mock_provider import SECONDS_A_CHUNK
from tests.support.system import TOKEN, Service, System, system

CLIENTS = 8
PATIENCE = 30.0  # seconds that no answer takes even on a busy machine: a frozen cache costs 0.25, a wait in vain 60


@pytest.fixture
def metrion(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as found:
        yield found


async def ask(session: aiohttp.ClientSession, base: str, question: object, **headers: str) -> tuple[str, bytes, float]:
    """(mark, body, seconds) of one answer; anything but a whole 200 raises."""
    body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": str(question)}]}
    if headers:
        body["stream"] = True
    began = time.monotonic()
    async with session.post(
        f"{base}/openai/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {TOKEN}", "x-metrion-cache": "true", **headers},
    ) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["x-metrion-cache"], await answer.read(), time.monotonic() - began


class Load:
    """Clients that keep asking the same few questions until told to stop."""

    def __init__(self, system: System) -> None:
        self._system, self._stop = system, asyncio.Event()
        self.marks: Counter[str] = Counter()
        self.longest = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)  # what failed for any client is raised here

    async def _client(self, number: int) -> None:
        async with aiohttp.ClientSession() as session:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                mark, _, seconds = await ask(session, self._system.url, (number * turn) % 11)
                self.marks[mark] += 1
                self.longest = max(self.longest, seconds)
                await asyncio.sleep(0.005)

    async def more(self, mark: str, count: int) -> None:
        """Wait until so many more answers bear the mark."""
        goal = self.marks[mark] + count
        async with asyncio.timeout(servers.DEADLINE):
            while self.marks[mark] < goal:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.02)


def gauge(service: Service, name: str) -> float:
    lines = (service.get("/metrics") or "").splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def test_a_cache_that_is_killed_frozen_and_restarted_under_load_harms_no_client(metrion: System) -> None:
    assert metrion.cache.process is not None
    async with Load(metrion) as load:
        await load.more("HIT", 200)
        metrion.cache.process.send_signal(signal.SIGSTOP)
        await load.more("MISS", 100)
        assert gauge(metrion.gateway, "metrion_gateway_cache_breaker_open") == 1
        metrion.cache.process.send_signal(signal.SIGCONT)
        await load.more("HIT", 200)  # the breaker closed again
        await asyncio.to_thread(metrion.cache.kill)
        await load.more("MISS", 100)
        await asyncio.to_thread(metrion.cache.start)
        await load.more("HIT", 200)
    assert load.longest < PATIENCE
    total = sum(load.marks.values())
    rows = metrion.wait_for_rows(total)
    assert Counter(row["cache"] for row in rows) == load.marks
    assert len(rows) == total
    assert gauge(metrion.gateway, "metrion_gateway_cache_breaker_open") == 0


async def test_cached_entries_survive_restarts_of_all_parts(metrion: System) -> None:
    async with aiohttp.ClientSession() as session:
        _, kept, _ = await ask(session, metrion.url, "kept")
    await asyncio.to_thread(
        servers.wait_for, lambda: gauge(metrion.gateway, "metrion_gateway_cache_stores_total") == 1, "the store"
    )
    for part in (metrion.cache, metrion.gateway, metrion.nats):
        part.kill()
    for part in (metrion.nats, metrion.cache, metrion.gateway):
        part.start()
    async with aiohttp.ClientSession() as session:
        mark, again, _ = await ask(session, metrion.url, "kept")
        assert (mark, again) == ("HIT", kept)
        metrion.nats.kill()  # under their feet
        metrion.nats.start()

        async def hit() -> None:
            while (await ask(session, metrion.url, "kept"))[0] != "HIT":
                await asyncio.sleep(0.1)

        await asyncio.wait_for(hit(), servers.DEADLINE)


async def test_when_the_leading_gateway_is_killed_a_waiting_one_takes_over(metrion: System, tmp_path: Path) -> None:
    # No lookup is given up on a busy machine, and who waits in vain does so for longer than the test may take.
    metrion.gateway.environment |= {"METRION_CACHE_TIMEOUT": "60", "METRION_CACHE_WAIT": "3600"}
    metrion.gateway.kill()
    metrion.gateway.start()
    port, ops = ports.free_port(), ports.free_port()
    environment = metrion.gateway.environment | {
        "METRION_GATEWAY_PORT": str(port),
        "METRION_GATEWAY_OPS_PORT": str(ops),
        "METRION_GATEWAY_DIR": str(tmp_path / "other"),
        "METRION_GATEWAY_NAME": "other",
    }
    other = Service("gateway", ops, environment, tmp_path / "other.log")
    other.start()
    try:
        async with aiohttp.ClientSession() as session:
            slow = asyncio.create_task(ask(session, metrion.url, "led", **{SECONDS_A_CHUNK: "600"}))
            await asyncio.to_thread(servers.wait_for, lambda: metrion.provider.requests, "the first call")
            base = f"http://127.0.0.1:{port}/api/proxy"
            waiting = [asyncio.create_task(ask(session, base, "led", **{SECONDS_A_CHUNK: "0"})) for _ in range(5)]
            held = 'metrion_cache_lookup_seconds_count{outcome="held"}'  # a lookup that found the lease taken
            await asyncio.to_thread(servers.wait_for, lambda: gauge(metrion.cache, held) > 0, "the wait")
            assert gauge(other, "metrion_gateway_cache_flights") == 1
            assert len(metrion.provider.requests) == 1
            metrion.gateway.kill()
            with pytest.raises(aiohttp.ClientError):
                await slow
            async with asyncio.timeout(servers.DEADLINE):
                answers = await asyncio.gather(*waiting)  # as soon as the lease of the one that was killed ran out
            assert sorted(mark for mark, _, _ in answers) == ["HIT"] * 4 + ["MISS"]
            assert len(metrion.provider.requests) == 2
    finally:
        other.kill(signal.SIGTERM)
