"""Live traffic through the gateway, each request from a client of its own."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import aiohttp
import msgspec
from msgspec.structs import replace

from deploy.demo.calls import BROKEN_OFF, INVALID, OK, REFUSALS, Call, draw, with_result
from deploy.demo.cast import CAST, ENDPOINTS, GEMINI, REQUESTERS
from deploy.demo.provider import CALL, LONGEST

OWN_KEY = "sk-demo-of-the-client"  # a provider key that a pass-through client sends
_MOST_OPEN = 200  # concurrent calls: a slow machine gets less traffic instead of a backlog
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_REFUSING = ("messages", "chat", "gemini", "mistral", "grok")  # endpoints that refuse in every way: one per provider


class Progress(msgspec.Struct):
    """Progress of the clients."""

    sent: int = 0
    open: int = 0
    recorded: int = 0  # finished calls that must get rows


async def run(
    gateway: str, tokens: Mapping[str, str], progress: Progress, *, seconds: float, rate: float, seed: int
) -> None:
    """Send random calls, `rate` per second; returns when all have ended."""
    rng = Random(f"traffic {seed}")  # noqa: S311 — chance that repeats
    plan, due, connector = calls(rng), time.monotonic(), aiohttp.TCPConnector(limit=0)
    until = due + seconds
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as clients:
        while due < until:
            await asyncio.sleep(due - time.monotonic())
            if progress.open < _MOST_OPEN:
                call = next(plan)
                progress.open += 1
                progress.sent += 1
                clients.create_task(_send(session, gateway, tokens[call.requester.account], call, progress))
            due += rng.expovariate(rate)  # random arrivals


def calls(rng: Random) -> Iterator[Call]:
    """One call of each kind in random order, then calls by the cast."""
    first = tour(rng)
    rng.shuffle(first)
    yield from first
    while True:
        yield draw(rng, at=datetime.now(UTC))


def tour(rng: Random) -> list[Call]:
    """Each requester, endpoint (streamed or not), provider error and disconnect once."""
    now = datetime.now(UTC)
    found = [draw(rng, one, at=now) for one in CAST.requesters]
    for name, endpoint in ENDPOINTS.items():
        who, model = next((one, model) for one in CAST.requesters for offer, model, _ in one.calls if offer == name)
        for stream in {False, "stream" in endpoint.recordings}:
            narrowed = replace(who, calls=((name, model, 1),), streams=float(stream), asks_again=0.0)
            results = (OK, *BROKEN_OFF) if stream else (OK, *REFUSALS) if name in _REFUSING else (OK,)
            found += [with_result(draw(rng, narrowed, at=now), result) for result in results]
            if stream:
                found.append(replace(with_result(draw(rng, narrowed, at=now), OK), leaves=0.5))
    again = with_result(draw(rng, REQUESTERS["support-bot"], at=now), OK)
    return found + [replace(again, cache=True)] * 3


async def _send(session: aiohttp.ClientSession, gateway: str, token: str, call: Call, progress: Progress) -> None:
    """One request, as an application's SDK would send it; read to the end, or left midway."""
    url = f"{gateway}/api/proxy/{call.endpoint.provider}{call.endpoint.target(call.model, stream=call.stream)}"
    patience = None if call.leaves is None else call.leaves * min(call.seconds, LONGEST)
    recorded = True
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # a stream that broke off
        async with session.post(url, json=body(call), headers=headers(call, token), timeout=_TIMEOUT) as response:
            recorded = "x-metrion-request-id" in response.headers
            try:
                async with asyncio.timeout(patience):
                    await response.read()
            except TimeoutError:
                response.close()
    progress.open -= 1
    progress.recorded += recorded


def headers(call: Call, token: str) -> dict[str, str]:
    """Headers: credentials, requester, session, and the call for the mock provider."""
    who, (name, _) = call.requester, CAST.styles[call.endpoint.style]
    credential = OWN_KEY if who.own_key else token
    return {
        "content-type": "application/json",
        "x-metrion-user": who.name,
        **{f"x-metrion-meta-{key}": value for key, value in who.metadata.items()},
        **call.session_headers(),
        CALL: msgspec.json.encode(call).decode(),
        name: f"Bearer {credential}" if name == "authorization" else credential,
        **({"x-metrion-token": token} if who.own_key else {}),
        **({"x-metrion-cache": "true", "cache-control": "max-age=3600"} if call.cache else {}),
    }


def body(call: Call) -> dict[str, Any]:
    """The request's JSON; an invalid request lacks its prompt."""
    is_native = call.endpoint.style == GEMINI  # model and form of the response are in the path
    named = {} if is_native else {"model": call.model}
    if call.result == INVALID:
        return named | {"temperature": 1}
    text = f"Question {call.question} about {call.requester.metadata['feature']}?"
    _, template = CAST.styles[call.endpoint.style]
    asked = msgspec.json.decode(template.replace("$text", text), type=dict[str, Any])
    return named | ({"stream": True} if call.stream and not is_native else {}) | asked
