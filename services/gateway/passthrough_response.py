"""Response whose head is the provider's own."""

from typing import cast

from aiohttp import web
from aiohttp.http import HttpVersion11, StreamWriter


class PassthroughResponse(web.StreamResponse):
    """A response that adds nothing of its own: no Date, Server or Content-Type that the provider did not send.

    It overrides the one step of aiohttp that fills headers in (aiohttp is pinned exactly; tests hold it byte for byte).
    """

    async def _prepare_headers(self) -> None:
        request, writer = self._req, cast(StreamWriter, self._payload_writer)  # isinstance of an ABC costs 2 µs
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
        """Send the head together with the first bytes of the body: one write instead of two."""
        self._send_headers_immediately = False
