"""One call in, a request to the gateway out, as an application's SDK would send it, and what came of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from deploy.demo.kinds import CHAT, EMBEDDINGS, GEMINI, IMAGES, MESSAGES, RESPONSES
from deploy.demo.provider import LONGEST, SCENE
from deploy.demo.scene import INVALID, Call

OWN_KEY = "sk-demo-of-the-client"  # a provider key that a pass-through client brings along
_TIMEOUT = aiohttp.ClientTimeout(total=60)
LEFT, BROKEN = "left", "broken"

_encode = msgspec.json.Encoder().encode


async def ask(session: aiohttp.ClientSession, gateway: str, token: str, call: Call) -> tuple[str, bool]:
    """(what came of it, whether it is booked): an HTTP status, LEFT or BROKEN."""
    target = call.kind.target(call.model, stream=call.stream)
    url = f"{gateway}/api/proxy/{call.kind.provider}{target}"
    request = session.post(url, data=_encode(body(call)), headers=headers(call, token), timeout=_TIMEOUT)
    try:
        async with request as response:
            booked = "x-metrion-request-id" in response.headers
            if call.leaves is not None:
                return await _leave(response, call), booked
            await response.read()
            return str(response.status), booked
    except (aiohttp.ClientError, TimeoutError):
        return BROKEN, True


async def _leave(response: aiohttp.ClientResponse, call: Call) -> str:
    """Read for a while, then hang up in the middle."""
    assert call.leaves is not None
    patience = call.leaves * min(call.scene.seconds, LONGEST)
    try:
        async with asyncio.timeout(patience):
            await response.read()
            return str(response.status)
    except TimeoutError:
        response.close()
        return LEFT


def headers(call: Call, token: str) -> dict[str, str]:
    """Credentials, who is booked, and what the provider is to do."""
    who = call.requester
    found = {
        "content-type": "application/json",
        "x-metrion-user": who.name,
        "x-metrion-meta-project": who.project,
        "x-metrion-meta-feature": who.feature,
        "x-metrion-meta-environment": who.environment,
        SCENE: _encode(call.scene).decode(),
    }
    if call.cache:
        found |= {"x-metrion-cache": "true", "cache-control": "max-age=3600"}
    credential = OWN_KEY if who.own_key else token
    if who.own_key:
        found["x-metrion-token"] = token
    if call.kind.style == MESSAGES:
        return found | {"x-api-key": credential, "anthropic-version": "2023-06-01"}
    if call.kind.style == GEMINI:
        return found | {"x-goog-api-key": credential}
    return found | {"authorization": f"Bearer {credential}"}


def body(call: Call) -> Mapping[str, Any]:
    """The request's JSON; an invalid one lacks what it is about."""
    model: dict[str, Any] = {} if call.kind.style == GEMINI else {"model": call.model}
    if call.scene.fate == INVALID:
        return model | {"temperature": 1}
    text = f"Question {call.question} about the {call.requester.feature} of {call.requester.project}?"
    if call.kind.style == GEMINI:
        return {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    if call.kind.style == EMBEDDINGS:
        return model | {"input": text}
    if call.kind.style == IMAGES:
        return model | {"prompt": text, "size": "1024x1024", "quality": "medium"}
    streamed = {"stream": True} if call.stream else {}
    if call.kind.style == RESPONSES:
        return model | streamed | {"input": text}
    limit = {} if call.kind.style == CHAT else {"max_tokens": 4096}
    return model | streamed | limit | {"messages": [{"role": "user", "content": text}]}
