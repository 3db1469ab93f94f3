"""Client and provider of one WebSocket conversation, as processes that can be killed at each of its frames.

`python -m tests.support.scripted_peers provider PORT`, or `client URL TOKEN REQUESTER`. The client plays the
conversation on one connection for each number of frames, prints "ready" once all have come that far, and stays.
"""

import asyncio
import json
import sys
from typing import Any

import websockets.asyncio.client
import websockets.asyncio.server

MODEL = "gpt-4o"
USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
# The library gives up a handshake after 10 s, and a connection whose pong takes 20 s.
_PATIENCE: dict[str, Any] = {"open_timeout": None, "ping_interval": None}
EVENTS = 3  # of each response: it begins, says something, and is completed
FRAMES = 2 * (1 + EVENTS)  # of the conversation: two requests with their responses


def response(name: str) -> list[dict[str, Any]]:
    """The events of a response."""
    begun = {"id": name, "model": MODEL}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "The sea is large and deep and blue."},
        {"type": "response.completed", "response": {**begun, "usage": USAGE}},
    ]


async def provide(port: int) -> None:
    """Respond to each request with as many events as its metadata says."""

    async def talk(socket: websockets.asyncio.server.ServerConnection) -> None:
        async for text in socket:
            asked = json.loads(text)
            for event in response(asked["metadata"]["response"])[: int(asked["metadata"]["events"])]:
                await socket.send(json.dumps(event))

    async with websockets.asyncio.server.serve(talk, "127.0.0.1", port, **_PATIENCE) as server:
        print("ready", flush=True)
        await server.serve_forever()


async def converse(url: str, token: str, requester: str) -> None:
    """Play the conversation up to each of its frames, then wait."""
    open_ones = []
    for frames in range(FRAMES + 1):
        headers = {"Authorization": f"Bearer {token}", "x-metrion-user": f"{requester}-{frames}"}
        socket = await websockets.asyncio.client.connect(url, additional_headers=headers, **_PATIENCE)
        open_ones.append(socket)
        for number in range(2):
            left = frames - number * (1 + EVENTS)
            if left <= 0:
                break
            events = min(left - 1, EVENTS)
            metadata = {"events": str(events), "response": f"resp_{number}"}
            request = {"type": "response.create", "model": MODEL, "input": "Tell me of the sea.", "metadata": metadata}
            await socket.send(json.dumps(request))
            for _ in range(events):
                await socket.recv()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    asyncio.run(provide(int(arguments[0])) if role == "provider" else converse(*arguments))
