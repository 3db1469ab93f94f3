"""Request handler: accepts a request and relays it, or responds with an error."""

import json
import logging
from collections.abc import Callable
from typing import Protocol

from aiohttp import hdrs, web

from services.gateway import cached_relay, read_body, telemetry_endpoint
from services.gateway.cache import key
from services.gateway.cache.client import CacheClient
from services.gateway.context import RequestContext
from services.gateway.dialects import DIALECTS
from services.gateway.exchange import EventSink, Exchange
from services.gateway.limits import headers as limit_headers
from services.gateway.limits.budgets import EXCEEDED, Budgets
from services.gateway.limits.limiter import Limiter, LimitSource
from services.gateway.metrics import Metrics
from services.gateway.own_usage import OWN_ROOT, OwnUsageEndpoint
from services.gateway.refusal_rows import RefusalRows
from services.gateway.relay import Relay
from services.gateway.request import (
    client_info,
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
    trace_context,
    turns,
)
from services.gateway.request import provider_keys as request_provider_keys
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.errors import Refusal
from services.gateway.settings import Settings
from services.gateway.telemetry_endpoint import TelemetryEndpoint
from services.gateway.upstream.client import Upstream
from services.gateway.usage import include_usage, usage_remover, used_tokens
from services.gateway.websocket.handshake import is_websocket
from services.gateway.websocket.open_responses import Accounting
from services.gateway.websocket.websockets import WebSockets
from shared import events
from shared.events import Envelope
from shared.logging_setup import REQUEST
from shared.providers import ANTHROPIC_API

log = logging.getLogger(__name__)

_MAX_HEADERS = 128  # of a request, as of most servers
_EDITABLE = frozenset({"utf-8", "utf-8-sig"})  # body encodings into which ASCII text can be inserted


class Directory(credentials.TokenSource, LimitSource, Protocol):
    """Tokens, accounts and limits: services.gateway.accounts_mirror.Mirror."""


class Handler:
    """Handler of all paths. Never waits for accounting."""

    def __init__(
        self,
        settings: Settings,
        *,
        outbox: EventSink,
        directory: Directory,
        provider_keys: credentials.KeySource,
        router: routing.Router,
        upstream: Upstream,
        cache: CacheClient,
        metrics: Metrics,
        limiter: Limiter,
        budgets: Budgets,
    ) -> None:
        self._settings = settings
        self._limiter = limiter
        self._budgets = budgets
        self._outbox = outbox
        self._directory = directory
        self._keys = provider_keys
        self._router = router
        self._cache = cache
        self._metrics = metrics
        self._origins = frozenset(settings.cors_origins)
        self._own_usage = OwnUsageEndpoint(tokens=directory, limits=directory, limiter=limiter, budgets=budgets)
        self.bodies = BodyBudget(
            settings.body_budget_bytes, seconds=settings.body_timeout, reserve=settings.max_body_bytes
        )
        self.telemetry = TelemetryEndpoint(
            tokens=directory,
            outbox=outbox,
            bodies=self.bodies,
            gateway=settings.gateway_name,
            enabled=settings.import_telemetry,
        )
        self.relay = Relay(settings, upstream=upstream, metrics=metrics)
        # Whether the outbox has no room for an account; None if requests are served unaccounted in that case.
        self.full: Callable[[str], bool] | None = None
        self.refusals = RefusalRows(max_per_minute=settings.refusal_rows, omitted=metrics.omitted)
        self.websockets = WebSockets(
            settings,
            accounting=Accounting(
                outbox=outbox,
                limiter=limiter,
                budgets=budgets,
                metrics=metrics,
                refusals=self.refusals,
                prompts=self.relay.prompts,
                estimate=settings.estimate,
                is_full=self._is_full,
            ),
            directory=directory,
            upstream=upstream,
            relay=self.relay,
            bodies=self.bodies,
            new_exchange=self._new_exchange,
            read_metrion_headers=self._read_metrion_headers,
            authenticate=self._authenticate,
            find_route=router.find,
        )

    @property
    def active(self) -> int:
        """Number of requests being served, including responses being drained."""
        return self._metrics.active

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request; errors are sent in the format of the API that was called."""
        ctx = RequestContext(request)
        log_context = REQUEST.set(ctx.id)
        self._metrics.active += 1
        try:
            if request.method != "POST" and (response := self._own_response(request)) is not None:
                response.headers[header_names.REQUEST_ID] = ctx.id
                return response
            if request.raw_path.startswith(OWN_ROOT):
                if request.raw_path.startswith(telemetry_endpoint.ROOT):
                    response = await self.telemetry.respond(ctx)
                else:
                    response = await self._own_usage.respond(ctx, self._origins)
                response.headers[header_names.REQUEST_ID] = ctx.id
                return response
            if request.method == "GET" and is_websocket(request):
                return await self.websockets.serve(ctx)
            await self._accept(ctx)
            if ctx.cache_plan is None:
                return await self.relay.forward(ctx)
            return await cached_relay.serve(ctx, ctx.cache_plan, cache=self._cache, relay=self.relay)
        except Refusal as refusal:
            return self._refuse(ctx, refusal)
        except ConnectionError:
            raise  # the client disconnected: aiohttp cleans up
        except Exception as error:
            log.exception("request %s failed", ctx.id)
            if request.writer.output_size:
                raise ConnectionResetError("the response has already begun") from error
            return self._refuse(ctx, Refusal(500, "internal_error", "The gateway failed on this request."))
        finally:
            REQUEST.reset(log_context)
            self._metrics.active -= 1
            if ctx.body is not None or ctx.reservation is not None:
                ctx.free_body()
            if ctx.token_hold is not None:
                self._limiter.settle(ctx.token_hold, _used_tokens(ctx.exchange))
            if ctx.budget_hold is not None:
                self._budgets.finish(ctx.budget_hold, is_sent=ctx.exchange.upstream)
            if hasattr(ctx, "exchange") and ctx.exchange.recorded:
                self._metrics.count(ctx.exchange)

    def _own_response(self, request: web.BaseRequest) -> web.Response | None:
        """Response to a CORS preflight or a client's connectivity check; None for all other requests."""
        if request.method == "OPTIONS":
            return cors.preflight(request, self._origins)
        return web.Response() if cors.is_connectivity_check(request) else None

    async def _accept(self, ctx: RequestContext) -> None:
        """Authenticate, read and check: everything before the provider is called."""
        request = ctx.request
        settings = self._settings
        # 1. Read the head: headers, route, and what no provider should see.
        path, _, query = request.raw_path.partition("?")
        if "#" in query:
            raise Refusal(400, "malformed_path", "A request target must not contain a fragment (#); percent-encode it.")
        parsed, query = headers.read(header_names.split(request.raw_headers), request.headers.values(), query)
        ctx.headers = parsed.forward
        ctx.identifying = parsed.identifying
        ctx.query = query
        origin = request.headers.get(hdrs.ORIGIN, "")
        if origin in self._origins:
            ctx.allowed_origin = origin
        found_route = self._router.find(path, native_key=parsed.native_key)
        if found_route is not None:
            ctx.route = found_route
        route = cors.check(request, found_route)
        if query:
            google_query.check(route, query)
        partial_requests.check(request.method, route, query=query, headers=parsed.forward)
        # 2. Authenticate: from here on a refusal has a row.
        caller = ctx.caller = self._authenticate(parsed, route)
        self._read_metrion_headers(ctx, parsed)
        # 3. Read the body and check what the token allows.
        asked, model = await read_body.take(ctx, limit=settings.max_body_bytes, bodies=self.bodies)
        self._begin(ctx, asked=asked, model=model)
        if route.provider.key_header and not caller.provider_key:
            raise request_provider_keys.missing(route.provider)
        if self._is_full(caller.account):
            raise Refusal(503, "outbox_full", "Accounting is unavailable at the moment; try again later.")
        ctx.token_hold = await self._limiter.check(ctx.exchange.envelope, ctx.limit_headers, body=ctx.decoded_body)
        if self._budgets.cover(caller.account):
            await self._check_budgets(ctx)
        # 4. Plan what happens to the response.
        if ctx.metrion_headers is not None and ctx.metrion_headers.cache:
            self._plan_caching(ctx, ctx.metrion_headers)
        if ctx.stream and isinstance(ctx.body, bytes) and ctx.decoded_body is ctx.body:
            self._request_usage(ctx, ctx.body, asked)

    def _authenticate(self, parsed: headers.ParsedHeaders, route: routing.Route) -> credentials.Caller:
        return credentials.authenticate(
            parsed,
            provider=route.provider,
            directory=self._directory,
            keys=self._keys,
            open_passthrough=self._settings.open_passthrough,
        )

    def _is_full(self, account: str) -> bool:
        return self.full is not None and self.full(account)

    async def _check_budgets(self, ctx: RequestContext) -> None:
        """Refuse a request beyond a budget; else hold what it is expected to use."""
        ctx.budget_hold, warning = await self._budgets.check(ctx.exchange.envelope, ctx.decoded_body)
        if warning:
            ctx.limit_headers.append((header_names.BUDGET_WARNING, warning))

    def _read_metrion_headers(self, ctx: RequestContext, parsed: headers.ParsedHeaders) -> None:
        """Read the x-metrion-* headers, and refuse headers that cannot be forwarded."""
        if len(ctx.request.raw_headers) > _MAX_HEADERS:
            raise Refusal(431, "headers_too_large", f"A request may have at most {_MAX_HEADERS} headers.")
        account = self._directory.account(ctx.caller.account)
        cache_default = account is not None and account.cache
        caching = cache_default or "cache" in parsed.metrion
        cache_control = ",".join(ctx.request.headers.getall(hdrs.CACHE_CONTROL, ())) if caching else ""
        ctx.metrion_headers = headers.read_metrion(parsed.metrion, cache_control, cache_default=cache_default)
        if parsed.has_non_ascii:
            headers.check_forwardable(parsed)

    def _begin(self, ctx: RequestContext, *, asked: params.Ask, model: str) -> None:
        """Begin accounting for the request, and check its token's permissions."""
        route = ctx.route
        ctx.model = route.model or model
        ctx.stream = route.stream or params.stream(asked)
        exchange = ctx.exchange = self._new_exchange(ctx, asked)
        exchange.request_notes = params.notes(asked, path=route.path, upstream=route.provider.upstream)
        if route.provider.stated_cost:
            exchange.request_notes["stated_cost"] = "true"
        token = ctx.caller.token
        if token is not None and (token.models or token.providers):
            permissions.check(ctx, token)

    def _plan_caching(self, ctx: RequestContext, metrion_headers: headers.MetrionHeaders) -> None:
        """Set the cache plan; leave it unset for requests that are not cacheable."""
        if ctx.route.provider.api == ANTHROPIC_API and self._settings.anthropic_version != "client":
            ctx.headers["anthropic-version"] = self._settings.anthropic_version  # part of the key, as it is sent
        plan = ctx.cache_plan = key.plan(
            ctx.decoded_body,
            method=ctx.request.method,
            route=ctx.route,
            query=ctx.query,
            headers=ctx.headers,
            account=ctx.caller.account,
            metrion_headers=metrion_headers,
        )
        if plan is not None:
            ctx.usage_requested = plan.usage
            ctx.exchange.cache = events.REFRESH if plan.refresh else events.MISS

    def _request_usage(self, ctx: RequestContext, body: bytes, asked: params.Ask) -> None:
        """Request the usage chunk of an OpenAI-style stream on the client's behalf."""
        route = ctx.route
        provider = route.provider
        compatible = provider.api == ANTHROPIC_API  # its OpenAI-compatible path takes stream_options, too
        supported = DIALECTS[route.dialect].can_ask_usage and (provider.include_usage or compatible)
        if not (self._settings.include_usage and supported and json.detect_encoding(body[:4]) in _EDITABLE):
            return
        changed = include_usage.ask(body, bytes(asked.stream_options))
        if changed is None:
            return
        ctx.body = changed
        ctx.usage_requested = True
        if provider.strip_usage or compatible:
            ctx.body_editor = usage_remover.Remover()
            ctx.headers.popall(hdrs.ACCEPT_ENCODING, None)
            ctx.headers[hdrs.ACCEPT_ENCODING] = "identity"

    def _new_exchange(self, ctx: RequestContext, asked: params.Ask = params.NOTHING) -> Exchange:
        metrion_headers = ctx.metrion_headers or headers.MetrionHeaders()
        caller = ctx.caller
        route = ctx.route
        token = caller.token
        info = client_info.read(ctx.identifying, session=metrion_headers.session, agent=metrion_headers.agent)
        envelope = Envelope(
            id=ctx.id,
            account=caller.account,
            token=token.name if token else "",
            requester=metrion_headers.requester or (token.requester if token else ""),
            metadata=metrion_headers.metadata,
            provider=route.provider.name,
            dialect=route.dialect,
            endpoint=f"{ctx.request.method} {route.endpoint}",
            model=ctx.model,
            stream=ctx.stream,
            started_at=ctx.started_at,
            gateway=self._settings.gateway_name,
            client=info.client,
            client_version=info.client_version,
            session=info.session,
            agent=info.agent,
            billing=credentials.billing(route.provider, caller.provider_key),
            turn=turns.turn(info, asked, request_id=ctx.id) if info.session else "",
        )
        exchange = Exchange(
            envelope,
            outbox=self._outbox,
            secrets=caller.secrets,
            clock=ctx.clock,
            failures=self._metrics.failures,
        )
        exchange.server = route.server
        if header_names.TRACEPARENT in ctx.identifying:
            exchange.traceparent = trace_context.read(ctx.identifying[header_names.TRACEPARENT])
        return exchange

    def _refuse(self, ctx: RequestContext, refusal: Refusal) -> web.Response:
        """Respond with an error of our own; it gets a row if the caller is known, else it is only counted."""
        self._record_refusal(ctx, refusal)
        if hasattr(ctx, "route"):
            style = ctx.route.error_style
        else:
            style = self._router.error_style(ctx.request.raw_path.partition("?")[0])
        body = errors.body(style, status=refusal.status, code=refusal.code, message=refusal.message, request_id=ctx.id)
        response = web.Response(status=refusal.status, body=body, content_type="application/json")
        response.headers[header_names.REQUEST_ID] = ctx.id
        if refusal.retry_after:
            response.headers[hdrs.RETRY_AFTER] = str(refusal.retry_after)
        if refusal.allow:
            response.headers[hdrs.ALLOW] = refusal.allow
        if hasattr(ctx, "exchange") and ctx.exchange.cache:
            response.headers[header_names.CACHE] = ctx.exchange.cache
        if refusal.status not in errors.RETRY_CAN_HELP or refusal.code == EXCEEDED:
            response.headers["x-should-retry"] = "false"
        if ctx.limit_headers:
            limit_headers.add(response.headers, ctx.limit_headers)
        if ctx.allowed_origin:
            cors.allow_origin(response.headers, ctx.allowed_origin)
        if ctx.request.body_exists and not ctx.request.content.at_eof():
            response.force_close()  # the rest of the body is not worth waiting for
        return response

    def _record_refusal(self, ctx: RequestContext, refusal: Refusal) -> None:
        """Finish the request's accounting with a refusal, or count it if nobody was authenticated."""
        if not hasattr(ctx, "caller"):
            self._metrics.refusals[refusal.code] += 1
            return
        if not hasattr(ctx, "exchange"):
            ctx.exchange = self._new_exchange(ctx)
        exchange = ctx.exchange
        if exchange.upstream:
            exchange.finish(refusal.outcome, status=refusal.status, error_type=refusal.code, message=refusal.message)
        else:
            self.refusals.record(exchange, refusal)


def _used_tokens(exchange: Exchange) -> used_tokens.UsedTokens | None:
    """Tokens that a request has used at its provider; None if unknown."""
    if not exchange.upstream:
        return used_tokens.UsedTokens(0, 0)
    found = used_tokens.read(exchange.evidence)
    if found is None and exchange.status >= 400 and exchange.outcome == events.COMPLETE:
        return used_tokens.UsedTokens(0, 0)
    return found
