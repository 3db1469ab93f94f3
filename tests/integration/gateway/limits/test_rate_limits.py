"""Rate limits over a real nats-server: several gateways, one counter."""

import asyncio
import json
from pathlib import Path

import pytest

from services.gateway.limits.limiter import Limiter
from shared import accounts_admin, nats_client
from shared.accounts_admin import AccountError
from shared.limits import admin as limit_admin
from tests.support import servers
from tests.support.gateway_app import request as request_bytes
from tests.support.gateway_app import system
from tests.support.rate_limits import Limits, allowed, is_allowed, limit, limiters, request, settled, wait_long


async def test_three_gateways_let_exactly_100_of_2400_requests_pass(
    tmp_path: Path, clock: list[float], patient: None
) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with limiters(server, 3, Limits(limit(100, token="*"))) as made:
            assert await allowed(made, 2400) == 100
            await settled(made)
            assert await allowed(made, 300) == 0
            await settled(made)
            clock[0] += 60  # 59 of the last 60 seconds are in the minute before
            assert await allowed(made, 300) == 2
            await settled(made)
            clock[0] += 60
            assert await allowed(made, 300) == 99
            assert await is_allowed(made[0], request("other"))  # another token has a limit of its own


async def test_gateway_that_starts_later_knows_the_minute_before(
    tmp_path: Path, clock: list[float], patient: None
) -> None:
    source = Limits(limit(100, token="*"))
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with limiters(server, 1, source) as made:
            assert await allowed(made, 80) == 80
        clock[0] += 74  # a quarter of the next minute is over
        async with limiters(server, 2, source) as made:
            assert await allowed(made, 300) == 40
            assert sum(one.leases for one in made) <= 8


async def test_gateway_that_stops_leaves_its_unused_permits_to_the_others(
    tmp_path: Path, clock: list[float], patient: None
) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with limiters(server, 2, Limits(limit(1000, token="*"))) as (stopping, other):
            for _ in range(50):
                assert await is_allowed(stopping)
            await stopping.close()
            assert await allowed([other], 1200) == 950


async def test_limits_hold_within_their_bound_while_nats_is_killed_and_after(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without NATS each gateway grants its share: at most twice the limit in all; the counter then knows of it."""
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with limiters(server, 3, Limits(limit(90, token="*"))) as made:
            with monkeypatch.context() as patch:
                wait_long(patch)
                before = await allowed(made, 30)
                await settled(made)
            server.kill()
            during = await allowed(made, 600)
            assert before == 30
            assert 87 <= during <= 90 + 60  # the shares, and at most what the counter still had
            server.start()
            await asyncio.wait_for(_reported(made), servers.DEADLINE)
            assert before + during + await allowed(made, 600) <= 180


async def _reported(made: list[Limiter]) -> None:
    """Wait until each gateway has reached NATS again."""
    for one in made:
        leases = one.leases
        while one.leases == leases or one._counters.nc is None or not one._counters.nc.is_connected:
            await is_allowed(one)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/proxy/openai/v1/chat/completions", ("error", "code", "rate_limit_exceeded")),
        ("/api/proxy/anthropic/v1/messages", ("error", "type", "rate_limit_error")),
        ("/api/proxy/gemini/v1beta/models/gemini-2.5-flash:generateContent", ("error", "status", "RESOURCE_EXHAUSTED")),
    ],
)
async def test_client_gets_429_with_retry_after_in_its_own_format(
    tmp_path: Path, clock: list[float], patient: None, path: str, found: tuple[str, str, str]
) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        nc = await nats_client.connect(server.url("gateway"), service="gateway")
        try:
            async with system() as running:
                running.tokens.limited = [limit(1, token="*")]
                running.limiter.attach(nc)
                data = b'{"model":"gpt-4o"}'
                first = await running.send(request_bytes(path=path, body=data))
                second = await running.send(request_bytes(path=path, body=data))
                assert first.startswith(b"HTTP/1.1 200 ")
                head, _, body = second.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 429 ")
                assert b"\r\nretry-after: 59\r\n" in head.lower() + b"\r\n"
                assert b"x-should-retry: false" not in head.lower()
                assert b'\r\nratelimit-policy: "one";q=1;w=60\r\nratelimit: "one";r=0;t=59\r\n' in head.lower()
                assert json.loads(body)[found[0]][found[1]] == found[2]
                assert b"The limit one of 1 request per minute for ci is reached; try again in 59 s." in body
                row = running.events.last
                assert (row.status, row.error_type, row.upstream) == (429, "rate_limit_exceeded", False)
                assert len(running.upstream.requests) == 1
        finally:
            await nc.close()


async def test_limit_of_an_unknown_account_or_token_is_refused(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        nc = await nats_client.connect(server.url("admin"), service="admin")
        js = nc.jetstream()
        try:
            with pytest.raises(AccountError, match="account 'acme' does not exist"):
                await limit_admin.put(js, limit(5))
            await accounts_admin.create_account(js, "acme")
            with pytest.raises(AccountError, match="no active token"):
                await limit_admin.put(js, limit(5, token="app"))
            with pytest.raises(AccountError, match="limit name"):
                await limit_admin.put(js, limit(5, name="a.b"))
            with pytest.raises(AccountError, match="more than 0"):
                await limit_admin.put(js, limit(0))
            await limit_admin.put(js, limit(5, token="*"))
            await limit_admin.put(js, limit(6, token="*"))
            assert [found.amount for found in (await accounts_admin.read(js)).limits.values()] == [6]
            await limit_admin.delete(js, account="acme", name="one")
            assert not (await accounts_admin.read(js)).limits
            with pytest.raises(AccountError, match="no limit"):
                await limit_admin.delete(js, account="acme", name="one")
        finally:
            await nc.close()
