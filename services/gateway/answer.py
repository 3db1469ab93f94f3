"""The seam to aiohttp's server: an answer whose head is the provider's own, and parse errors as JSON."""

from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpVersion11, StreamWriter
from aiohttp.web_protocol import RequestHandler
from uuid_utils import uuid7

from services.gateway import errors


class Answer(web.StreamResponse):
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


class JsonErrors(RequestHandler):
    """aiohttp's connection handler, but what cannot be parsed is answered in JSON instead of a text page."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun: the connection can only be closed")
        if status == 400:
            too_large = exc is not None and type(exc).__name__ == "LineTooLong"
            status, kind = (431, "headers_too_large") if too_large else (400, "malformed_request")
            text = (
                "The request's headers are larger than the gateway takes."
                if too_large
                else "This is no valid HTTP request."
            )
        else:
            self.logger.error("unhandled %s", type(exc).__name__, exc_info=exc)
            kind, text = "internal_error", "The gateway failed on this request."
        request_id = str(uuid7())
        body = errors.body("", status=status, kind=kind, message=text, request_id=request_id)
        response = web.Response(status=status, body=body, content_type="application/json")
        response.headers["x-should-retry"] = "false"
        response.headers["x-metrion-request-id"] = request_id
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's low-level server with JsonErrors as its connection handler, and bodies up to `max_body` bytes."""

    def __init__(self, handler: Any, *, max_body: int, **options: Any) -> None:
        self._max_body = max_body
        self.leaving = False  # from now on each answer ends its connection, so that clients go elsewhere
        super().__init__(handler, request_factory=self._request, **options)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        if self.leaving:
            message = message._replace(should_close=True)
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=self._max_body)

    def __call__(self) -> RequestHandler:
        return JsonErrors(self, loop=self._loop, **self._kwargs)
