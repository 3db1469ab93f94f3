"""Request handler: admits and relays a request, or responds with an error."""

import logging

from aiohttp import hdrs, web

from services.gateway import cached_relay, telemetry_endpoint
from services.gateway.admission import Admission, Directory
from services.gateway.cache.client import CacheClient
from services.gateway.context import RequestContext
from services.gateway.exchange import EventSink, Exchange
from services.gateway.limits import headers as limit_headers
from services.gateway.limits.budgets import EXCEEDED, Budgets
from services.gateway.limits.limiter import Limiter
from services.gateway.metrics import Metrics
from services.gateway.own_usage import OWN_ROOT, OwnUsageEndpoint
from services.gateway.refusal_rows import RefusalRows
from services.gateway.relay import Relay
from services.gateway.request import (
    cors,
    credentials,
    errors,
    header_names,
    routing,
)
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.errors import Refusal
from services.gateway.settings import Settings
from services.gateway.telemetry_endpoint import TelemetryEndpoint
from services.gateway.upstream.client import Upstream
from services.gateway.usage import used_tokens
from services.gateway.websocket.handshake import is_websocket
from services.gateway.websocket.open_responses import Accounting
from services.gateway.websocket.websockets import WebSockets
from shared import events
from shared.logging_setup import REQUEST

log = logging.getLogger(__name__)


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
        self._limiter = limiter
        self._budgets = budgets
        self._router = router
        self._cache = cache
        self._metrics = metrics
        self._origins = frozenset(settings.cors_origins)
        self._own_usage = OwnUsageEndpoint(tokens=directory, limits=directory, limiter=limiter, budgets=budgets)
        self.bodies = BodyBudget(
            settings.body_budget_bytes, seconds=settings.body_timeout, reserve=settings.max_body_bytes
        )
        self.admission = Admission(
            settings,
            outbox=outbox,
            directory=directory,
            provider_keys=provider_keys,
            router=router,
            metrics=metrics,
            limiter=limiter,
            budgets=budgets,
            bodies=self.bodies,
        )
        self.telemetry = TelemetryEndpoint(
            tokens=directory,
            outbox=outbox,
            bodies=self.bodies,
            gateway=settings.gateway_name,
            enabled=settings.import_telemetry,
        )
        self.relay = Relay(settings, upstream=upstream, metrics=metrics)
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
                is_full=self.admission.is_full,
            ),
            directory=directory,
            upstream=upstream,
            relay=self.relay,
            bodies=self.bodies,
            admission=self.admission,
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
            await self.admission.admit(ctx)
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
            ctx.exchange = self.admission.new_exchange(ctx)
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
