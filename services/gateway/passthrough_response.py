"""Response with the provider's own head."""

from typing import cast

from aiohttp import web
from aiohttp.http import HttpVersion11, StreamWriter


class PassthroughResponse(web.StreamResponse):
    """Response that adds no headers of its own, such as Date, Server or Content-Type.

    It overrides the one step of aiohttp that fills headers in (aiohttp is pinned exactly, and tests compare every
    byte).
    """

    async def _prepare_headers(self) -> None:
        request = self._req
        writer = cast(StreamWriter, self._payload_writer)  # isinstance of an ABC costs 2 µs
        assert request is not None
        headers = self._headers
        keep_alive = request.keep_alive if self._keep_alive is None else self._keep_alive
        if not self._must_be_empty_body:
            length = headers.get("Content-Length")
            if length is not None:
                writer.length = int(length)
            elif request.version >= HttpVersion11:
                writer.enable_chunking()
                headers["Transfer-Encoding"] = "chunked"
            else:
                keep_alive = False
        self._keep_alive = keep_alive
        if not keep_alive:
            headers["Connection"] = "close"
        elif request.version < HttpVersion11:
            headers["Connection"] = "keep-alive"

    def head_with_body(self) -> None:
        """Send the head together with the first bytes of the body, in one write."""
        self._send_headers_immediately = False
