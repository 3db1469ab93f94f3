"""Live traffic through the gateway, each request from a client of its own."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import aiohttp
import msgspec

from deploy.demo import agents
from deploy.demo.calls import CUT_MIDWAY, ERROR_MIDWAY, INVALID, OK, REFUSALS, Call, Reply, draw, draw_usage
from deploy.demo.cast import CAST, ENDPOINTS, GEMINI, REQUESTERS, requester
from deploy.demo.provider import LONGEST, REPLY

OWN_KEY = "sk-demo-of-the-client"  # a provider key that a pass-through client sends
_MOST_OPEN = 200  # concurrent calls: a slow machine gets less traffic instead of a backlog
_TIMEOUT = aiohttp.ClientTimeout(total=60)


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
    plan, until = calls(rng), time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as clients:
        async for _ in _arrivals(rng, rate=rate, until=until):
            if progress.open < _MOST_OPEN:
                call = next(plan)
                progress.open += 1
                progress.sent += 1
                clients.create_task(_send(session, gateway, tokens[call.requester.account], call, progress))


async def _arrivals(rng: Random, *, rate: float, until: float) -> AsyncIterator[None]:
    """Random arrival times with exponential pauses."""
    due = time.monotonic()
    while due < until:
        await asyncio.sleep(due - time.monotonic())
        yield
        due += rng.expovariate(rate)


def calls(rng: Random) -> Iterator[Call]:
    """One call of each kind in random order, then calls by the cast."""
    first = tour(rng)
    rng.shuffle(first)
    now = datetime.now(UTC)
    return itertools.chain(first, (draw(rng, at=now) for _ in itertools.count()))


def tour(rng: Random) -> list[Call]:
    """Each requester, endpoint (streamed or not), provider error and disconnect once."""
    now = datetime.now(UTC)
    found: list[Call] = []
    for name, endpoint in ENDPOINTS.items():
        who, model = next((one, model) for one in REQUESTERS for offer, model, _ in one.calls if offer == name)
        for stream in (False, True) if endpoint.stream else (False,):
            usage = draw_usage(rng, who, endpoint, model=model, at=now)
            reply = Reply(usage=usage, first_byte=rng.uniform(0.1, 0.8), seconds=rng.uniform(0.5, 1.5))
            question = rng.getrandbits(48)
            call = Call(requester=who, endpoint=endpoint, model=model, stream=stream, reply=reply, question=question)
            found.append(call)
            if stream:
                found += [_with(rng, call, result) for result in (ERROR_MIDWAY, CUT_MIDWAY)]
                found.append(msgspec.structs.replace(_with(rng, call, OK), leaves=0.5))
    for name in ("messages", "chat", "gemini", "mistral", "grok"):
        plain = next(one for one in found if one.endpoint is ENDPOINTS[name])
        found += [_with(rng, plain, result) for result in REFUSALS]
    again = draw(Random(0), requester("support-bot"), at=now)  # noqa: S311 — chance that repeats
    again = msgspec.structs.replace(_with(rng, again, OK), cache=True, leaves=None)
    return [*found, *(draw(rng, one, at=now) for one in REQUESTERS), again, again, again]


def _with(rng: Random, call: Call, result: str) -> Call:
    reply = msgspec.structs.replace(call.reply, result=result)
    return msgspec.structs.replace(call, reply=reply, question=rng.getrandbits(48), leaves=None, cache=False)


async def _send(session: aiohttp.ClientSession, gateway: str, token: str, call: Call, progress: Progress) -> None:
    """One request, as an application's SDK would send it."""
    url = f"{gateway}/api/proxy/{call.endpoint.provider}{call.endpoint.target(call.model, stream=call.stream)}"
    recorded = True
    try:
        async with session.post(
            url, json=body(call), headers=headers(call, token, at=datetime.now(UTC)), timeout=_TIMEOUT
        ) as response:
            recorded = "x-metrion-request-id" in response.headers
            await _read(response, call)
    except (aiohttp.ClientError, TimeoutError):
        pass  # a stream that broke off
    progress.open -= 1
    progress.recorded += recorded


async def _read(response: aiohttp.ClientResponse, call: Call) -> None:
    """Read to the end, or disconnect midway."""
    patience = None if call.leaves is None else call.leaves * min(call.reply.seconds, LONGEST)
    try:
        async with asyncio.timeout(patience):
            await response.read()
    except TimeoutError:
        response.close()


def headers(call: Call, token: str, *, at: datetime) -> dict[str, str]:
    """Headers: credentials, requester, session, and the reply for the mock provider."""
    who, name = call.requester, CAST.styles[call.endpoint.style].header
    credential = OWN_KEY if who.own_key else token
    return {
        "content-type": "application/json",
        "x-metrion-user": who.name,
        "x-metrion-meta-project": who.project,
        "x-metrion-meta-feature": who.feature,
        "x-metrion-meta-environment": who.environment,
        **agents.headers(who, at),
        REPLY: msgspec.json.encode(call.reply).decode(),
        name: f"Bearer {credential}" if name == "authorization" else credential,
        **({"x-metrion-token": token} if who.own_key else {}),
        **({"x-metrion-cache": "true", "cache-control": "max-age=3600"} if call.cache else {}),
    }


def body(call: Call) -> dict[str, Any]:
    """The request's JSON; an invalid request lacks its prompt."""
    model = {} if call.endpoint.style == GEMINI else {"model": call.model}
    if call.reply.result == INVALID:
        return model | {"temperature": 1}
    text = f"Question {call.question} about the {call.requester.feature} of {call.requester.project}?"
    asked = msgspec.json.decode(CAST.styles[call.endpoint.style].body.replace("$text", text), type=dict[str, Any])
    stream = {"stream": True} if call.stream and call.endpoint.style != GEMINI else {}
    return model | stream | asked
