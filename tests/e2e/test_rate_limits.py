"""A limit set on the command line stops SDKs with their own rate-limit exception, and its refusals are rows."""

import asyncio
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.sdk_calls import HELLO, LIMITED, Way, refusal
from tests.support import servers
from tests.support.system import TOKEN, System, system


@pytest.fixture
def way(metrion: System) -> Way:
    return Way(metrion, through=True)


@pytest.mark.parametrize("sdk", LIMITED)
def test_sdk_raises_its_rate_limit_error_beyond_the_limit(metrion: System, way: Way, sdk: str) -> None:
    name = f"one-{sdk}"
    metrion.done("limit", "set", name, "--requests", "2", "--requester", way.user)
    assert way.user in metrion.done("limit", "list", "--json")
    asked = len(metrion.provider.requests)
    error, _ = refusal(sdk, way)
    response = error.response
    assert (response.status_code, response.headers["retry-after"].isdigit()) == (429, True)
    assert f"The limit {name} of 2 requests per minute is reached" in str(error)
    (row,) = metrion.wait_for_rows(1, f"requester = '{way.user}' AND status = 429")
    assert (row["error_type"], Decimal(row["cost"])) == ("rate_limit_exceeded", Decimal(0))
    allowed = len(metrion.provider.requests) - asked
    assert len(metrion.wait_for_rows(allowed, f"requester = '{way.user}' AND status = 200")) == allowed >= 2
    metrion.done("limit", "delete", name)
    servers.wait_for(lambda: _passes(sdk, way), "requests to pass again")
    way.close()


def _passes(sdk: str, way: Way) -> bool:
    call, refused = LIMITED[sdk]
    try:
        call(way)
    except refused:
        return False
    return True


def test_new_installation_limits_each_token_until_an_account_says_otherwise(tmp_path: Path) -> None:
    with system(tmp_path, default_requests_per_minute="") as new:  # as if it was not set
        default = '"default";q=100;w=60'
        first = [one for _ in range(10) for one in policies(new, 10)]
        assert {policy for _, policy in first} == {default}
        assert [status for status, _ in first].count(429) < 5, "a new minute may have begun, and it weighs the last one"
        servers.wait_for(lambda: (429, default) in policies(new, 60), "a refusal")
        new.done("limit", "set", "own", "--requests", "5000", "--token", "test")
        servers.wait_for(lambda: policies(new, 1) == [(200, '"own";q=5000;w=60')], "the account's own limit")


def policies(metrion: System, tries: int) -> list[tuple[int, str]]:
    """Status and RateLimit-Policy of so many requests at once, as a busy machine takes long for one after another."""

    async def ask(session: aiohttp.ClientSession) -> tuple[int, str]:
        body = {"model": "gpt-4o-mini", "messages": HELLO}
        async with session.post(f"{metrion.url}/openai/v1/chat/completions", json=body) as response:
            return response.status, response.headers["ratelimit-policy"]

    async def ask_all() -> list[tuple[int, str]]:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            return await asyncio.gather(*(ask(session) for _ in range(tries)))

    return asyncio.run(ask_all())
