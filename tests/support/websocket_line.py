"""A WebSocket client and a provider with a gateway between them, and the rows of what they say."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from services.logger import rows
from services.logger.rows import ResponseRow
from shared.events import RequestEvent, ResponseEvent
from tests.support.gateway_app import System, system
from tests.support.websocket_peers import Provider, Socket, connect, connection_id, provider, text

RESPONSES = "/api/proxy/openai/v1/responses"
REALTIME = "/api/proxy/openai/v1/realtime?model=gpt-realtime"
LIVE = "/api/proxy/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


class Line(NamedTuple):
    """A client and a provider with the gateway between them."""

    gateway: System
    upstream: Provider
    client: Socket
    far: Socket

    async def ask(self, message: Any) -> None:
        """Have the client say something, and the provider hear it."""
        data = text(message, masked=True)
        await self.client.send(data)
        assert await self.far.exactly(len(data)) == data

    async def answer(self, *messages: Any) -> None:
        """Have the provider say something, and the client hear it."""
        for message in messages:
            data = text(message, masked=False)
            await self.far.send(data)
            assert await self.client.exactly(len(data)) == data

    def rows(self) -> list[ResponseRow]:
        """Rows of the responses so far: those without an end as the sweep records them once the gateway is gone."""
        found: dict[str, ResponseRow] = {}
        for event in self.gateway.events:
            row = rows.row(event)
            if isinstance(event, RequestEvent):
                assert isinstance(row, rows.RequestRow)
                found[event.envelope.id] = rows.interrupted(row)
            elif isinstance(event, ResponseEvent):
                assert isinstance(row, ResponseRow)
                found[event.envelope.id] = row
        assert all(row.connection == connection_id(self.client) for row in found.values() if row.endpoint[:3] == "WS ")
        return list(found.values())

    async def over(self) -> None:
        """Wait until both sides see the end."""
        await self.client.ended()
        await self.far.ended()


@contextlib.asynccontextmanager
async def line(path: str = RESPONSES, *, deflate: bool = False, **changes: Any) -> AsyncIterator[Line]:
    async with provider() as upstream:
        urls = {f"upstream_{name}": f"http://127.0.0.1:{upstream.port}" for name in ("openai", "grok", "gemini")}
        async with system(**(urls | changes)) as gateway:
            client = await connect(gateway.port, path, deflate=deflate)
            far = await upstream.sockets.get()
            yield Line(gateway, upstream, client, far)
            client.leave()
            far.leave()
