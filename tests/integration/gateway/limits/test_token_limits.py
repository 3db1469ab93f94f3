"""Limits of tokens per minute over a real nats-server."""

import asyncio
import json
from pathlib import Path

from services.gateway.limits.limiter import Limiter
from services.gateway.limits.tokens import TokenHold
from services.gateway.request.errors import Refusal
from services.gateway.usage.used_tokens import UsedTokens
from shared import nats_client
from tests.support import servers
from tests.support.gateway_app import Responder, plain, system
from tests.support.gateway_app import request as request_bytes
from tests.support.rate_limits import Limits, limit, limiters, request

BODY = json.dumps({"model": "m", "max_tokens": 100, "text": "x" * 355}).encode()  # 400 bytes: expected to use 200
OK = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


async def holds(made: list[Limiter], tries: int) -> list[TokenHold]:
    """What the requests that pass have reserved."""

    async def one(limiter: Limiter) -> TokenHold | None:
        try:
            return await limiter.check(request(), [], body=BODY)
        except Refusal as refusal:
            assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
            return None

    found = await asyncio.gather(*(one(made[number % len(made)]) for number in range(tries)))
    return [hold for hold in found if hold is not None]


async def test_three_gateways_reserve_exactly_the_limit_and_what_is_unused_serves_others(
    tmp_path: Path, clock: list[float], patient: None
) -> None:
    assert len(BODY) == 400
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with limiters(server, 3, Limits(limit(10_000, measure="tokens", token="*"))) as made:
            first = await holds(made, 300)
            assert {hold.expected for hold in first} == {200}
            assert len(first) == 50
            clock[0] += 2
            assert await holds(made, 30) == []
            for number, hold in enumerate(first):
                made[number % 3].settle(hold, UsedTokens(50, 70))
            await _told(made)
            clock[0] += 2  # they refuse for a second at most without asking NATS
            second = await holds(made, 300)  # 4,000 are left, and 120 is what the next ones are expected to use
            assert {hold.expected for hold in second} == {120}
            assert 31 <= len(second) <= 33, "up to 1 % may stay with each gateway"


async def test_use_beyond_what_was_reserved_counts_too(tmp_path: Path, clock: list[float], patient: None) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with limiters(server, 2, Limits(limit(10_000, measure="tokens"))) as made:
            (hold,) = await holds(made[:1], 1)
            made[0].settle(hold, UsedTokens(100, 9_700))
            await _told(made)
            assert len(await holds(made[1:], 20)) == 1


async def _told(made: list[Limiter]) -> None:
    """Wait until the counter knows what the gateways know."""
    for one in made:
        for counted in one._current.values():
            if counted.window._leasing is not None:
                await counted.window._leasing


def answer(usage: bytes, status: bytes = b"200 OK") -> Responder:
    body = b'{"object":"chat.completion","choices":[],"usage":%s}' % usage
    return plain(OK % (status, len(body), body))


async def test_gateway_corrects_by_the_usage_of_the_response(tmp_path: Path, clock: list[float], patient: None) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        nc = await nats_client.connect(server.url("gateway"), service="gateway")
        try:
            async with system() as running:
                running.tokens.limited = [limit(1000, "tpm", measure="tokens")]
                running.limiter.attach(nc)
                used = b'{"prompt_tokens":100,"completion_tokens":500,"total_tokens":600}'
                expected = [  # response, status, tokens left before it is known what it uses
                    (answer(used), b"200", 800),
                    (answer(b"null", b"500 Internal Server Error"), b"500", 0),
                    (answer(used), b"200", 0),
                    (answer(used), b"429", 0),
                ]
                for response, status, left in expected:
                    running.upstream.respond = response
                    got = await running.send(request_bytes(body=BODY))
                    head = got.partition(b"\r\n\r\n")[0]
                    assert head.split(b" ")[1] == status, head
                    if status == b"200" and left:
                        assert f"x-ratelimit-remaining-tokens: {left}".encode() in head
                    assert b'RateLimit-Policy: "tpm";q=1000;w=60;qu="tokens"' in head
                    await _told([running.limiter])
                assert b"The limit tpm of 1,000 tokens per minute is reached; try again in " in got
                models = request_bytes("GET", "/api/proxy/openai/v1/models", body=b"")
                assert (await running.send(models)).startswith(b"HTTP/1.1 200 "), "reading uses no tokens"
        finally:
            await nc.close()
