"""The cache killed, frozen and restarted under load harms no client; what it keeps outlasts everything; a dead caller is
replaced by one that waits."""

import asyncio
import signal
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
# Who waits in vain for an identical request does so for longer than any client here waits for an answer.
IN_VAIN = "3600"
ANSWER = aiohttp.ClientTimeout(servers.DEADLINE)


@pytest.fixture
def metrion(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path, cache_wait=IN_VAIN) as found:
        yield found


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[System]:
    """A system that gives up no lookup on a busy machine."""
    with system(tmp_path, cache_wait=IN_VAIN, cache_timeout="10") as found:
        yield found


async def ask(session: aiohttp.ClientSession, base: str, question: object, **headers: str) -> tuple[str, bytes]:
    """(mark, body) of one answer; anything but a whole 200 in time raises."""
    body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": str(question)}]}
    if headers:
        body["stream"] = True
    async with session.post(
        f"{base}/openai/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {TOKEN}", "x-metrion-cache": "true", **headers},
        timeout=ANSWER,
    ) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["x-metrion-cache"], await answer.read()


async def ask_until_hit(session: aiohttp.ClientSession, base: str, question: str) -> None:
    """Ask until the gateway and its cache have found each other again."""
    async with asyncio.timeout(servers.DEADLINE):
        while (await ask(session, base, question))[0] != "HIT":
            await asyncio.sleep(0.1)


class Load:
    """Clients that keep asking the same few questions until told to stop."""

    def __init__(self, system: System) -> None:
        self._system, self._stop = system, asyncio.Event()
        self.marks: Counter[str] = Counter()
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
                mark, _ = await ask(session, self._system.url, (number * turn) % 11)
                self.marks[mark] += 1
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


async def test_killing_freezing_and_restarting_a_cache_under_load_fails_no_request(metrion: System) -> None:
    assert metrion.cache.process is not None
    async with Load(metrion) as load:
        await load.more("HIT", 200)
        metrion.cache.process.send_signal(signal.SIGSTOP)
        await load.more("MISS", 100)
        assert metrion.gateway.metric("metrion_gateway_cache_breaker_open") == 1
        metrion.cache.process.send_signal(signal.SIGCONT)
        await load.more("HIT", 200)  # the breaker closed again
        await asyncio.to_thread(metrion.cache.kill)
        await load.more("MISS", 100)
        await asyncio.to_thread(metrion.cache.start)
        await load.more("HIT", 200)

        def is_closed() -> bool:  # a lookup that takes long on a busy machine counts as a timeout, too
            return metrion.gateway.metric("metrion_gateway_cache_breaker_open") == 0

        await asyncio.to_thread(servers.wait_for, is_closed, "the breaker to close")
    total = sum(load.marks.values())
    rows = metrion.wait_for_rows(total)
    assert Counter(row["cache"] for row in rows) == load.marks
    assert len(rows) == total


async def test_cached_entries_survive_restarts_of_all_parts(patient: System) -> None:
    async with aiohttp.ClientSession() as session:
        _, kept = await ask(session, patient.url, "kept")
    stored = "metrion_gateway_cache_stores_total"
    await asyncio.to_thread(servers.wait_for, lambda: patient.gateway.metric(stored) == 1, "the store")
    for part in (patient.cache, patient.gateway, patient.nats):
        part.kill()
    for part in (patient.nats, patient.cache, patient.gateway):
        part.start()
    async with aiohttp.ClientSession() as session:
        await ask_until_hit(session, patient.url, "another")  # a gateway is ready before it is connected
        assert await ask(session, patient.url, "kept") == ("HIT", kept)
        patient.nats.kill()  # under their feet
        patient.nats.start()
        await ask_until_hit(session, patient.url, "kept")


async def test_when_the_leading_gateway_is_killed_a_waiting_one_takes_over(patient: System, tmp_path: Path) -> None:
    port, ops = ports.free_port(), ports.free_port()
    environment = patient.gateway.environment | {
        "METRION_GATEWAY_PORT": str(port),
        "METRION_GATEWAY_OPS_PORT": str(ops),
        "METRION_GATEWAY_DIR": str(tmp_path / "other"),
        "METRION_GATEWAY_NAME": "other",
    }
    other = Service("gateway", ops, environment, tmp_path / "other.log")
    other.start()
    try:
        async with aiohttp.ClientSession() as session:
            slow = asyncio.create_task(ask(session, patient.url, "led", **{SECONDS_A_CHUNK: "600"}))
            await asyncio.to_thread(servers.wait_for, lambda: patient.provider.requests, "the first call")
            base = f"http://127.0.0.1:{port}/api/proxy"
            waiting = [asyncio.create_task(ask(session, base, "led", **{SECONDS_A_CHUNK: "0"})) for _ in range(5)]
            held = 'metrion_cache_lookup_seconds_count{outcome="held"}'  # a lookup that found the lease taken
            await asyncio.to_thread(servers.wait_for, lambda: patient.cache.metric(held) > 0, "the wait")
            assert other.metric("metrion_gateway_cache_flights") == 1
            assert len(patient.provider.requests) == 1
            patient.gateway.kill()
            with pytest.raises(aiohttp.ClientError):
                await slow
            async with asyncio.timeout(servers.DEADLINE):
                answers = await asyncio.gather(*waiting)  # as soon as the lease of the one that was killed ran out
            assert sorted(mark for mark, _ in answers) == ["HIT"] * 4 + ["MISS"]
            assert len(patient.provider.requests) == 2
    finally:
        other.kill(signal.SIGTERM)
