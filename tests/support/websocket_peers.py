"""Raw WebSocket clients and providers, and the frames they exchange."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from services.gateway.request.header_names import REQUEST_ID
from tests.support.gateway_app import TOKEN

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = base64.b64encode(b"0123456789abcdef")
DEFLATE = "permessage-deflate"


def frame(payload: bytes, opcode: int = TEXT, *, masked: bool, final: bool = True, compressed: bool = False) -> bytes:
    """A frame, with a random mask if it is a client's."""
    first = opcode | (0x80 if final else 0) | (0x40 if compressed else 0)
    flag = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, flag | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def close(code: int, reason: str = "", *, masked: bool) -> bytes:
    """A close frame."""
    return frame(struct.pack("!H", code) + reason.encode(), CLOSE, masked=masked)


def text(message: Any, *, masked: bool) -> bytes:
    """A JSON message in one frame."""
    return frame(json.dumps(message).encode(), masked=masked)


class Deflate:
    """A sender's compressor, whose window lasts."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(wbits=-15)

    def message(self, payload: bytes, *, masked: bool) -> bytes:
        """A compressed message in one frame."""
        data = self._deflate.compress(payload) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return frame(data.removesuffix(b"\0\0\xff\xff"), masked=masked, compressed=True)


class Socket:
    """One side of a raw connection, after its upgrade."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head  # of the request, or of the response, that it got

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def exactly(self, size: int) -> bytes:
        """The next bytes; fewer if the connection ends."""
        try:
            async with asyncio.timeout(120):
                return await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: (opcode, payload); (-1, b"") if the connection ends."""
        head = await self.exactly(2)
        if len(head) < 2:
            return -1, b""
        size = head[1] & 0x7F
        if size > 125:
            size = int.from_bytes(await self.exactly(2 if size == 126 else 8))
        mask = await self.exactly(4) if head[1] & 0x80 else bytes(4)
        payload = await self.exactly(size)
        return head[0] & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    async def message(self) -> Any:
        """The next text frame's JSON."""
        opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)

    async def close_code(self) -> int:
        """The code of the close frame that comes next; 1006 if the connection ends without one."""
        opcode, payload = await self.frame()
        assert opcode in (CLOSE, -1), (opcode, payload)
        return int.from_bytes(payload[:2]) if opcode == CLOSE else 1006

    async def ended(self) -> None:
        """Wait until the other side has closed the connection."""
        async with asyncio.timeout(120):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass

    def leave(self) -> None:
        """Close the connection without a word."""
        self.writer.close()


Script = Callable[[Socket], Awaitable[None]]


class Provider:
    """A provider that accepts every upgrade; each test plays its part through `sockets`."""

    def __init__(self, port: int, accept: Mapping[str, str]) -> None:
        self.port = port
        self.extra = dict(accept)
        self.sockets: asyncio.Queue[Socket] = asyncio.Queue()
        self.refusal = b""  # the whole response to an upgrade, if it is refused

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept an upgrade."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        if self.refusal:
            writer.write(self.refusal)
            self.sockets.put_nowait(Socket(reader, writer, head))
            return
        key = header(head, "Sec-WebSocket-Key").encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        lines = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept, **self.extra}
        if DEFLATE in header(head, "Sec-WebSocket-Extensions") and "Sec-WebSocket-Extensions" not in lines:
            lines["Sec-WebSocket-Extensions"] = DEFLATE
        block = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{block}\r\n".encode())
        self.sockets.put_nowait(Socket(reader, writer, head))


def header(head: bytes, name: str) -> str:
    """A header's value; "" if it is absent."""
    for line in head.decode("utf-8", "surrogateescape").split("\r\n")[1:]:
        found, _, value = line.partition(":")
        if found.lower() == name.lower():
            return value.strip()
    return ""


@contextlib.asynccontextmanager
async def provider(tls: ssl.SSLContext | None = None, **extra: str) -> AsyncIterator[Provider]:
    """A raw provider on a free port; `extra`: headers of its 101, with underscores."""
    named = {name.replace("_", "-"): value for name, value in extra.items()}
    own: Provider | None = None

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert own is not None
        await own.serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    own = Provider(server.sockets[0].getsockname()[1], named)
    try:
        yield own
    finally:
        server.close()
        while not own.sockets.empty():
            own.sockets.get_nowait().leave()


async def connect(
    port: int,
    path: str = "/api/proxy/openai/v1/responses",
    *,
    headers: Mapping[str, str] | None = None,
    token: str = TOKEN,
    deflate: bool = False,
) -> Socket:
    """Connect a raw client and send its upgrade; `head` has the response's head, and its body if it is no 101."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = {"Host": "gateway", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    lines["Sec-WebSocket-Key"] = _KEY.decode()
    if token:
        lines["Authorization"] = f"Bearer {token}"
    if deflate:
        lines["Sec-WebSocket-Extensions"] = f"{DEFLATE}; client_max_window_bits"
    lines |= headers or {}
    block = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{block}\r\n".encode("utf-8", "surrogateescape"))
    async with asyncio.timeout(120):
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            length = header(head, "Content-Length")
            head += await reader.readexactly(int(length)) if length else b""
    return Socket(reader, writer, head)


def connection_id(socket: Socket) -> str:
    """The id of a client's connection."""
    return header(socket.head, REQUEST_ID)
