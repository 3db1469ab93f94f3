"""Admits a request: authenticates, reads and checks it, and plans its response."""

import json
from collections.abc import Callable
from typing import Protocol

from aiohttp import hdrs

from services.gateway import read_body
from services.gateway.cache import key
from services.gateway.context import RequestContext
from services.gateway.dialects import DIALECTS
from services.gateway.exchange import EventSink, Exchange
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.limiter import Limiter, LimitSource
from services.gateway.metrics import Metrics
from services.gateway.request import (
    client_info,
    cors,
    credentials,
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
from services.gateway.usage import include_usage, usage_remover
from shared import events
from shared.events import Envelope
from shared.providers import ANTHROPIC_API

_MAX_HEADERS = 128  # of a request, as of most servers
_JOINED = 64 << 10  # bytes of a body that is copied when it is edited; a larger one is sent in pieces
_EDITABLE = frozenset({"utf-8", "utf-8-sig"})  # body encodings into which ASCII text can be inserted


class Directory(credentials.TokenSource, LimitSource, Protocol):
    """Tokens, accounts and limits: services.gateway.accounts_mirror.Mirror."""


class Admission:
    """Everything before the provider is called. Refuses by raising Refusal."""

    def __init__(
        self,
        settings: Settings,
        *,
        outbox: EventSink,
        directory: Directory,
        provider_keys: credentials.KeySource,
        router: routing.Router,
        metrics: Metrics,
        limiter: Limiter,
        budgets: Budgets,
        bodies: BodyBudget,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._directory = directory
        self._keys = provider_keys
        self._router = router
        self._metrics = metrics
        self._limiter = limiter
        self._budgets = budgets
        self._bodies = bodies
        self._origins = frozenset(settings.cors_origins)
        # Whether the outbox has no room for an account; None if requests are served unaccounted in that case.
        self.full: Callable[[str], bool] | None = None

    async def admit(self, ctx: RequestContext) -> None:
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
        caller = ctx.caller = self.authenticate(parsed, route)
        self.read_metrion_headers(ctx, parsed)
        # 3. Read the body and check what the token allows.
        asked, model = await read_body.take(ctx, limit=settings.max_body_bytes, bodies=self._bodies)
        self._begin(ctx, asked=asked, model=model)
        if route.provider.key_header and not caller.provider_key:
            raise request_provider_keys.missing(route.provider)
        if self.is_full(caller.account):
            raise Refusal(503, "outbox_full", "Accounting is unavailable at the moment; try again later.")
        ctx.token_hold = await self._limiter.check(ctx.exchange.envelope, ctx.limit_headers, body=ctx.decoded_body)
        if self._budgets.cover(caller.account):
            await self._check_budgets(ctx)
        # 4. Plan what happens to the response.
        if ctx.metrion_headers is not None and ctx.metrion_headers.cache and not ctx.has_raw_bytes:
            self._plan_caching(ctx, ctx.metrion_headers)
        if ctx.stream and isinstance(ctx.body, bytes) and ctx.decoded_body is ctx.body:
            self._request_usage(ctx, ctx.body, asked)

    def authenticate(self, parsed: headers.ParsedHeaders, route: routing.Route) -> credentials.Caller:
        """Identify the caller and choose the provider key; Refusal if that fails."""
        return credentials.authenticate(
            parsed,
            provider=route.provider,
            directory=self._directory,
            keys=self._keys,
            open_passthrough=self._settings.open_passthrough,
        )

    def read_metrion_headers(self, ctx: RequestContext, parsed: headers.ParsedHeaders) -> None:
        """Read the x-metrion-* headers; refuse too many headers."""
        if len(ctx.request.raw_headers) > _MAX_HEADERS:
            raise Refusal(431, "headers_too_large", f"A request may have at most {_MAX_HEADERS} headers.")
        account = self._directory.account(ctx.caller.account)
        cache_default = account is not None and account.cache
        caching = cache_default or "cache" in parsed.metrion
        cache_control = ",".join(ctx.request.headers.getall(hdrs.CACHE_CONTROL, ())) if caching else ""
        ctx.metrion_headers = headers.read_metrion(parsed.metrion, cache_control, cache_default=cache_default)
        ctx.has_raw_bytes = parsed.has_non_ascii and headers.has_raw_bytes(parsed)

    def new_exchange(self, ctx: RequestContext, asked: params.Ask = params.NOTHING) -> Exchange:
        """Begin accounting for a request of an authenticated caller."""
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

    def is_full(self, account: str) -> bool:
        """Whether an account's requests are refused for lack of room in the outbox."""
        return self.full is not None and self.full(account)

    def _begin(self, ctx: RequestContext, *, asked: params.Ask, model: str) -> None:
        """Begin accounting for a request whose body is read, and check its token's permissions."""
        route = ctx.route
        ctx.model = route.model or model
        ctx.stream = route.stream or params.stream(asked)
        exchange = ctx.exchange = self.new_exchange(ctx, asked)
        exchange.request_notes = params.notes(asked, path=route.path, upstream=route.provider.upstream)
        if route.provider.stated_cost:
            exchange.request_notes["stated_cost"] = "true"
        token = ctx.caller.token
        if token is not None and (token.models or token.providers):
            permissions.check(ctx, token)

    async def _check_budgets(self, ctx: RequestContext) -> None:
        """Refuse a request beyond a budget; else hold what it is expected to use."""
        ctx.budget_hold, warning = await self._budgets.check(ctx.exchange.envelope, ctx.decoded_body)
        if warning:
            ctx.limit_headers.append((header_names.BUDGET_WARNING, warning))

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
        changed = include_usage.requested(body, bytes(asked.stream_options))
        if changed is None:
            return
        ctx.body = b"".join(changed) if len(body) <= _JOINED else changed
        ctx.usage_requested = True
        if provider.strip_usage or compatible:
            ctx.body_editor = usage_remover.Remover()
            ctx.headers.popall(hdrs.ACCEPT_ENCODING, None)
            ctx.headers[hdrs.ACCEPT_ENCODING] = "identity"
