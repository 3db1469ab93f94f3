"""Relays a request to its provider and the response to the client, unchanged."""

import asyncio
from functools import partial

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from services.gateway import response_head
from services.gateway.accounting_failures import HEADERS
from services.gateway.aiohttp_server import client_left
from services.gateway.context import RequestContext
from services.gateway.direct_relay import DirectRelay
from services.gateway.exchange import Exchange
from services.gateway.idle_timeout import IdleWatchdog
from services.gateway.metrics import Metrics
from services.gateway.outbox.sanitize import text
from services.gateway.parsing.decompress import CORRUPT, STEP, Opening
from services.gateway.parsing.sse import may_be_event_stream
from services.gateway.request import credentials
from services.gateway.request.errors import CLIENT_LEFT, Refusal
from services.gateway.settings import Settings
from services.gateway.upstream.client import Upstream, UpstreamResponse, explain, stop_timer, time_out
from services.gateway.upstream.http_call import DirectResponse
from services.gateway.upstream.response_headers import content_encoding
from services.gateway.usage.prompt_store import PromptStore
from services.gateway.usage.tap import EVENT_STREAM, is_event_stream, open_tap
from shared import events
from shared.providers import ANTHROPIC_API

_TURN_BYTES = 128 << 10  # how much of a response is relayed before other requests get a turn
_SNIFF_BYTES = 4 << 10  # how much of a response is examined to recognise an event stream


class Relay:
    """Calls providers and relays their responses. Holds no state of any request."""

    def __init__(self, settings: Settings, *, upstream: Upstream, metrics: Metrics) -> None:
        self._settings = settings
        self._upstream = upstream
        self._metrics = metrics
        self.watchdog = IdleWatchdog(settings.idle_timeout)
        self.prompts = PromptStore()
        self.stopping = False

    async def forward(self, ctx: RequestContext) -> web.StreamResponse:
        """Relay one request and finish its exchange; Refusal 502 or 504 on a failure."""
        exchange = ctx.exchange
        origin, path = self.prepare(ctx)
        exchange.begin()
        try:
            upstream_response = await self._upstream.call(
                ctx.request.method,
                origin,
                path,
                headers=ctx.headers,
                has_raw_bytes=ctx.has_raw_bytes,
                body=ctx.take_body(),
                sent=ctx.free_body,
            )
        except asyncio.CancelledError:
            exchange.finish(self._cancel_outcome(), status=CLIENT_LEFT)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if ctx.upload_refusal is not None:
                raise ctx.upload_refusal from None
            raise self._fail(exchange, error) from error
        try:
            return await self.relay(ctx, upstream_response)
        except asyncio.CancelledError:
            exchange.finish(self._cancel_outcome())
            raise
        finally:
            if not exchange.finished:  # a defect: every path above finishes it
                exchange.finish(events.UPSTREAM_ERROR, error_type="internal_error")
            if exchange.prompt is not None:
                exchange.prompt.drop()
            self.watchdog.end(exchange)
            upstream_response.close()  # if it was read to its end, its connection is back in the pool already

    def prepare(self, ctx: RequestContext) -> tuple[str, str]:
        """Set the provider's credential and headers: (origin, path with query)."""
        route = ctx.route
        provider = route.provider
        headers = ctx.headers
        exchange = ctx.exchange
        key = ctx.caller.provider_key
        if key:
            name, value = credentials.credential_header(route.key_header, key)
            headers[name] = value
        if provider.api == ANTHROPIC_API and self._settings.anthropic_version != "client":
            headers["anthropic-version"] = self._settings.anthropic_version
        if route.has_results_urls and self._settings.rewrite_urls:
            headers.popall(hdrs.ACCEPT_ENCODING, None)
            headers[hdrs.ACCEPT_ENCODING] = "identity"
        body = ctx.body
        if isinstance(body, bytes | tuple):
            exchange.request_bytes = len(body) if isinstance(body, bytes) else sum(map(len, body))
            if self._settings.estimate and ctx.decoded_body is not None:
                exchange.prompt = self.prompts.keep(ctx.decoded_body)
        elif body is not None and (length := ctx.request.headers.get(hdrs.CONTENT_LENGTH)):
            headers[hdrs.CONTENT_LENGTH] = length
        query = f"?{ctx.query}" if ctx.query else ""
        return provider.upstream, f"{route.path}{query}"

    async def relay(self, ctx: RequestContext, upstream_response: UpstreamResponse) -> web.StreamResponse:
        """Relay the response as it arrives.

        Its ResponseEvent is appended before its last bytes are sent.
        """
        exchange = ctx.exchange
        headers = upstream_response.headers
        content = upstream_response.content

        # 1. Find out whether this is an event stream, from its first bytes if its Content-Type says otherwise.
        media_type = headers.get(hdrs.CONTENT_TYPE, "")
        stream = is_event_stream(media_type)
        start = b""
        opening: Opening | None = None
        is_compressed = _is_compressed(headers)
        read = partial(content.read, STEP) if is_compressed else content.readany
        if not stream and exchange.envelope.stream and upstream_response.status < 400:
            try:
                start = await read()
            except (TimeoutError, aiohttp.ClientError) as error:
                raise self._fail(exchange, error) from error
            opening = _opening(start, content_encoding(headers))
            if opening is not None and may_be_event_stream(opening.text[:_SNIFF_BYTES]):
                media_type = EVENT_STREAM
                stream = True
        if stream:
            exchange.mark_stream()
        elif exchange.prompt is not None and not exchange.envelope.stream:
            exchange.prompt.drop()  # a whole response states its usage: nothing is estimated
            exchange.prompt = None

        # 2. Open the tap, build the client's response, start the cache's copy.
        self._read_head(exchange, upstream_response, media_type, opening)
        response = response_head.build(
            ctx, upstream_response, stream=stream, settings=self._settings, failures=self._metrics.failures
        )
        editor = ctx.body_editor
        recorder = ctx.recorder
        if recorder is not None:
            recorder.begin(headers)
        try:
            length = int(headers[hdrs.CONTENT_LENGTH]) if hdrs.CONTENT_LENGTH in headers else None
        except ValueError as error:  # int() refuses thousands of digits
            raise self._fail(exchange, aiohttp.ClientPayloadError("Content-Length is not a number")) from error

        account = partial(self._account, ctx, length=length)
        direct: DirectRelay | None = None
        try:
            if stream:
                await response.prepare(ctx.request)
                if isinstance(upstream_response, DirectResponse) and response.is_chunked:
                    direct = DirectRelay(upstream_response, response, account, at_once=STEP if is_compressed else -1)
            turn = 0  # bytes relayed since other requests last had a turn
            while data := start or await read():
                start = b""
                # 3. After the first chunk the idle timeout replaces the first-byte timeout.
                first = not exchange.response_bytes
                last = content.at_eof()
                is_whole = first and last and not stream and editor is None and hdrs.CONTENT_LENGTH in response.headers
                if first and not last:
                    stop_timer(upstream_response)
                    self._watch(exchange, upstream_response)
                turn += len(data)
                # 4. Account for the chunk, and for the end before the client can see it.
                data = account(data, last=last)
                # 5. Send the chunk.
                if first and not stream and not is_whole:
                    await response.prepare(ctx.request)
                if data:
                    exchange.writing = True
                    if is_whole:
                        await response.send_whole(ctx.request, data)
                    else:
                        await (response.write_eof(data) if last and editor is None else response.write(data))
                    exchange.writing = False
                if last:
                    break
                # Buffered data is read, and mostly written, without yielding.
                if turn > _TURN_BYTES or (is_compressed and len(data) == STEP):
                    turn = 0
                    await asyncio.sleep(0)
                # 6. From here on chunks pass by themselves, unless they come faster than the client reads.
                if direct is not None:
                    await direct.run()
                    exchange.writing = True
                    await response.drain()
                    exchange.writing = False
            if not exchange.finished:
                exchange.finish(events.COMPLETE)
            if editor is not None and (held := editor.end()):
                await response.write(held)
        except ConnectionError:  # only writing raises it: reading raises aiohttp's own errors
            await self._drain(exchange, upstream_response)
        except (TimeoutError, aiohttp.ClientError, *CORRUPT) as error:  # CORRUPT: wrong Content-Encoding
            if not (exchange.response_bytes or stream):
                raise self._fail(exchange, error) from error
            self._abort(ctx, error)
        return response

    def _account(self, ctx: RequestContext, data: bytes, *, length: int | None, last: bool = False) -> bytes:
        """Account for a chunk, and for the end of the response; returns what the client gets of the chunk.

        ConnectionResetError if the client is gone.
        """
        exchange = ctx.exchange
        exchange.receive(data)
        if ctx.recorder is not None:
            ctx.recorder.feed(data)
        if last or exchange.tap.ended or exchange.response_bytes == length:
            if client_left(ctx.request):
                raise ConnectionResetError("the client disconnected, which no write has shown yet")
            exchange.finish(events.COMPLETE)
        return data if ctx.body_editor is None else ctx.body_editor.feed(data)

    def _watch(self, exchange: Exchange, upstream_response: UpstreamResponse) -> None:
        """Have the response aborted when its provider goes silent."""
        self.watchdog.begin(exchange, partial(time_out, upstream_response))

    def _read_head(
        self, exchange: Exchange, upstream_response: UpstreamResponse, media_type: str, opening: Opening | None
    ) -> None:
        """Note what the response's head says for accounting, and open the tap for its media type."""
        headers = upstream_response.headers
        exchange.status = upstream_response.status
        try:
            request_id = headers.get("request-id") or headers.get("x-request-id") or ""
            exchange.provider_request_id = request_id if request_id.isascii() else text(request_id)
            if tier := headers.get("x-gemini-service-tier"):
                exchange.response_notes = {"x-gemini-service-tier": text(tier)[:64]}
            exchange.tap = open_tap(
                upstream_response.status,
                media_type,
                content_encoding(headers),
                exchange.envelope.dialect,
                inflate=None if opening is None else opening.inflate,
                copy=self._settings.estimate,
                framed=hdrs.CONTENT_LENGTH in headers or hdrs.TRANSFER_ENCODING in headers,
            )
        except Exception as error:
            exchange.give_up_reading(HEADERS, error)

    async def _drain(self, exchange: Exchange, upstream_response: UpstreamResponse) -> None:
        """Read the rest of the response for its exact usage after the client left, within the drain limits."""
        settings = self._settings
        metrics = self._metrics
        exchange.writing = False
        if not exchange.finished and settings.on_disconnect == "drain" and metrics.draining < settings.drain_limit:
            metrics.draining += 1
            content = upstream_response.content
            read = partial(content.read, STEP) if _is_compressed(upstream_response.headers) else content.readany
            try:
                async with asyncio.timeout(settings.drain_seconds):
                    while not exchange.tap.ended and (data := await read()):
                        exchange.receive(data)
                        if exchange.response_bytes > settings.drain_bytes:
                            break
                        if len(data) > _SNIFF_BYTES:
                            await asyncio.sleep(0)
                exchange.drained = exchange.response_bytes <= settings.drain_bytes
                metrics.drained += exchange.drained
            except (TimeoutError, aiohttp.ClientError) as error:
                error.__traceback__ = None  # the row is partial: it has what was read so far
            finally:
                metrics.draining -= 1
        exchange.finish(events.CLIENT_CLOSED)

    def _abort(self, ctx: RequestContext, error: BaseException) -> None:
        """End the client's response like the provider's, in its middle: a clean end is never made up."""
        timeout = isinstance(error, TimeoutError)
        error.__traceback__ = None  # the reader keeps its error, so a traceback would make a reference cycle
        ctx.exchange.finish(
            events.TIMEOUT if timeout else events.UPSTREAM_CLOSED,
            error_type="idle_timeout" if timeout else "broken_off",
            message="The provider stopped sending." if timeout else "The provider's response was cut off.",
        )
        transport = ctx.request.transport
        if transport is not None:
            transport.close()

    def _fail(self, exchange: Exchange, error: BaseException) -> Refusal:
        """Finish the exchange with a failure to get a response, and return the refusal to raise."""
        refusal, outcome = explain(error, exchange.envelope.provider)
        error.__traceback__ = None  # whoever was read from keeps its error
        exchange.finish(outcome, status=refusal.status, error_type=refusal.code, message=refusal.message)
        return refusal

    def _cancel_outcome(self) -> str:
        """Outcome of a cancelled handler: the gateway stops, or the client left (with on_disconnect=cancel)."""
        return events.INTERRUPTED if self.stopping else events.CLIENT_CLOSED


def _is_compressed(headers: CIMultiDictProxy[str]) -> bool:
    return content_encoding(headers) not in ("", "identity")


def _opening(start: bytes, encoding: str) -> Opening | None:
    """A response's first bytes, decompressed; None for an unknown Content-Encoding."""
    try:
        return Opening(start, encoding)
    except LookupError:
        return None
