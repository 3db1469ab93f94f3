"""From an accepted request to the provider and back: bytes pass as they come, the tap reads a copy."""

import asyncio
import re
from functools import partial
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, MultiMapping

from services.gateway.accounting_failures import HEADERS, REMOVER
from services.gateway.aiohttp_server import client_left
from services.gateway.cache.key import CachePlan
from services.gateway.cache.recorder import Recorder
from services.gateway.exchange import Exchange
from services.gateway.idle_timeout import IdleWatchdog
from services.gateway.metrics import Metrics
from services.gateway.outbox.sanitize import text
from services.gateway.parsing.decompress import CORRUPT, inflater
from services.gateway.parsing.sse import begins_like_stream
from services.gateway.passthrough_response import PassthroughResponse
from services.gateway.request import cors, credentials
from services.gateway.request.body_budget import Reservation
from services.gateway.request.errors import CLIENT_LEFT, Refusal
from services.gateway.request.multipart import Form
from services.gateway.request.routing import Route
from services.gateway.settings import Settings
from services.gateway.upstream import response_headers, rewrite_urls
from services.gateway.upstream.client import Upstream, UpstreamResponse, explain, stop_timer
from services.gateway.usage.prompt_store import PromptStore
from services.gateway.usage.tap import EVENT_STREAM, is_event_stream, open_tap
from services.gateway.usage.usage_remover import Remover
from shared import events
from shared.providers import ANTHROPIC_API

REQUEST_ID = "x-metrion-request-id"
CACHE = "x-metrion-cache"
_TURN = 128 << 10  # bytes of an answer that are worked on before other requests have their turn
_SNIFFED = 4 << 10  # bytes of an answer that are looked at for being a stream
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # none of them can be written in a reason phrase


class Accepted:
    """A request that is authenticated, read and bookable."""

    __slots__ = (
        "body",
        "caller",
        "exchange",
        "form",
        "headers",
        "origin",
        "plan",
        "query",
        "recorder",
        "refusal",
        "remover",
        "reservation",
        "route",
        "text",
        "usage_asked",
        "web",
    )

    def __init__(self, request: web.BaseRequest, route: Route, caller: credentials.Caller) -> None:
        self.web, self.route, self.caller = request, route, caller
        self.headers: CIMultiDict[str]
        self.exchange: Exchange
        self.query = ""
        self.body: Any = None  # bytes, or an async iterator for a body that streams through
        self.text: bytes | None = None  # a body at hand, uncompressed, as far as it can be read
        self.form: Form | None = None  # reads along with a body that streams through
        # Takes out of a stream what the gateway asked for, or rewrites URLs in a document.
        self.remover: Remover | rewrite_urls.ResultsUrls | None = None
        self.usage_asked = False  # the stream was asked for its usage, by the client or in its stead
        self.plan: CachePlan | None = None  # what caching is to do
        self.recorder: Recorder | None = None  # keeps the answer for the cache
        self.origin = ""  # a browser's origin that may read the answer
        self.refusal: Refusal | None = None  # why the body that streams through was not sent to its end
        self.reservation: Reservation | None = None  # of memory for the body

    def hold(self, reservation: Reservation) -> None:
        """Keep the room that the body has in memory."""
        self.reservation = reservation

    def hold_more(self, size: int) -> None:
        """Reserve room for what the body becomes uncompressed; Refusal 503 where there is none."""
        if self.reservation is not None:
            self.reservation.grow(self.reservation.size + size)

    def take_body(self) -> Any:
        """The body, which is not kept here any longer: it is sent once, and may be large."""
        body, self.body, self.text = self.body, None, None
        return body

    def free_body(self) -> None:
        """The body is sent, or will not be: its room is free."""
        self.body = self.text = None
        if self.reservation is not None:
            self.reservation.release()
            self.reservation = None


class Relay:
    """Calls providers. Holds no state of any request."""

    def __init__(self, settings: Settings, *, upstream: Upstream, metrics: Metrics) -> None:
        self._settings, self._upstream, self._metrics = settings, upstream, metrics
        self.watch = IdleWatchdog(settings.idle_timeout)
        self.prompts = PromptStore()
        self.stopping = False

    async def forward(self, request: Accepted) -> web.StreamResponse:
        """The provider's answer; Refusal 502 or 504 when there is none. The exchange is finished in any case."""
        exchange = request.exchange
        origin, path = self._prepare(request)
        exchange.begin()
        try:
            answer = await self._upstream.call(
                request.web.method,
                origin,
                path,
                headers=request.headers,
                body=request.take_body(),
                sent=request.free_body,
            )
        except asyncio.CancelledError:
            exchange.finish(self._cut(), status=CLIENT_LEFT)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if request.refusal is not None:
                raise request.refusal from None
            raise self._failed(exchange, error) from error
        try:
            return await self._relay(request, exchange, answer)
        except asyncio.CancelledError:
            exchange.finish(self._cut())
            raise
        finally:
            if not exchange.over:  # as it always should be
                exchange.finish(events.UPSTREAM_ERROR, kind="internal_error")
            if exchange.body is not None:
                exchange.body.drop()
            self.watch.end(exchange)
            answer.close()  # a connection whose answer was read to its end is back in the pool already

    def _prepare(self, request: Accepted) -> tuple[str, str]:
        """Set the provider's one credential and whatever else goes out changed: (origin, path)."""
        provider, headers, exchange = request.route.provider, request.headers, request.exchange
        key = request.caller.provider_key
        if key:
            name, value = credentials.credential_header(request.route.key_header, key)
            headers[name] = value
        if provider.api == ANTHROPIC_API and self._settings.anthropic_version != "client":
            headers["anthropic-version"] = self._settings.anthropic_version
        if request.route.has_results_urls and self._settings.rewrite_urls:
            headers.popall(hdrs.ACCEPT_ENCODING, None)
            headers[hdrs.ACCEPT_ENCODING] = "identity"
        if isinstance(request.body, bytes):
            exchange.request_bytes = len(request.body)
            if self._settings.estimate and request.text is not None:
                exchange.body = self.prompts.keep(request.text)
        elif request.body is not None and (length := request.web.headers.get(hdrs.CONTENT_LENGTH)):
            headers[hdrs.CONTENT_LENGTH] = length
        query = f"?{request.query}" if request.query else ""
        return provider.upstream, f"{request.route.path}{query}"

    async def _relay(self, request: Accepted, exchange: Exchange, answer: UpstreamResponse) -> web.StreamResponse:
        """Send the answer on as it arrives; its ResponseEvent is appended before the bytes that end it."""
        headers, content = answer.headers, answer.content
        kind = headers.get(hdrs.CONTENT_TYPE, "")
        stream = is_event_stream(kind)
        start = b""
        if not stream and exchange.envelope.stream and answer.status < 400:
            try:
                start = await content.readany()
            except (TimeoutError, aiohttp.ClientError) as error:
                raise self._failed(exchange, error) from error
            if _is_stream(start, _encoding(headers)):
                kind = EVENT_STREAM
                stream = True
        if stream:
            exchange.streams()
        elif exchange.body is not None and not exchange.envelope.stream:
            exchange.body.drop()  # whole answers state their usage
            exchange.body = None
        self._note(exchange, answer, kind)
        response = self._head(request, answer, stream=stream)
        remover, recorder = request.remover, request.recorder
        if recorder is not None:
            recorder.begin(headers)
        length = int(headers[hdrs.CONTENT_LENGTH]) if hdrs.CONTENT_LENGTH in headers else None
        try:
            if stream:
                await response.prepare(request.web)
            turn = 0  # bytes since others had their turn
            while data := start or await content.readany():
                start = b""
                first = not exchange.response_bytes
                exchange.receive(data)
                turn += len(data)
                if turn > _TURN:  # data at hand is read, and mostly written, without a pause
                    turn = 0
                    await asyncio.sleep(0)
                if recorder is not None:
                    recorder.feed(data)
                last = content.at_eof()
                if first and not last:
                    stop_timer(answer)
                    self._watch(request, answer)
                if first and not stream:
                    await response.prepare(request.web)
                if last or exchange.tap.ended or exchange.response_bytes == length:
                    if client_left(request.web):
                        raise ConnectionResetError("the client left, and no write had to tell")
                    exchange.finish(events.COMPLETE)
                if remover is not None:
                    data = remover.feed(data)
                if data:
                    exchange.writing = True
                    await (response.write_eof(data) if last and remover is None else response.write(data))
                    exchange.writing = False
            if not exchange.over:
                exchange.finish(events.COMPLETE)
            if remover is not None and (held := remover.end()):
                await response.write(held)
        except ConnectionError:  # only writing raises it: reading raises aiohttp's own errors
            await self._client_left(exchange, answer)
        except (TimeoutError, aiohttp.ClientError, *CORRUPT) as error:  # CORRUPT: not compressed as it says
            if not (exchange.response_bytes or stream):
                raise self._failed(exchange, error) from error
            self._break_off(request, exchange, error)
        return response

    def _watch(self, request: Accepted, answer: UpstreamResponse) -> None:
        """Have the answer broken off when its provider falls silent."""

        def reading() -> None:
            answer.content.set_exception(TimeoutError("silent"))

        self.watch.begin(request.exchange, reading)

    def _note(self, exchange: Exchange, answer: UpstreamResponse, kind: str) -> None:
        """Note what the answer's head says that bears on the books, and open the tap for its media type."""
        headers = answer.headers
        exchange.status = answer.status
        try:
            request_id = headers.get("request-id") or headers.get("x-request-id") or ""
            exchange.provider_request_id = request_id if request_id.isascii() else text(request_id)
            if tier := headers.get("x-gemini-service-tier"):
                exchange.response_notes = {"x-gemini-service-tier": text(tier)[:64]}
            exchange.tap = open_tap(
                answer.status,
                kind,
                _encoding(headers),
                exchange.envelope.dialect,
                copy=self._settings.estimate,
                framed=hdrs.CONTENT_LENGTH in headers or hdrs.TRANSFER_ENCODING in headers,
            )
        except Exception as error:
            exchange.give_up_reading(HEADERS, error)

    def _head(self, request: Accepted, answer: UpstreamResponse, *, stream: bool) -> PassthroughResponse:
        """The answer's head: the provider's own, hop-by-hop headers aside, and ours."""
        reason = answer.reason or ""
        if not reason.isprintable():
            reason = _CONTROL.sub("", reason)
        response = PassthroughResponse(status=answer.status, reason=reason, headers=answer.headers)
        headers = response.headers
        named = headers.get(hdrs.CONNECTION, "")
        removed, urls = response_headers.sort(headers)
        for name in removed:
            headers.popall(name, None)
        for name in named.split(",") if named else ():
            headers.popall(name.strip(), None)
        if not "".join(headers.values()).isascii():
            _repair(headers)
        headers[REQUEST_ID] = request.exchange.envelope.id
        if request.exchange.cache:
            headers[CACHE] = request.exchange.cache
        if request.origin:
            cors.allow_origin(headers, request.origin)
        if (urls or request.route.has_results_urls) and self._settings.rewrite_urls:
            self._lead_to_gateway(request, headers, urls)
        if request.remover is not None:
            self._prepare_edit(request, request.remover, headers, stream=stream)
        if not stream:
            response.head_with_body()
        return response

    def _prepare_edit(
        self,
        request: Accepted,
        remover: Remover | rewrite_urls.ResultsUrls | None,
        headers: CIMultiDict[str],
        *,
        stream: bool,
    ) -> None:
        """Fit what edits the body to its format: an editor of streams may decompress, and the length is unknown."""
        if isinstance(remover, Remover) is not stream:
            remover = None
        encoding = _encoding(headers)
        if encoding.lower() not in ("", "identity"):
            try:
                inflate = inflater(encoding, passed=True)
            except LookupError:
                inflate = None
            if isinstance(remover, Remover) and inflate is not None:
                remover.inflate = inflate
                headers.popall(hdrs.CONTENT_ENCODING)
            else:
                remover = None
        if remover is not None:
            remover.failed = partial(self._metrics.failures.note, REMOVER, request=request.exchange.envelope.id)
            headers.popall(hdrs.CONTENT_LENGTH, None)
        request.remover = remover

    def _lead_to_gateway(self, request: Accepted, headers: CIMultiDict[str], urls: list[str]) -> None:
        """Rewrite the provider's own URLs in the headers named in `urls`, and prepare to do so in the body."""
        named = [name for name in dict.fromkeys(urls) if name in headers]  # a Connection header may have removed some
        gateway = rewrite_urls.gateway_url(request.web.headers, setting=self._settings.public_gateway_url)
        if gateway:
            credential = request.caller.presented
            rewrite_urls.rewrite_headers(headers, named, route=request.route, gateway=gateway, credential=credential)
            if request.route.has_results_urls:
                request.remover = rewrite_urls.ResultsUrls(request.route.provider, gateway)

    async def _client_left(self, exchange: Exchange, answer: UpstreamResponse) -> None:
        """Read the answer to its end for exact usage, within bounds, or drop it: a setting."""
        settings, metrics = self._settings, self._metrics
        exchange.writing = False
        if not exchange.over and settings.on_disconnect == "drain" and metrics.draining < settings.drain_limit:
            metrics.draining += 1
            try:
                async with asyncio.timeout(settings.drain_seconds):
                    while not exchange.tap.ended and (data := await answer.content.readany()):
                        exchange.receive(data)
                        if exchange.response_bytes > settings.drain_bytes:
                            break
                        if len(data) > _SNIFFED:
                            await asyncio.sleep(0)
                exchange.drained = exchange.response_bytes <= settings.drain_bytes
                metrics.drained += exchange.drained
            except (TimeoutError, aiohttp.ClientError):
                pass  # what is known by now is booked as partial
            finally:
                metrics.draining -= 1
        exchange.finish(events.CLIENT_CLOSED)

    def _break_off(self, request: Accepted, exchange: Exchange, error: BaseException) -> None:
        """The provider's answer ended in its middle: so does ours. An end is never invented."""
        timeout = isinstance(error, TimeoutError)
        exchange.finish(
            events.TIMEOUT if timeout else events.UPSTREAM_CLOSED,
            kind="idle_timeout" if timeout else "broken_off",
            message="The provider stopped sending." if timeout else "The provider broke its answer off.",
        )
        transport = request.web.transport
        if transport is not None:
            transport.close()

    def _failed(self, exchange: Exchange, error: BaseException) -> Refusal:
        refusal, outcome = explain(error, exchange.envelope.provider)
        exchange.finish(outcome, status=refusal.status, kind=refusal.kind, message=refusal.message)
        return refusal

    def _cut(self) -> str:
        """Why a handler is cancelled: the gateway stops, or the client left (and the setting is cancel)."""
        return events.INTERRUPTED if self.stopping else events.CLIENT_CLOSED


def _repair(headers: CIMultiDict[str]) -> None:
    """Header bytes that are no UTF-8 arrive as lone surrogates, which can't be written: they go out as `?`."""
    for name, value in list(headers.items()):
        if not value.isascii():
            values = [one.encode("utf-8", "replace").decode() for one in headers.popall(name, [])]
            for one in values:
                headers.add(name, one)


def _encoding(headers: MultiMapping[str]) -> str:
    """All of the Content-Encoding, in the order in which it was applied."""
    return ", ".join(headers.getall(hdrs.CONTENT_ENCODING)) if hdrs.CONTENT_ENCODING in headers else ""


def _is_stream(start: bytes, encoding: str) -> bool:
    """Whether an answer begins like an event stream, whatever its Content-Type says."""
    try:
        inflate = inflater(encoding)
        return begins_like_stream(inflate(start[:_SNIFFED]) if inflate else start)
    except (LookupError, *CORRUPT):
        return False
