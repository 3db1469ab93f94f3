"""The door: a client's request in, an accepted request for the relay or a refusal in the caller's own format out."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from uuid_utils import uuid7

from services.gateway import (
    access,
    ask,
    cached,
    credentials,
    errors,
    fingerprint,
    headers,
    include_usage,
    keys,
    routing,
)
from services.gateway.caching import Cache
from services.gateway.errors import Refusal
from services.gateway.exchange import Book, Exchange, started
from services.gateway.form import Form
from services.gateway.metrics import Metrics
from services.gateway.relay import CACHE, REQUEST_ID, Accepted, Relay
from services.gateway.settings import Settings
from services.gateway.upstream import Upstream
from shared import contract
from shared.contract import Envelope
from shared.providers import GEMINI_API

log = logging.getLogger(__name__)

_FORM_HEAD = 64 << 10
_JSON = ("application/json", "")


class Proxy:
    """One handler for every path. Knows neither ClickHouse nor prices, and never waits for bookkeeping."""

    def __init__(
        self,
        settings: Settings,
        *,
        book: Book,
        directory: credentials.Directory,
        provider_keys: credentials.Keys,
        router: routing.Router,
        upstream: Upstream,
        cache: Cache,
        metrics: Metrics,
    ) -> None:
        self._cache = cache
        self._settings, self._book, self._directory, self._metrics = settings, book, directory, metrics
        self._keys, self._router, self._origins = provider_keys, router, frozenset(settings.cors_origins)
        self.relay = Relay(settings, upstream=upstream, metrics=metrics)
        self.full = False  # the outbox is full and the operator would rather stop than serve unaccounted

    @property
    def active(self) -> int:
        """Requests that are being served now, drained ones included."""
        return self._metrics.active

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request; every failure of ours is an answer in the caller's own format."""
        call = _Call(request)
        self._metrics.active += 1
        try:
            if request.method == "OPTIONS" and (answer := access.preflight(request, self._origins)) is not None:
                answer.headers[REQUEST_ID] = call.id
                return answer
            accepted = await self._accept(call)
            if accepted.plan is None:
                return await self.relay.forward(accepted)
            return await cached.serve(accepted, accepted.plan, cache=self._cache, relay=self.relay)
        except Refusal as refusal:
            return self._refuse(call, refusal)
        except ConnectionError:
            raise  # the client is gone: aiohttp closes up behind it
        except Exception as error:
            log.exception("request %s failed", call.id)
            if request.writer.output_size:
                raise ConnectionResetError("the answer had begun") from error
            return self._refuse(call, Refusal(500, "internal_error", "The gateway failed on this request."))
        finally:
            self._metrics.active -= 1

    async def _accept(self, call: "_Call") -> Accepted:
        """Authenticate, read and check: everything before the provider is called."""
        request, settings = call.request, self._settings
        path, _, query = request.raw_path.partition("?")
        intake, query = headers.read(request.headers.items(), query)
        origin = request.headers.get(hdrs.ORIGIN, "")
        call.origin = origin if origin in self._origins else ""
        call.route = self._router.find(path, native_key=intake.native_key)
        route = access.check(request, call.route)
        caller = credentials.authenticate(
            intake,
            provider=route.provider,
            directory=self._directory,
            keys=self._keys,
            open_passthrough=settings.open_passthrough,
        )
        accepted = Accepted(request, route, caller)
        accepted.headers, accepted.query, accepted.origin = intake.forward, query, call.origin
        call.accepted = accepted
        call.facts = headers.facts(
            intake.ours,
            request.headers.get(hdrs.CACHE_CONTROL, ""),
            cache_default=(account := self._directory.account(caller.account)) is not None and account.cache,
        )
        headers.forwardable(intake)
        asked, model = await self._read(accepted)
        call.model, call.stream = route.model or model, route.stream or asked.stream is True
        exchange = accepted.exchange = call.exchange = self._exchange(call)
        exchange.request_notes = ask.notes(asked, path=route.path, upstream=route.provider.upstream)
        access.allow(caller, route.provider.name, call.model)
        if route.provider.key_header and not caller.provider_key:
            raise keys.missing(route.provider)
        if self.full:
            raise Refusal(503, "outbox_full", "Requests cannot be accounted at the moment; try again later.")
        if call.facts.cache:
            self._plan(accepted, call.facts)
        if call.stream and isinstance(accepted.body, bytes):
            self._ask_for_usage(accepted, asked)
        return accepted

    def _plan(self, accepted: Accepted, facts: headers.Facts) -> None:
        """What caching is to do; nothing where it makes no sense."""
        accepted.plan = plan = fingerprint.plan(
            accepted.body,
            method=accepted.web.method,
            route=accepted.route,
            query=accepted.query,
            headers=accepted.headers,
            account=accepted.caller.account,
            facts=facts,
        )
        if plan is not None:
            accepted.usage_asked = plan.usage
            accepted.exchange.cache = "REFRESH" if plan.refresh else "MISS"

    async def _read(self, accepted: Accepted) -> tuple[ask.Ask, str]:
        """Take in a JSON body, or the head of another one, which then streams through: (what it asks, model)."""
        request, limit = accepted.web, self._settings.max_body_bytes
        if not request.body_exists:
            return ask.NOTHING, ""
        content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
        kind = content_type.partition(";")[0].strip().lower()
        is_json = kind in _JSON or kind.endswith("+json")
        if is_json and (length := request.content_length) is not None:
            if length > limit:
                raise _too_large(limit)
            if request.content.is_eof():  # all of it has come already: the usual case, and nothing to wait for
                accepted.body = request.content.read_nowait()
                asked = ask.read(accepted.body)
                return asked, ask.model(asked)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # none of it belongs to the answer
        try:
            async with asyncio.timeout(self._settings.first_byte_timeout):
                if is_json:
                    accepted.body = await request.read()
                    asked = ask.read(accepted.body)
                    return asked, ask.model(asked)
                head = b""
                while len(head) < _FORM_HEAD and not request.content.at_eof():
                    head += await request.content.readany()
        except web.HTTPRequestEntityTooLarge:
            raise _too_large(limit) from None
        except TimeoutError:
            raise Refusal(408, "body_timeout", "The request's body did not arrive in time.") from None
        except (aiohttp.ClientError, web.RequestPayloadError):
            raise Refusal(400, "broken_body", "The request's body broke off or is wrongly framed.") from None
        form = Form(content_type if kind == "multipart/form-data" else "")
        form.feed(head)
        accepted.body = _resume(head, request.content, accepted=accepted, form=form)
        asked = ask.Ask(model=form.fields.get("model"), stream=form.fields.get("stream") == "true")
        return asked, ask.model(asked)

    def _ask_for_usage(self, accepted: Accepted, asked: ask.Ask) -> None:
        """Ask an OpenAI-style stream for its usage in the client's stead."""
        provider = accepted.route.provider
        if not (
            self._settings.include_usage and provider.include_usage and accepted.route.dialect == contract.OPENAI_CHAT
        ):
            return
        changed = include_usage.ask(accepted.body, bytes(asked.stream_options))
        if changed is None:
            return
        accepted.body, accepted.usage_asked = changed, True
        if provider.strip_usage:
            accepted.remover = include_usage.Remover()
            accepted.headers.popall(hdrs.ACCEPT_ENCODING, None)
            accepted.headers[hdrs.ACCEPT_ENCODING] = "identity"

    def _exchange(self, call: "_Call") -> Exchange:
        accepted, facts = call.accepted, call.facts or headers.Facts()
        assert accepted is not None
        caller, route = accepted.caller, accepted.route
        token = caller.token
        envelope = Envelope(
            id=call.id,
            account=caller.account,
            token=token.name if token else "",
            requester=facts.requester or (token.requester if token else ""),
            metadata=facts.metadata,
            provider=route.provider.name,
            dialect=route.dialect,
            endpoint=f"{accepted.web.method} {route.endpoint}",
            model=call.model,
            stream=call.stream,
            started_at=call.wall,
            gateway=self._settings.gateway_name,
        )
        return Exchange(envelope, book=self._book, secrets=caller.secrets, clock=call.clock)

    def _refuse(self, call: "_Call", refusal: Refusal) -> web.Response:
        """Our own error in the dialect's shape; booked as a row when the caller is known, else only counted."""
        exchange = call.exchange
        if exchange is None and call.accepted is not None:
            exchange = self._exchange(call)
        if exchange is not None:
            exchange.finish(contract.COMPLETE, status=refusal.status, kind=refusal.kind, message=refusal.message)
        else:
            self._metrics.refusals[refusal.kind] += 1
        route = call.route
        style = "" if route is None else route.provider.errors
        if route is not None and route.provider.api == GEMINI_API and route.dialect != contract.GEMINI:
            style = "openai"
        body = errors.body(style, status=refusal.status, kind=refusal.kind, message=refusal.message, request_id=call.id)
        response = web.Response(status=refusal.status, body=body, content_type="application/json")
        response.headers[REQUEST_ID] = call.id
        if exchange is not None and exchange.cache:
            response.headers[CACHE] = exchange.cache
        if refusal.status not in errors.RETRY_CAN_HELP:
            response.headers["x-should-retry"] = "false"
        if call.origin:
            access.allow_origin(response.headers, call.origin)
        if call.request.body_exists and not call.request.content.at_eof():
            response.force_close()  # the rest of the body is not worth waiting for
        return response


class _Call:
    """What the door learns of one request, as far as it gets."""

    __slots__ = (
        "accepted",
        "clock",
        "exchange",
        "facts",
        "id",
        "model",
        "origin",
        "request",
        "route",
        "stream",
        "wall",
    )

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        self.id = str(uuid7())
        self.wall: datetime
        self.wall, self.clock = started()
        self.accepted: Accepted | None = None
        self.exchange: Exchange | None = None
        self.facts: headers.Facts | None = None
        self.route: routing.Route | None = None
        self.model, self.stream, self.origin = "", False, ""


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body_too_large", f"JSON bodies of at most {limit} bytes are taken.")


async def _resume(head: bytes, content: Any, *, accepted: Accepted, form: Form) -> AsyncIterator[bytes]:
    """A body that streams through: what was read of it already, then the rest.

    A model named behind a file is noted; one that the token may not use ends the upload before it is whole.
    """
    exchange = accepted.exchange
    exchange.request_bytes += len(head)
    if head:
        yield head
    while data := await content.readany():
        exchange.request_bytes += len(data)
        form.feed(data)
        if not exchange.envelope.model and "model" not in exchange.request_notes and "model" in form.fields:
            exchange.request_notes["model"] = form.fields["model"]
            try:
                access.allow(accepted.caller, accepted.route.provider.name, form.fields["model"])
            except Refusal as refusal:
                accepted.refusal = refusal
                raise ConnectionAbortedError("the rest of the form is not sent") from None
        yield data
