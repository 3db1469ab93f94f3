"""MCP over streamable HTTP: POST /mcp, with an API key like the JSON API.

Each message is answered by itself, in JSON: there are no sessions, so any replica can answer.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web

from services.dashboard import app_context, request_body
from services.dashboard.mcp.caller import Caller
from shared.process import cancel_and_wait

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
_CALLER = "metrion.caller"  # key of the ASGI scope
_PASSED_ON = ("Authorization", "Host", "X-Forwarded-For")  # headers of a message that its tools' requests have
Event = MutableMapping[str, Any]


class HttpServer:
    """The server of an application; loaded when the first message arrives.

    `dispatch`: what the listener calls for each request, set by it.
    """

    dispatch: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

    def __init__(self) -> None:
        self._manager: StreamableHTTPSessionManager | None = None
        self._task: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Stop the server when an application stops."""
        yield
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def answer(self, request: web.Request, body: bytes, caller: Caller) -> web.Response:
        """Answer a message."""
        manager = await self._loaded()
        exchange = _Exchange(body)
        await manager.handle_request(_scope(request, caller), exchange.receive, exchange.send)
        return exchange.response()

    async def _loaded(self) -> "StreamableHTTPSessionManager":
        async with self._loading:
            if self._manager is None:
                # In a thread: the event loop goes on while Python imports.
                server = await asyncio.to_thread(importlib.import_module, "services.dashboard.mcp.server")
                logging.getLogger("mcp").setLevel(logging.WARNING)  # otherwise it has a line for each message
                managers = await asyncio.to_thread(importlib.import_module, "mcp.server.streamable_http_manager")
                built = server.build(lambda context: context.request.scope[_CALLER])
                manager = managers.StreamableHTTPSessionManager(built, json_response=True, stateless=True)
                running = asyncio.Event()
                self._task = asyncio.create_task(_run(manager, running))
                await running.wait()
                self._manager = manager
            assert self._manager is not None
            return self._manager


async def _run(manager: "StreamableHTTPSessionManager", running: asyncio.Event) -> None:
    async with manager.run():
        running.set()
        await asyncio.Event().wait()


SERVER = web.AppKey("mcp_server", HttpServer)


def prepare(app: web.Application) -> None:
    """Add the server to an application."""
    app[SERVER] = server = HttpServer()
    app.cleanup_ctx.append(server.run)


def routes() -> Sequence[web.RouteDef]:
    """POST /mcp; without sessions there is nothing to GET or DELETE."""
    return [web.post(PATH, serve)]


async def serve(request: web.Request) -> web.Response:
    """Answer a message; its tools ask the API of this application, with the same key."""
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    inner = request.clone(method="GET", headers={**headers, "Accept": "application/json"})  # before the body is read

    server = request.app[SERVER]

    async def get(url: str) -> tuple[int, bytes]:
        # As if it had arrived on a socket: permission, limits and metrics are those of any request to the API.
        response = await server.dispatch(inner.clone(rel_url=url))
        assert isinstance(response, web.Response) and isinstance(response.body, bytes)
        return response.status, response.body

    body = await request_body.read(request)
    return await server.answer(request, body, Caller(app_context.user(request), get))


def _scope(request: web.Request, caller: Caller) -> Event:
    """Return a request as ASGI has it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": request.query_string.encode(),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": None,
        "server": None,
        "state": {},
        _CALLER: caller,
    }


class _Exchange:
    """A request and its response as the events of ASGI."""

    def __init__(self, body: bytes) -> None:
        self._unread: list[Event] = [{"type": "http.request", "body": body, "more_body": False}]
        self._start: Event = {"status": 500, "headers": []}
        self._body = b""

    async def receive(self) -> Event:
        if self._unread:
            return self._unread.pop()
        await asyncio.Event().wait()  # nobody hangs up
        raise AssertionError

    async def send(self, event: Event) -> None:
        if event["type"] == "http.response.start":
            self._start = event
        else:
            self._body += event.get("body", b"")

    def response(self) -> web.Response:
        headers = {name.decode(): value.decode() for name, value in self._start["headers"]}
        headers.pop("content-length", None)  # the response may be compressed
        return web.Response(body=self._body, status=self._start["status"], headers=headers)
