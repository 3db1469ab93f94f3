"""Any part may be killed under load: what a client has an answer to is recorded exactly once, to the cent."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import aiohttp
import pytest

from shared import clickhouse
from shared.completeness import verdict
from tests.support import servers
from tests.support.mock_provider import SECONDS_A_CHUNK
from tests.support.system import TOKEN, System, system

SECONDS = 5.0
PAUSE = 0.04  # between two requests
BODIES = {
    "json": ({"model": "gpt-4o-mini", "messages": []}, Decimal("0.00000765"), 27),
    "stream": ({"model": "gpt-4o-mini", "messages": [], "stream": True}, Decimal("0.0000093"), 35),
}


@pytest.fixture(scope="module")
def metrion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("metrion")) as found:
        yield found


class Load:
    """Requests, each under a requester of its own; `answered` holds those whose whole answer came."""

    def __init__(self, metrion: System) -> None:
        self.run_id, self._metrion = uuid.uuid4().hex[:8], metrion
        self.answered: dict[str, str] = {}
        self.failed: list[str] = []

    async def run(self) -> None:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(int(SECONDS / PAUSE)):
                tasks.create_task(self._one(session, f"{self.run_id}-{number}", "stream" if number % 2 else "json"))
                await asyncio.sleep(PAUSE)

    async def _one(self, session: aiohttp.ClientSession, user: str, kind: str) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "x-metrion-user": user, SECONDS_A_CHUNK: "0.05"}
        url = f"{self._metrion.url}/openai/v1/chat/completions"
        try:
            async with session.post(url, data=json.dumps(BODIES[kind][0]), headers=headers | JSON) as answer:
                body = await answer.read()
                whole = body.endswith(b"data: [DONE]\n\n") if kind == "stream" else b"usage" in body
                assert answer.status == 200
                assert whole
                self.answered[user] = kind
        except (aiohttp.ClientError, OSError):
            self.failed.append(user)


JSON = {"Content-Type": "application/json"}


async def completeness(metrion: System) -> list[dict[str, object]]:
    client = await clickhouse.connect(metrion.clickhouse.url("logger"), service="test")
    try:
        return list(await clickhouse.run_query(client, "completeness", since="2020-01-01 00:00:00"))
    finally:
        await client.close()


async def under_load(metrion: System, kill: AsyncIterator[None]) -> Load:
    load = Load(metrion)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(SECONDS / 3)
    async for _ in kill:
        await asyncio.sleep(1)
    await running
    return load


def assert_booked(metrion: System, load: Load) -> None:
    """Every answered request has exactly one row with its exact usage and cost; all sums agree."""
    mine = f"startsWith(requester, '{load.run_id}-')"
    complete = f"{mine} AND outcome = 'complete'"  # among them may be some whose last bytes a kill has cut
    servers.wait_for(
        lambda: load.answered.keys() <= {row["requester"] for row in metrion.rows(complete, "requester, started_at")},
        "a row of each answered request",
        explain=lambda: metrion.logger.log.read_text()[-2000:],
    )
    assert_complete(metrion)  # no other is still to come
    rows = metrion.rows(mine)
    by_user: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_user.setdefault(str(row["requester"]), []).append(row)
    assert all(len(found) == 1 for found in by_user.values())
    for user, kind in load.answered.items():
        (row,) = by_user[user]
        _, cost, tokens = BODIES[kind]
        assert (row["outcome"], Decimal(str(row["cost"])), row["input_tokens"] + row["output_tokens"]) == (  # type: ignore[operator]
            "complete",
            cost,
            tokens,
        )
    total = sum(BODIES[kind][1] for kind in load.answered.values())
    (found,) = metrion.rows(complete, "sum(cost) AS total, count() AS n, any(started_at) AS started_at")
    booked_only = [user for user in by_user if user not in load.answered and by_user[user][0]["outcome"] == "complete"]
    extra = sum((Decimal(str(by_user[user][0]["cost"])) for user in booked_only), Decimal(0))
    assert Decimal(str(found["total"])) == total + extra
    assert set(booked_only) <= set(load.failed)


def assert_complete(metrion: System) -> None:
    """Nothing can be missing of any start of a gateway, killed ones included, and no number is borne twice."""
    servers.wait_for(
        lambda: verdict(asyncio.run(completeness(metrion))).complete,
        "completeness",
        explain=lambda: str(asyncio.run(completeness(metrion))),
    )
    assert all(row["duplicated"] == 0 for row in asyncio.run(completeness(metrion)))


async def _restart(service: object) -> AsyncIterator[None]:
    service.kill()  # type: ignore[attr-defined]
    yield
    service.start()  # type: ignore[attr-defined]


@pytest.mark.parametrize("victim", ["logger", "cache", "nats", "clickhouse"])
def test_killing_a_part_behind_the_gateway_fails_no_request_and_loses_no_row(metrion: System, victim: str) -> None:
    load = asyncio.run(under_load(metrion, _restart(getattr(metrion, victim))))
    assert load.failed == []
    assert len(load.answered) == int(SECONDS / PAUSE)
    assert_booked(metrion, load)
    assert_complete(metrion)


def test_killed_gateway_keeps_its_responses_and_the_rest_becomes_interrupted(metrion: System) -> None:
    load = asyncio.run(under_load(metrion, _restart(metrion.gateway)))
    assert load.failed, "the kill must hit requests under way"
    assert_booked(metrion, load)
    mine = f"startsWith(requester, '{load.run_id}-')"
    servers.wait_for(
        lambda: metrion.rows(f"{mine} AND outcome = 'interrupted'"),
        "the open requests' rows",
        explain=lambda: str(load.failed),
    )
    for row in metrion.rows(f"{mine} AND outcome = 'interrupted'"):
        assert row["requester"] in load.failed
        assert (row["cost"], row["cost_reason"]) == (None, "interrupted")
    assert_complete(metrion)
