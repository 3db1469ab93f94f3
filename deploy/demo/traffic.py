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
    """One request, as an application's SDK would send it; read to the end, or left midway."""
    url = f"{gateway}/api/proxy/{call.endpoint.provider}{call.endpoint.target(call.model, stream=call.stream)}"
    patience = None if call.leaves is None else call.leaves * min(call.reply.seconds, LONGEST)
    sent_headers, recorded = headers(call, token, at=datetime.now(UTC)), True
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # a stream that broke off
        async with session.post(url, json=body(call), headers=sent_headers, timeout=_TIMEOUT) as response:
            recorded = "x-metrion-request-id" in response.headers
            try:
                async with asyncio.timeout(patience):
                    await response.read()
            except TimeoutError:
                response.close()
    progress.open -= 1
    progress.recorded += recorded


def headers(call: Call, token: str, *, at: datetime) -> dict[str, str]:
    """Headers: credentials, requester, session, and the reply for the mock provider."""
    who, (name, _) = call.requester, CAST.styles[call.endpoint.style]
    credential = OWN_KEY if who.own_key else token
    return {
        "content-type": "application/json",
        "x-metrion-user": who.name,
        "x-metrion-meta-project": who.project,
        "x-metrion-meta-feature": who.feature,
        "x-metrion-meta-environment": who.environment,
        **who.session_headers(at),
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
    _, template = CAST.styles[call.endpoint.style]
    asked = msgspec.json.decode(template.replace("$text", text), type=dict[str, Any])
    stream = {"stream": True} if call.stream and call.endpoint.style != GEMINI else {}
    return model | stream | asked
