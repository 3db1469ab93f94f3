"""The gateway's handler and relay in process, between raw sockets."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from nats.aio.client import Client

from services.gateway.aiohttp_server import Server
from services.gateway.cache.client import CacheClient
from services.gateway.handler import Handler
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.limiter import Limiter
from services.gateway.metrics import Metrics
from services.gateway.request.provider_keys import Keys
from services.gateway.request.routing import Router
from services.gateway.settings import Settings, provider_keys, providers
from services.gateway.upstream.client import Upstream
from shared import events
from shared.accounts_model import Account, ProviderKey, Token
from shared.events import Origin, ResponseEvent
from shared.limits.model import Limit
from shared.process import cancel_and_wait
from shared.vault import Vault

TOKEN = "sk-metrion-" + "0" * 32
Responder = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


class RecordedEvents(list[events.Event]):
    """Events, as an outbox would take them, and numbers whose event could not be written."""

    def __init__(self) -> None:
        super().__init__()
        self.forgone: list[Origin] = []

    def origin(self) -> Origin:
        return Origin("spool", 1, len(self) + 1)

    def count_dropped(self, origin: Origin) -> None:
        self.forgone.append(origin)

    def append(self, event: events.Event) -> bool:  # type: ignore[override]
        events.encode(event)  # as an outbox would, with what that may raise
        super().append(event)
        return True

    @property
    def last(self) -> ResponseEvent:
        """The last request's end."""
        found = self[-1]
        assert isinstance(found, ResponseEvent)
        return found


class Tokens(dict[str, Token]):
    """Accounts, as the mirror would find them; those in `caching` are cached unasked."""

    caching: frozenset[str] = frozenset()
    limited: Sequence[Limit] = ()

    def find(self, token: str) -> Token | None:
        return self.get(token)

    def account(self, name: str) -> Account | None:
        return Account(name, datetime.now(UTC), cache=name in self.caching)

    def limits(self, account: str) -> Sequence[Limit]:
        return self.limited


class NoEvents:
    """Events that are never stored."""

    def position(self) -> tuple[int, int]:
        return 0, 0

    def stored(self, position: tuple[int, int]) -> int:
        return 0


class NoKeys:
    """Accounts that hold no provider keys of their own."""

    def provider_key(self, account: str, provider: str) -> ProviderKey | None:
        return None

    def provider_keys(self) -> list[ProviderKey]:
        return []


class RawProvider:
    """A provider that sends exactly the bytes a test sets, and keeps every request it got: (head, body)."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[bytes, bytes]] = []
        self.respond: Responder = plain(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        self.lost = asyncio.Event()  # a connection has ended
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End what still answers."""
        await asyncio.gather(*map(cancel_and_wait, self._tasks))

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection has come."""
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append((head, await _body(reader, head.lower())))
                await self.respond(writer, head)
                await writer.drain()
                if writer.is_closing():
                    break
        self.lost.set()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" in head:
        data = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            data += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return data
    at = head.find(b"\r\ncontent-length:")
    return await reader.readexactly(int(head[at + 17 :].split(b"\r\n", 1)[0])) if at >= 0 else b""


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Leave as a client that is gone for certain: its host resets the connection.

    A mere end of sending looks the same as a client that still reads.
    """
    if writer.transport.is_closing():
        return
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def plain(data: bytes, *, close: bool = False, pause: float = 0) -> Responder:
    """Answer with these bytes; then close, or hold still for `pause` seconds."""

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(data)
        await writer.drain()
        if pause:
            await asyncio.sleep(pause)
        if close:
            writer.close()

    return answer


class System:
    """A gateway in front of a raw provider."""

    def __init__(
        self,
        port: int,
        upstream: RawProvider,
        recorded: RecordedEvents,
        proxy: Handler,
        listener: Server,
        *,
        cache: CacheClient,
        tokens: "Tokens",
        limiter: Limiter,
        budgets: Budgets,
    ) -> None:
        self.limiter, self.budgets = limiter, budgets
        self.port, self.upstream, self.events, self.proxy = port, upstream, recorded, proxy
        self.cache, self.tokens = cache, tokens
        self._listener = listener

    @property
    def clients(self) -> int:
        """Connections that are not known to have ended."""
        return sum(1 for handler in self._listener.connections if handler.transport is not None)

    async def send(self, data: bytes, *, seconds: float = 60.0) -> bytes:
        """Send bytes on a new connection; everything until the answer is whole, or the connection ends (then b"<EOF>")."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            async with asyncio.timeout(seconds):
                return await _answer(reader, head_only=data.startswith(b"HEAD"))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, *, head_only: bool) -> bytes:
    found = b""
    while True:
        data = await reader.read(65536)
        if not data:
            return found + b"<EOF>"
        found += data
        head, ended, body = found.partition(b"\r\n\r\n")
        if not ended:
            continue
        lower = head.lower()
        at = lower.find(b"content-length:")
        if head_only or lower.split(b" ")[1] in (b"204", b"304"):
            return found
        if at >= 0 and len(body) >= int(lower[at + 15 :].split(b"\r\n", 1)[0]):
            return found
        if b"transfer-encoding: chunked" in lower and body.endswith(b"0\r\n\r\n"):
            return found


def request(
    method: str = "POST",
    path: str = "/api/proxy/openai/v1/chat/completions",
    *,
    body: bytes = b'{"model":"gpt-4o"}',
    headers: bytes = b"",
    auth: bytes = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n",
    kind: bytes = b"application/json",
    length: bool = True,
) -> bytes:
    """The bytes of a request; `headers` are raw lines."""
    head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\n".encode() + auth + b"Content-Type: " + kind + b"\r\n"
    return head + (b"Content-Length: %d\r\n" % len(body) if length else b"") + headers + b"\r\n" + body


@contextlib.asynccontextmanager
async def system(
    *,
    environ: Mapping[str, str] | None = None,
    nc: Client | None = None,
    raw: RawProvider | None = None,
    mistral: bool = False,
    **changes: Any,
) -> AsyncIterator[System]:
    """A gateway with short limits and a raw provider behind OpenAI, Anthropic, Gemini and Grok.

    Mistral is dead unless it is asked for. `nc`: over which it asks the cache. `raw`: the provider of another system, to
    stand behind this one too.
    """
    raw, recorded = raw or RawProvider(), RecordedEvents()
    server = await asyncio.start_server(raw.accept, "127.0.0.1", 0)
    url = raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    names = ("anthropic", "openai", "gemini", "grok")
    fields: dict[str, Any] = {f"upstream_{name}": url for name in names}
    fields |= {f"{name}_api_key": f"stored-{name}" for name in ("anthropic", "openai", "gemini", "mistral", "xai")}
    fields |= {"upstream_mistral": url if mistral else "http://127.0.0.1:1", "max_body_bytes": 100_000}
    settings = Settings(nats_url="", **(fields | changes))
    upstream = Upstream(settings)
    cache = CacheClient(wait=settings.cache_wait, timeout=settings.cache_timeout)
    cache.attach(nc)
    tokens = Tokens({TOKEN: Token("acme", "ci", datetime.now(UTC))})
    known = providers(settings)
    metrics = Metrics()
    limiter = Limiter(tokens, name="test")
    budgets = Budgets(tokens, NoEvents(), name="test")
    proxy = Handler(
        settings,
        outbox=recorded,
        directory=tokens,
        provider_keys=Keys(provider_keys(settings, known, environ or {}), sealed=NoKeys(), vault=Vault([])),
        router=Router(known),
        upstream=upstream,
        cache=cache,
        metrics=metrics,
        limiter=limiter,
        budgets=budgets,
    )
    listener = Server(
        proxy.handle,
        max_body=settings.max_body_bytes,
        max_connections=settings.max_connections,
        refusals=metrics.refusals,
        keepalive_timeout=settings.keepalive_timeout,
        handler_cancellation=settings.on_disconnect == "cancel",
        access_log=None,
        auto_decompress=False,
        max_line_size=32768,
        max_field_size=32768,
        lingering_time=0.5,
    )
    runner = web.ServerRunner(listener, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    watching = asyncio.create_task(proxy.relay.watchdog.run())
    deadline = asyncio.create_task(
        listener.enforce_deadlines(head=settings.header_timeout, unread=settings.idle_timeout)
    )
    try:
        yield System(
            runner.addresses[0][1],
            raw,
            recorded,
            proxy,
            listener,
            cache=cache,
            tokens=tokens,
            limiter=limiter,
            budgets=budgets,
        )
    finally:
        watching.cancel()
        deadline.cancel()
        await runner.cleanup()
        await cache.close()
        await upstream.close()
        await raw.close()
        server.close()
        await server.wait_closed()
