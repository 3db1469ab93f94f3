"""Mock provider: an HTTP server that behaves like the five providers.

A request header has the call and its response. Without it, as with curl by hand, the body's bytes select them.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
from aiohttp import web

from deploy.demo import responses
from deploy.demo.calls import CUT_MIDWAY, INVALID, OK, Call, draw, with_result
from deploy.demo.cast import ENDPOINTS, Endpoint, Requester

CALL = "x-demo-call"
LONGEST = 6.0  # maximum seconds of a response, however long a real one would take
_MODELS = {"object": "list", "data": [{"id": "demo", "object": "model"}]}


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[str]:
    """A running provider's URL; the upstream of a provider NAME is that and "/NAME"."""
    runner = web.AppRunner(application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def application() -> web.Application:
    """A route per endpoint, another one for streaming paths, and model lists."""
    app = web.Application(client_max_size=1 << 25)
    for endpoint in ENDPOINTS.values():
        for stream in {False, "{model}" in endpoint.path}:
            path = f"/{endpoint.provider}{endpoint.target('{model}', stream=stream)}"
            app.router.add_post(path, functools.partial(_respond, endpoint, stream))
    app.router.add_get("/{path:.*}", _models)
    return app


async def _models(_: web.Request) -> web.Response:
    return web.json_response(_MODELS)


async def _respond(endpoint: Endpoint, streams: bool, request: web.Request) -> web.StreamResponse:
    """The response to one request. `streams`: the path implies a stream."""
    body = await request.read()
    if CALL in request.headers:
        return await _send(request, msgspec.json.decode(request.headers[CALL], type=Call))
    asked: dict[str, Any] = {}
    with contextlib.suppress(msgspec.MsgspecError):
        asked = msgspec.json.decode(body, type=dict[str, Any])
    model, stream = request.match_info.get("model") or str(asked.get("model")), streams or asked.get("stream") is True
    offer = next(name for name, one in ENDPOINTS.items() if one is endpoint)
    calls, prompt = ((offer, model, 1),), max(len(body) // 4, 1)
    stranger = Requester(name="", metadata={}, calls=calls, prompt=prompt, streams=float(stream))
    is_valid = any(asked.get(key) for key in ("messages", "contents", "input", "prompt"))
    call = draw(Random(body), stranger, at=datetime.now(UTC))  # noqa: S311 — the same body, the same response
    return await _send(request, with_result(call, OK if is_valid else INVALID))


async def _send(request: web.Request, call: Call) -> web.StreamResponse:
    """Send part by part, at the call's pace; a cut stream closes its connection."""
    made, seconds = responses.respond(call), min(call.seconds, LONGEST)
    headers = {"content-type": made.content_type, "request-id": f"req_{call.name}", "x-request-id": f"req_{call.name}"}
    headers |= {"retry-after": "2"} if made.status == 429 else {}
    await asyncio.sleep(call.first_byte)
    if made.content_type == responses.JSON:
        await asyncio.sleep(seconds)
        return web.Response(body=made.parts[0], status=made.status, headers=headers)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for part in made.parts:
        await asyncio.sleep(seconds / len(made.parts))
        await response.write(part)
    if call.result == CUT_MIDWAY and request.transport is not None:
        request.transport.close()
    return response
