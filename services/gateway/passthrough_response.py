"""Response with the provider's own head."""

import re
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, StreamWriter
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DRAIN_BYTES = 64 << 10  # written between two checks whether the client reads


class PassthroughResponse(web.StreamResponse):
    """Response that adds no headers of its own, such as Date, Server or Content-Type.

    It overrides the step of aiohttp that fills headers in and writes them (aiohttp is pinned exactly, and tests compare
    every byte).
    """

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        writer = cast(StreamWriter, request._payload_writer)  # isinstance of an ABC costs 2 µs
        status_line = self._begin(request, writer)
        try:
            await writer.write_headers(status_line, self._headers)
        except ValueError:
            _replace_controls(self._headers)
            await writer.write_headers(status_line, self._headers)
        if self._send_headers_immediately:
            writer.send_headers()
        return writer

    def _begin(self, request: web.BaseRequest, writer: StreamWriter) -> str:
        """Fill in the headers that frame the body, and return the status line."""
        self._req = request
        self._payload_writer = writer
        headers = self._headers
        version = request.version
        keep_alive = request.keep_alive if self._keep_alive is None else self._keep_alive
        if not self._must_be_empty_body:
            length = headers.get("Content-Length")
            if length is not None:
                writer.length = int(length)
            elif version >= HttpVersion11:
                writer.enable_chunking()
                headers["Transfer-Encoding"] = "chunked"
            else:
                keep_alive = False
        self._keep_alive = keep_alive
        if not keep_alive:
            headers["Connection"] = "close"
        elif version < HttpVersion11:
            headers["Connection"] = "keep-alive"
        return f"HTTP/{version[0]}.{version[1]} {self._status} {self._reason}"

    async def send_whole(self, request: web.BaseRequest, body: bytes) -> None:
        """Send head and body in one write; the body is complete and has a Content-Length."""
        writer = cast(StreamWriter, request._payload_writer)
        status_line = self._begin(request, writer)
        try:
            head = _serialize_headers(status_line, self._headers)
        except ValueError:
            _replace_controls(self._headers)
            head = _serialize_headers(status_line, self._headers)
        writer._write(head + body)
        self._eof_sent = True
        self._req = None
        self._payload_writer = None
        await writer.drain()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes of the body; chunks of a stream without aiohttp's layers."""
        writer = cast(StreamWriter, self._payload_writer)
        if writer is None or not writer.chunked or writer._headers_buf is not None or not data:
            await super().write(data)
            return
        writer._write(b"%x\r\n%b\r\n" % (len(data), bytes(data)))
        if writer.buffer_size > _DRAIN_BYTES:
            writer.buffer_size = 0
            await writer.drain()

    @property
    def is_chunked(self) -> bool:
        """Whether the head was sent, and the body follows in chunks."""
        writer = cast(StreamWriter | None, self._payload_writer)
        return writer is not None and writer.chunked and writer._headers_buf is None

    def write_at_once(self, data: bytes) -> bool:
        """Send a chunk, without waiting: whether the client keeps up."""
        writer = cast(StreamWriter, self._payload_writer)
        writer._write(b"%x\r\n%b\r\n" % (len(data), data))
        return not writer.protocol.writing_paused

    async def drain(self) -> None:
        """Wait until the client has read what was sent, but for a little."""
        writer = cast(StreamWriter, self._payload_writer)
        writer.buffer_size = 0
        await writer.drain()

    def head_with_body(self) -> None:
        """Send the head together with the first bytes of the body, in one write."""
        self._send_headers_immediately = False


def _replace_controls(headers: CIMultiDict[str]) -> None:
    """Replace control characters in values with `?`: providers may send them, and aiohttp refuses to write them."""
    found = [(name, _CONTROL.sub("?", value)) for name, value in headers.items()]
    headers.clear()
    headers.extend(found)
