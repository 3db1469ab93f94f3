"""What responses say about the limits that cover a request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared import nats_client
from tests.support import cache_replicas, servers
from tests.support.cache_replicas import replica
from tests.support.gateway_app import System, plain, request, system
from tests.support.rate_limits import limit

CHAT, MESSAGES = "/api/proxy/openai/v1/chat/completions", "/api/proxy/anthropic/v1/messages"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"


@contextlib.asynccontextmanager
async def gateway(server: servers.NatsServer) -> AsyncIterator[System]:
    nc = await nats_client.connect(server.url("gateway"), service="gateway")
    try:
        async with system(nc=nc, cache_timeout=60.0, cors_origins=("https://app.example",)) as running:
            running.limiter.attach(nc)
            yield running
    finally:
        await nc.close()


async def limit_lines(running: System, path: str = CHAT, *, headers: bytes = b"") -> list[str]:
    """Header lines of a response that are about limits, in order."""
    response = await running.send(request(path=path, headers=headers))
    lines = response.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return [line for line in lines if "ratelimit" in line.lower()]


async def test_each_covering_limit_is_named_the_tightest_first(
    tmp_path: Path, clock: list[float], patient: None
) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with gateway(server) as running:
            running.tokens.limited = [limit(50, "each-token", token="*"), limit(8, "ann", requester="ann")]
            assert await limit_lines(running, headers=b"x-metrion-user: ann\r\n") == [
                'RateLimit-Policy: "ann";q=8;w=60, "each-token";q=50;w=60',
                'RateLimit: "ann";r=7;t=59, "each-token";r=49;t=59',
                "x-ratelimit-limit-requests: 8",
                "x-ratelimit-remaining-requests: 7",
                "x-ratelimit-reset-requests: 59s",
            ]
            clock[0] += 40
            assert await limit_lines(running, MESSAGES) == [
                'RateLimit-Policy: "each-token";q=50;w=60',
                'RateLimit: "each-token";r=48;t=19',
                "anthropic-ratelimit-requests-limit: 50",
                "anthropic-ratelimit-requests-remaining: 48",
                "anthropic-ratelimit-requests-reset: 2025-02-19T21:21:00Z",
            ]
            running.tokens.limited = []
            assert await limit_lines(running) == []


async def test_provider_s_own_limits_are_passed_on_as_they_are(
    tmp_path: Path, clock: list[float], patient: None
) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        async with gateway(server) as running:
            running.tokens.limited = [limit(50, token="*")]
            running.upstream.respond = plain(OK % (b"X-RateLimit-Remaining-Requests: 4999\r\n", 2, b"{}"))
            assert await limit_lines(running) == [
                "X-RateLimit-Remaining-Requests: 4999",
                'RateLimit-Policy: "one";q=50;w=60',
                'RateLimit: "one";r=49;t=59',
            ]


@pytest.mark.parametrize("origin", ["", "https://app.example"])
async def test_cached_and_refused_responses_have_the_headers_for_browsers_too(
    nats: servers.NatsServer, patient: None, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_replicas.wait_long(monkeypatch)
    body = (
        b'{"id":"1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":'
        b'"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    )
    headers = b"x-metrion-cache: true\r\n" + (f"Origin: {origin}\r\n".encode() if origin else b"")
    name = f"three-{len(origin)}"
    async with replica(nats), gateway(nats) as running:
        running.upstream.respond = plain(OK % (b"", len(body), body))
        running.tokens.limited = [limit(3, name, token="*")]
        heads: list[bytes] = []
        async with asyncio.timeout(servers.DEADLINE):
            while not heads or b" 429 " not in heads[-1]:  # a minute may end meanwhile
                asked = request(headers=headers, body=b'{"model":"gpt-4o","messages":[%d]}' % len(origin))
                heads.append((await running.send(asked)).partition(b"\r\n\r\n")[0])
        assert any(b"x-metrion-cache: HIT" in head for head in heads)
        for head in heads:
            assert f'RateLimit-Policy: "{name}";q=3;w=60'.encode() in head
            assert f'RateLimit: "{name}";r='.encode() in head
            assert (b"Access-Control-Expose-Headers: *" in head) is bool(origin)
        assert f'"{name}";r=0;'.encode() in heads[-1]
