"""The door: a client's request in, an accepted request for the relay or a refusal in the caller's own format out."""

import json
import logging
from collections.abc import Callable
from datetime import datetime

from aiohttp import hdrs, web
from uuid_utils import uuid7

from services.gateway import cached_relay, read_body
from services.gateway.cache import key
from services.gateway.cache.client import CacheClient
from services.gateway.exchange import EventSink, Exchange, started
from services.gateway.metrics import Metrics
from services.gateway.refusal_rows import RefusalRows
from services.gateway.relay import CACHE, REQUEST_ID, Accepted, Relay
from services.gateway.request import (
    cors,
    credentials,
    errors,
    google_query,
    header_names,
    headers,
    params,
    partial_requests,
    permissions,
    routing,
)
from services.gateway.request import provider_keys as request_provider_keys
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.errors import Refusal
from services.gateway.settings import Settings
from services.gateway.upstream.client import Upstream
from services.gateway.usage import include_usage, usage_remover
from shared import events
from shared.events import Envelope
from shared.logging_setup import REQUEST
from shared.providers import ANTHROPIC_API

log = logging.getLogger(__name__)

_SPLICEABLE = frozenset({"utf-8", "utf-8-sig"})  # encodings of a body that ASCII text can be put into


class Handler:
    """One handler for every path. Knows neither ClickHouse nor prices, and never waits for bookkeeping."""

    def __init__(
        self,
        settings: Settings,
        *,
        book: EventSink,
        directory: credentials.Directory,
        provider_keys: credentials.Keys,
        router: routing.Router,
        upstream: Upstream,
        cache: CacheClient,
        metrics: Metrics,
    ) -> None:
        self._cache = cache
        self._settings, self._book, self._directory, self._metrics = settings, book, directory, metrics
        self._keys, self._router, self._origins = provider_keys, router, frozenset(settings.cors_origins)
        self.bodies = BodyBudget(
            settings.body_budget_bytes, seconds=settings.body_timeout, reserve=settings.max_body_bytes
        )
        self.relay = Relay(settings, upstream=upstream, metrics=metrics)
        # Whether the outbox has no room for an account, where the operator would rather stop than serve unaccounted.
        self.full: Callable[[str], bool] | None = None
        self.refusals = RefusalRows(most_a_minute=settings.refusal_rows, omitted=metrics.omitted)

    @property
    def active(self) -> int:
        """Requests that are being served now, drained ones included."""
        return self._metrics.active

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request; every failure of ours is an answer in the caller's own format."""
        call = _Call(request)
        serving = REQUEST.set(call.id)
        self._metrics.active += 1
        try:
            if request.method != "POST" and (answer := self._answer(request)) is not None:
                answer.headers[REQUEST_ID] = call.id
                return answer
            admitted = await self._accept(call)
            if admitted.plan is None:
                return await self.relay.forward(admitted)
            return await cached_relay.serve(admitted, admitted.plan, cache=self._cache, relay=self.relay)
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
            REQUEST.reset(serving)
            self._metrics.active -= 1
            accepted = call.accepted
            if accepted is not None and (accepted.body is not None or accepted.reservation is not None):
                accepted.free_body()
            if call.exchange is not None and call.exchange.booked:
                self._metrics.count(call.exchange)

    def _answer(self, request: web.BaseRequest) -> web.Response | None:
        """The gateway's own answer to a preflight or a greeting; None for all other requests."""
        if request.method == "OPTIONS":
            return cors.preflight(request, self._origins)
        return web.Response() if cors.is_greeting(request) else None

    async def _accept(self, call: "_Call") -> Accepted:
        """Authenticate, read and check: everything before the provider is called."""
        request, settings = call.request, self._settings
        path, _, query = request.raw_path.partition("?")
        if "#" in query:
            raise Refusal(400, "malformed_path", "A request target has no fragment (#); percent-encode it.")
        intake, query = headers.read(header_names.split(request.raw_headers), request.headers.values(), query)
        origin = request.headers.get(hdrs.ORIGIN, "")
        call.origin = origin if origin in self._origins else ""
        call.route = self._router.find(path, native_key=intake.native_key)
        route = cors.check(request, call.route)
        if query:
            google_query.check(route, query)
        partial_requests.check(request.method, route, query=query, headers=intake.forward)
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
        account = self._directory.account(caller.account)
        cache_default = account is not None and account.cache
        caching = cache_default or "cache" in intake.ours
        cache_control = ",".join(request.headers.getall(hdrs.CACHE_CONTROL, ())) if caching else ""
        call.facts = headers.facts(intake.ours, cache_control, cache_default=cache_default)
        if intake.odd:
            headers.forwardable(intake)
        asked, model = await read_body.take(accepted, limit=settings.max_body_bytes, bodies=self.bodies)
        self._begin(call, accepted, asked=asked, model=model)
        if route.provider.key_header and not caller.provider_key:
            raise request_provider_keys.missing(route.provider)
        if self.full is not None and self.full(caller.account):
            raise Refusal(503, "outbox_full", "Requests cannot be accounted at the moment; try again later.")
        if call.facts.cache:
            self._plan(accepted, call.facts)
        if call.stream and isinstance(accepted.body, bytes) and accepted.text is accepted.body:
            self._ask_for_usage(accepted, asked)
        return accepted

    def _begin(self, call: "_Call", accepted: Accepted, *, asked: params.Ask, model: str) -> None:
        """Begin the exchange, so that the request is booked from here on, and check what the token allows."""
        caller, route = accepted.caller, accepted.route
        call.model = route.model or model
        call.stream = route.stream or params.stream(asked)
        exchange = accepted.exchange = call.exchange = self._exchange(call)
        exchange.request_notes = params.notes(asked, path=route.path, upstream=route.provider.upstream)
        if route.provider.stated_cost:
            exchange.request_notes["stated_cost"] = "true"
        if caller.token is not None and (caller.token.models or caller.token.providers):
            permissions.check(accepted, caller.token)

    def _plan(self, accepted: Accepted, facts: headers.MetrionHeaders) -> None:
        """What caching is to do; nothing where it makes no sense."""
        if accepted.route.provider.api == ANTHROPIC_API and self._settings.anthropic_version != "client":
            accepted.headers["anthropic-version"] = self._settings.anthropic_version  # as it is sent, for the key
        accepted.plan = plan = key.plan(
            accepted.text,
            method=accepted.web.method,
            route=accepted.route,
            query=accepted.query,
            headers=accepted.headers,
            account=accepted.caller.account,
            facts=facts,
        )
        if plan is not None:
            accepted.usage_asked = plan.usage
            accepted.exchange.cache = events.REFRESH if plan.refresh else events.MISS

    def _ask_for_usage(self, accepted: Accepted, asked: params.Ask) -> None:
        """Ask an OpenAI-style stream for its usage in the client's stead."""
        provider, route = accepted.route.provider, accepted.route
        compatible = provider.api == ANTHROPIC_API  # its OpenAI-compatible path, which takes stream_options too
        asked_for = route.dialect == events.OPENAI_CHAT and (provider.include_usage or compatible)
        if not (self._settings.include_usage and asked_for and json.detect_encoding(accepted.body[:4]) in _SPLICEABLE):
            return
        changed = include_usage.ask(accepted.body, bytes(asked.stream_options))
        if changed is None:
            return
        accepted.body, accepted.usage_asked = changed, True
        if provider.strip_usage or compatible:
            accepted.remover = usage_remover.Remover()
            accepted.headers.popall(hdrs.ACCEPT_ENCODING, None)
            accepted.headers[hdrs.ACCEPT_ENCODING] = "identity"

    def _exchange(self, call: "_Call") -> Exchange:
        accepted, facts = call.accepted, call.facts or headers.MetrionHeaders()
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
        return Exchange(
            envelope,
            book=self._book,
            secrets=caller.secrets,
            clock=call.clock,
            failures=self._metrics.failures,
        )

    def _refuse(self, call: "_Call", refusal: Refusal) -> web.Response:
        """Our own error in the dialect's shape; booked as a row when the caller is known, else only counted."""
        exchange = call.exchange
        if exchange is None and call.accepted is not None:
            exchange = call.exchange = self._exchange(call)
        if exchange is not None and exchange.upstream:
            exchange.finish(refusal.outcome, status=refusal.status, kind=refusal.kind, message=refusal.message)
        elif exchange is not None:
            self.refusals.book(exchange, refusal)
        else:
            self._metrics.refusals[refusal.kind] += 1
        route = call.route
        if route is None:
            style = self._router.error_style(call.request.raw_path.partition("?")[0])
        else:
            style = route.error_style
        data = errors.body(style, status=refusal.status, kind=refusal.kind, message=refusal.message, request_id=call.id)
        response = web.Response(status=refusal.status, body=data, content_type="application/json")
        response.headers[REQUEST_ID] = call.id
        if refusal.retry_after:
            response.headers[hdrs.RETRY_AFTER] = str(refusal.retry_after)
        if exchange is not None and exchange.cache:
            response.headers[CACHE] = exchange.cache
        if refusal.status not in errors.RETRY_CAN_HELP:
            response.headers["x-should-retry"] = "false"
        if call.origin:
            cors.allow_origin(response.headers, call.origin)
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
        self.facts: headers.MetrionHeaders | None = None
        self.route: routing.Route | None = None
        self.model, self.stream, self.origin = "", False, ""
