"""The bundled provider: requests of all five APIs in, answers as the five write them out, paced like theirs.

The header SCENE says what comes of a request. Without it, as for a curl by hand, the body's hash draws one.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
from aiohttp import web

from deploy.demo import kinds
from deploy.demo.cast import Requester
from deploy.demo.kinds import Kind
from deploy.demo.scene import ANSWERED, CUT_MIDWAY, ERROR_MIDWAY, INVALID, REFUSALS, Scene, draw
from deploy.demo.wire.document import document
from deploy.demo.wire.failure import failure, midway
from deploy.demo.wire.stream import Event, encode, events

SCENE = "x-demo-scene"
LONGEST = 6.0  # seconds that an answer takes at most, however long a real one would
_MOST_PIECES = 40
_TEXT = "the quay was quiet and every ledger on the long table agreed with the tide tables of that year "
_MODELS = {"object": "list", "data": [{"id": "demo", "object": "model"}]}

_encode = msgspec.json.Encoder().encode
_scene = msgspec.json.Decoder(Scene).decode


class _Asked(msgspec.Struct):
    """What decides about the form of an answer; any type, for a client may write anything."""

    model: Any = ""
    stream: Any = False
    stream_options: Any = None
    messages: Any = None
    contents: Any = None
    input: Any = None
    prompt: Any = None


_asked = msgspec.json.Decoder(_Asked).decode


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[str]:
    """A running provider's URL; the upstream of a provider NAME is that and "/NAME"."""
    app = web.Application(client_max_size=1 << 25)
    app.router.add_route("*", "/{provider}/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def answer(request: web.Request) -> web.StreamResponse:
    """What the provider does with one request."""
    provider, path = request.match_info["provider"], "/" + request.match_info["path"]
    body = await request.read()
    found = kinds.find(provider, path)
    if found is None:
        return web.json_response(
            _MODELS if request.method == "GET" else {"error": "no such endpoint"},
            status=200 if request.method == "GET" else 404,
        )
    kind, model, stream = found
    try:
        asked = _asked(body)
    except msgspec.MsgspecError:
        asked = _Asked()
    model = model or str(asked.model)
    stream = stream or asked.stream is True
    scene = _direction(request, kind, body, model=model, stream=stream)
    if not any((asked.messages, asked.contents, asked.input, asked.prompt)):
        scene = msgspec.structs.replace(scene, fate=INVALID)
    name = hashlib.sha256(body).hexdigest()[:12]
    await asyncio.sleep(scene.first_byte)
    if scene.fate in REFUSALS:
        status, headers, error = failure(provider, scene.fate)
        return web.json_response(error, status=status, headers=headers | _named(name))
    if stream:
        pieces = _pieces(scene)
        wanted = isinstance(asked.stream_options, dict) and asked.stream_options.get("include_usage") is True
        told = events(kind, scene, model=model, pieces=pieces, name=name, include_usage=wanted)
        return await _stream(request, kind, scene, told, name)
    await asyncio.sleep(min(scene.seconds, LONGEST))
    whole = document(kind, scene, model=model, text="".join(_pieces(scene)), name=name)
    return web.Response(body=_encode(whole), content_type="application/json", headers=_named(name))


def _direction(request: web.Request, kind: Kind, body: bytes, *, model: str, stream: bool) -> Scene:
    """The scene that the client asked for, else one by chance, the same for the same body."""
    if SCENE in request.headers:
        return _scene(request.headers[SCENE])
    rng = Random(hashlib.sha256(body).digest())  # noqa: S311 — chance that repeats
    stranger = Requester(name="", project="", feature="", offers=(), prompt=max(len(body) // 4, 1))
    scene = draw(rng, stranger, kind, model=model, stream=stream, at=datetime.now(UTC))
    return msgspec.structs.replace(scene, fate=ANSWERED)


async def _stream(
    request: web.Request, kind: Kind, scene: Scene, told: Sequence[Event], name: str
) -> web.StreamResponse:
    """Event by event; an error takes the place of the second half, a cut ends the connection there."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"} | _named(name))
    await response.prepare(request)
    pause = min(scene.seconds, LONGEST) / len(told)
    middle = len(told) // 2 if scene.fate in (ERROR_MIDWAY, CUT_MIDWAY) else len(told)
    for event in told[:middle]:
        await asyncio.sleep(pause)
        await response.write(encode(kind, event))
    if scene.fate == ERROR_MIDWAY:
        await response.write(encode(kind, midway(kind.provider)))
    elif scene.fate == CUT_MIDWAY and request.transport is not None:
        request.transport.close()
    return response


def _pieces(scene: Scene) -> list[str]:
    """The text, a few words a piece; about as many pieces as a real answer of this length would have, within bounds."""
    count = max(2, min((scene.usage.output or 0) // 8, _MOST_PIECES))
    return [(_TEXT * 2)[(start := at * 24 % len(_TEXT)) : start + 24] for at in range(count)]


def _named(name: str) -> dict[str, str]:
    return {"request-id": f"req_{name}", "x-request-id": f"req_{name}"}
