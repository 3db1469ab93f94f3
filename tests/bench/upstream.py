"""Minimal mock provider for benches: raw asyncio and prepared responses."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import cast

import uvloop

CHUNKS = 200
SHORT = 4  # chunks of the stream that only its first byte is wanted of
BEAT = 0.02  # seconds between timed chunks
DIGITS = 20  # of the time in them
PACE = 0.002  # seconds between chunks: so that each is a chunk of its own on the wire

_BASE = {
    "id": "chatcmpl-CkL3mTqz0vWn4",
    "object": "chat.completion.chunk",
    "created": 1795500002,
    "model": "gpt-4o-mini-2024-07-18",
    "service_tier": "default",
    "system_fingerprint": "fp_560af6e559",
}
_USAGE = {"prompt_tokens": 26, "completion_tokens": CHUNKS, "total_tokens": 26 + CHUNKS}


def _json(size: int) -> bytes:
    """A whole answer whose body has `size` bytes."""
    body = {**_BASE, "object": "chat.completion", "choices": [], "usage": _USAGE}
    message = {"role": "assistant", "content": ""}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    message["content"] = "x" * (size - len(json.dumps(body)))
    data = json.dumps(body).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nx-request-id: req_1\r\n\r\n"
    return head % len(data) + data


def _event(fields: dict[str, object]) -> bytes:
    """One event of a stream as a chunk on the wire."""
    data = b"data: %s\n\n" % json.dumps(_BASE | fields, separators=(",", ":")).encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def _word(text: str = " word", *, usage: bool) -> bytes:
    """A chunk as OpenAI sends it; `usage`: with the null field that asking for usage adds to each."""
    fields: dict[str, object] = {
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}]
    }
    return _event({**fields, **({"usage": None} if usage else {}), "obfuscation": "x9QdaBcDeF"})


JSON = {b"1k": _json(1 << 10), b"4k": _json(4 << 10), b"50k": _json(50 << 10)}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
WORD = {asked: _word(usage=asked) for asked in (True, False)}
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
# What routers ask before they send requests: whether the server is healthy, and which model it serves.
_ABOUT = b'{"object":"list","data":[{"id":"gpt-4o-mini","object":"model"}],"model_path":"gpt-4o-mini"}'
ABOUT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_ABOUT), _ABOUT)
# With the time in nanoseconds: as many digits as the text that is replaced has characters.
_TIMED = {asked: _word("0" * DIGITS, usage=asked).replace(b"0" * DIGITS, b"%%0%dd" % DIGITS) for asked in WORD}
_USER = re.compile(rb'"user": ?"(\w+)"')
_STREAM = re.compile(rb'"stream": ?true')
END = {True: _event({"choices": [], "usage": _USAGE, "obfuscation": ""}) + DONE, False: DONE}


class Provider(asyncio.Protocol):
    """One keep-alive connection; the request's `user` field names the answer: 1k, 4k, 50k, paced, burst or short,
    or timed and a number of chunks, which tell when they were sent.

    For routers that drop the field, 1k and burst are what a request without it gets.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._buffer = cast(asyncio.WriteTransport, transport), b""  # uvloop's own is no subclass

    def connection_lost(self, error: Exception | None) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(body) < length:
            return
        self._buffer = body[length:]
        if head.startswith(b"GET "):
            self._transport.write(ABOUT)
            return
        named = _USER.search(body)
        name = named[1] if named else b"burst" if _STREAM.search(body) else b"1k"
        if name in JSON:
            self._transport.write(JSON[name])
            return
        self._transport.write(HEAD)
        usage = b"include_usage" in body
        chunks = iter([WORD[usage]] * (SHORT if name == b"short" else CHUNKS) + [END[usage]])
        if name.startswith(b"timed"):
            self._tick(int(name.removeprefix(b"timed")), asyncio.get_running_loop().time(), usage=usage)
        elif name == b"burst":
            for chunk in chunks:
                self._transport.write(chunk)
        else:
            self._next(chunks)

    def _next(self, chunks: Iterator[bytes]) -> None:
        """Write a chunk, and the next one a pace later."""
        chunk = next(chunks, None)
        if chunk is not None and not self._transport.is_closing():
            self._transport.write(chunk)
            asyncio.get_running_loop().call_later(PACE, self._next, chunks)

    def _tick(self, left: int, due: float, *, usage: bool) -> None:
        """Write a chunk with the time, and those that are left each a beat later."""
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(END[usage])
            return
        self._transport.write(_TIMED[usage] % time.monotonic_ns())
        asyncio.get_running_loop().call_at(due + BEAT, partial(self._tick, left - 1, due + BEAT, usage=usage))


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", int(sys.argv[1]), backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
