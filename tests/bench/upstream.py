"""A provider that costs next to nothing: raw asyncio, ready-made answers, one write a chunk."""

import asyncio
import json
import sys

import uvloop

CHUNKS = 200
PACE = 0.002  # seconds between chunks: so that each is a chunk of its own on the wire


def _json(size: int) -> bytes:
    usage = {"prompt_tokens": 26, "completion_tokens": 9, "total_tokens": 35}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini-2024-07-18", "choices": []}
    filler = "x" * max(0, size - len(json.dumps(body | {"usage": usage})) - 60)
    body["choices"] = [{"index": 0, "message": {"role": "assistant", "content": filler}, "finish_reason": "stop"}]
    data = json.dumps(body | {"usage": usage}).encode()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nx-request-id: r\r\n\r\n"
        % len(data)
        + data
    )


def _event(content: str, *, usage: bool) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1795500002,
        "model": "gpt-4o-mini-2024-07-18",
    }
    chunk |= {
        "service_tier": "default",
        "system_fingerprint": "fp",
        "choices": [{"index": 0, "delta": {"content": content}}],
    }
    chunk |= {"usage": None} if usage else {}
    return b"data: " + json.dumps(chunk | {"obfuscation": "x9QdaBcDeF"}, separators=(",", ":")).encode() + b"\n\n"


def _wire(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


JSON = {b"1k": _json(1024), b"50k": _json(50 << 10)}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
WITH_USAGE, WITHOUT = ([_wire(_event(" word", usage=asked)) for _ in range(CHUNKS)] for asked in (True, False))
USAGE = _wire(
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o-mini-2024-07-18","choices":[],'
    b'"usage":{"prompt_tokens":26,"completion_tokens":200,"total_tokens":226}}\n\n'
)
DONE = _wire(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """One keep-alive connection; the request's `user` field names the answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self.buffer = body[length:]
        if b'"stream":true' in body:
            asyncio.get_running_loop().create_task(self.stream(b"include_usage" in body))
        else:
            self.transport.write(JSON[b"50k" if b'"user":"50k"' in body else b"1k"])

    async def stream(self, usage: bool) -> None:
        self.transport.write(STREAM_HEAD)
        for chunk in WITH_USAGE if usage else WITHOUT:
            await asyncio.sleep(PACE)
            self.transport.write(chunk)
        self.transport.write((USAGE if usage else b"") + DONE)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", int(sys.argv[1]), backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
