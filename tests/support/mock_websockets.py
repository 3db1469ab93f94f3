"""WebSocket endpoints of the mock provider: OpenAI's Responses and Realtime, and Gemini's Live API."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import WSMsgType, web

USAGE = {
    "input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
    "input_tokens_details": {"cached_tokens": 40}, "output_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip
SPOKEN = {
    "input_tokens": 100, "output_tokens": 30, "total_tokens": 130,
    "input_token_details": {"text_tokens": 60, "audio_tokens": 40, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 10, "audio_tokens": 20},
}  # fmt: skip
LIVE = {"promptTokenCount": 50, "responseTokenCount": 10, "totalTokenCount": 60}
WORDS = ("Hello", " from", " a", " socket")
ENDLESS = "endless"  # in a request: its response never ends
HELD = "held"  # in a request: its response ends with the client's next message
Reply = Callable[[dict[str, Any]], Iterator[dict[str, Any]]]


def is_upgrade(request: web.Request) -> bool:
    """Whether a request asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def answer(request: web.Request) -> web.StreamResponse:
    """Accept an upgrade and play the provider's part until the client leaves."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    reply: Reply = _responses
    if request.path.endswith("/realtime"):
        reply = _realtime
        model = request.query.get("model", "")
        await socket.send_json(
            {"type": "session.created", "event_id": "e0", "session": {"type": "realtime", "model": model}}
        )
    elif request.path.startswith("/ws/"):
        reply = _live
    async for message in socket:
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            break
        for event in reply(json.loads(message.data)):
            if reply is _live:
                await socket.send_bytes(json.dumps(event).encode())  # as Google does
            else:
                await socket.send_json(event)
    return socket


def _responses(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    response: dict[str, Any] = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": event.get("model"),
        "output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True,
    }  # fmt: skip
    done = {**response, "status": "completed", "usage": USAGE}
    ended = {"type": "response.completed", "sequence_number": len(WORDS) + 1, "response": done}
    if event.get("type") == "response.cancel":
        yield ended
        return
    yield {"type": "response.created", "sequence_number": 0, "response": response}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    for number, word in enumerate(WORDS, 1):
        yield {"type": "response.output_text.delta", "sequence_number": number, **place, "delta": word}
    if event.get("input") not in (ENDLESS, HELD):
        yield ended


def _realtime(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if event.get("type") != "response.create":
        return
    response = {"id": "resp_r", "object": "realtime.response", "status": "in_progress", "output": []}
    yield {"type": "response.created", "event_id": "e1", "response": response}
    place = {"response_id": "resp_r", "item_id": "i", "output_index": 0, "content_index": 0}
    for word in WORDS:
        yield {"type": "response.output_text.delta", "event_id": "e2", **place, "delta": word}
    done = {**response, "status": "completed", "usage": SPOKEN}
    yield {"type": "response.done", "event_id": "e3", "response": done}


def _live(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "setup" in message:
        yield {"setupComplete": {}}
        return
    for word in WORDS:
        yield {"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": word}]}}}
    yield {"serverContent": {"turnComplete": True}, "usageMetadata": LIVE}
