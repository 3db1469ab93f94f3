"""The dashboard's HTTP server, which answers invalid requests in the API's format."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong

from services.dashboard.api import problem
from services.dashboard.mcp import http as mcp
from shared.http_server import hide_software

log = logging.getLogger(__name__)

HEADER_SECONDS = 10.0  # for a request's headers, and until an idle connection is closed
_STOP_SECONDS = 5.0  # for requests in progress


@contextlib.asynccontextmanager
async def listen(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve the application; yields the port, which the system chooses for 0."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    hide_software(runner)
    assert runner.server is not None
    app[mcp.SERVER].dispatch = runner.server.request_handler
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"access_log": None, "keepalive_timeout": HEADER_SECONDS}
    connection = functools.partial(Connection, runner.server, loop=loop, **options)
    try:
        listener = await loop.create_server(connection, host, port)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


class Connection(web.RequestHandler):
    """A client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond to a request that cannot be parsed, or whose handler has failed.

        Raises ConnectionError, for the connection to be closed, if the client has left or its response has begun.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status == 500:
            log.error("unhandled %s", type(exc).__name__, exc_info=exc)
        if request.writer.output_size:
            raise ConnectionError("the response has begun")
        response = problem.response(status, _detail(status, exc))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an unexpected exception, except that of the rest of a malformed body."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


def _detail(status: int, error: BaseException | None) -> str:
    if status == 500:
        return problem.FAILED
    if isinstance(error, BadHttpMethod):
        return "Unknown HTTP method."
    if isinstance(error, LineTooLong):
        return "The request's headers are too large."
    return "This is not a valid HTTP request."
