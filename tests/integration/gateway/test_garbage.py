"""No request leaves reference cycles: memory is freed at once, and the garbage collector has nothing to do."""

import asyncio
import gc
import socket
import struct
from typing import cast

import pytest
import uvloop

from tests.support.gateway_app import TOKEN, System, request, system

REQUESTS = 1000
_NOT_OF_REQUESTS = 100  # objects in cycles, fewer than one in ten requests: of the loop and the test itself
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
ERROR = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n"
    b'{"error":{"message":"slow down"}}'
)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
AUTH = b"Authorization: Bearer %b\r\n" % TOKEN.encode()
ENDS = {
    "json": b"{}",
    "stream": b"\r\n0\r\n\r\n",
    "error": b"}}",
    "refused": b"}}",
    "disconnect": b"}}",
    "cut": b"",  # of the connection
    "invalid": b"",
    "left": EVENT,
}


class Provider(asyncio.Protocol):
    """Provider without a task or a future: a request's header `x-want` names the response."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, _, body = self.buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not length or len(body) < int(length):
            return
        self.buffer = b""
        want = head.lower().partition(b"x-want: ")[2].partition(b"\r\n")[0]
        if want == b"stream":
            self.transport.write(STREAM + CHUNK)
            asyncio.get_running_loop().call_soon(self.transport.write, CHUNK + END)
        elif want in (b"cut", b"invalid", b"left"):
            self.transport.write(STREAM + CHUNK)
            asyncio.get_running_loop().call_later(0.001, self.go_on, want)
        elif want == b"disconnect":
            self.transport.close()
        else:
            self.transport.write(ERROR if want == b"error" else OK)

    def go_on(self, want: bytes) -> None:
        if want == b"cut":
            self.transport.close()
        elif want == b"invalid":
            self.transport.write(b"no chunk\r\n")
        elif not self.transport.is_closing():
            self.transport.write(CHUNK)
            asyncio.get_running_loop().call_later(0.001, self.go_on, want)


async def send(gateway: System, kind: str, count: int) -> None:
    """Send requests one after the other, over a connection that stays open unless the kind says otherwise."""
    loop = asyncio.get_running_loop()
    data = request(
        body=b'{"model":"gpt-4o","stream":true}' if kind in ("stream", "cut", "invalid", "left") else b'{"model":"m"}',
        headers=b"x-want: %b\r\n" % kind.encode(),
        auth=b"Authorization: Bearer sk-metrion-unknown\r\n" if kind == "refused" else AUTH,
    )
    end = ENDS[kind]
    client: socket.socket | None = None
    for _ in range(count):
        if client is None:
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(client, data)
        got = b""
        while more := await asyncio.wait_for(loop.sock_recv(client, 65536), 60):
            got += more
            if (end and end in got) or b"protocol_error" in got:  # if all arrives in one read
                break
        if kind == "left":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        if kind in ("refused", "cut", "invalid", "left"):
            client.close()
            client = None
    if client is not None:
        client.close()
    async with asyncio.timeout(60):
        while gateway.proxy.active or gateway.clients:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("kind", "on_disconnect"), [*((kind, "drain") for kind in ENDS), ("left", "cancel")])
def test_requests_leave_nothing_to_the_garbage_collector(kind: str, on_disconnect: str) -> None:
    found = uvloop.run(garbage(kind, on_disconnect))  # asyncio's own transports are cycles
    assert found < _NOT_OF_REQUESTS


async def garbage(kind: str, on_disconnect: str) -> int:
    """Number of objects in reference cycles after many requests of a kind."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with system(upstream_openai=url, on_disconnect=on_disconnect, drain_bytes=1000) as gateway:
            await send(gateway, kind, 20)
            gc.collect()
            gc.freeze()
            gc.disable()
            try:
                await send(gateway, kind, REQUESTS)
                return gc.collect()
            finally:
                gc.enable()  # what is frozen stays so: each collection would visit all test modules again
    finally:
        server.close()
        await server.wait_closed()
