"""Mock provider: an HTTP server that behaves like the five providers.

A request header selects the reply. Without it, as with curl by hand, the body's hash selects one.
"""

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
from aiohttp import web

from deploy.demo import responses
from deploy.demo.calls import CUT_MIDWAY, INVALID, OK, REFUSALS, Reply, draw_reply
from deploy.demo.cast import ENDPOINTS, Endpoint, Requester

REPLY = "x-demo-reply"
LONGEST = 6.0  # maximum seconds of a response, however long a real one would take
_MOST_PIECES = 40
_TEXT = "the quay was quiet and every ledger on the long table agreed with the tide tables of that year "
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
    asked: Any = {}
    with contextlib.suppress(msgspec.MsgspecError):
        asked = msgspec.json.decode(body, type=dict[str, Any])
    model, stream = request.match_info.get("model") or str(asked.get("model")), streams or asked.get("stream") is True
    reply = _chosen_reply(request, endpoint, body, model=model, stream=stream)
    if not any(asked.get(name) for name in ("messages", "contents", "input", "prompt")):
        reply = msgspec.structs.replace(reply, result=INVALID)
    name = hashlib.sha256(body).hexdigest()[:12]
    headers = {"request-id": f"req_{name}", "x-request-id": f"req_{name}"}
    await asyncio.sleep(reply.first_byte)
    if reply.result in REFUSALS:
        status, data = responses.error(endpoint.provider, reply.result)
        headers |= {"retry-after": "2"} if status == 429 else {}
        return web.Response(body=data, status=status, content_type=responses.JSON, headers=headers)
    if stream:
        lines = responses.lines(endpoint, reply, model=model, pieces=_pieces(reply), name=name)
        return await _stream(request, reply, lines, headers)
    await asyncio.sleep(min(reply.seconds, LONGEST))
    data = responses.document(endpoint, reply, model=model, text="".join(_pieces(reply)), name=name)
    return web.Response(body=data, content_type=responses.JSON, headers=headers)


def _chosen_reply(request: web.Request, endpoint: Endpoint, body: bytes, *, model: str, stream: bool) -> Reply:
    """The requested reply, else a random one that is the same for the same body."""
    if REPLY in request.headers:
        return msgspec.json.decode(request.headers[REPLY], type=Reply)
    rng = Random(hashlib.sha256(body).digest())  # noqa: S311 — chance that repeats
    stranger = Requester(name="", project="", feature="", calls=(), prompt=max(len(body) // 4, 1))
    reply = draw_reply(rng, stranger, endpoint, model=model, stream=stream, at=datetime.now(UTC))
    return msgspec.structs.replace(reply, result=OK)


async def _stream(
    request: web.Request, reply: Reply, lines: list[bytes], headers: dict[str, str]
) -> web.StreamResponse:
    """Send event by event; a cut stream closes its connection."""
    response = web.StreamResponse(headers=headers | {"content-type": f"{responses.EVENT_STREAM}; charset=utf-8"})
    await response.prepare(request)
    for line in lines:
        await asyncio.sleep(min(reply.sending_seconds, LONGEST) / len(lines))
        await response.write(line)
    if reply.result == CUT_MIDWAY and request.transport is not None:
        request.transport.close()
    return response


def _pieces(reply: Reply) -> list[str]:
    """The text in pieces, about as many as a real response of this length would have."""
    count = max(2, min((reply.usage.output_tokens or 0) // 8, _MOST_PIECES))
    return [(_TEXT * 2)[(start := at * 24 % len(_TEXT)) : start + 24] for at in range(count)]
