"""Endpoint GET /api/proxy/metrion/me: what a token has used and may use.

Answered from memory: figures that the logger publishes, accounts, budgets. Only limits per minute ask NATS for their
counter. It has no row, and counts against no limit.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from aiohttp import hdrs, web

from services.gateway.context import RequestContext
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.limiter import Limiter, LimitSource
from services.gateway.limits.window import MINUTE_SECONDS
from services.gateway.request import cors, credentials, header_names, headers
from services.gateway.request.errors import Refusal
from services.gateway.request.routing import ROOT
from services.gateway.request.throttle import Throttle
from shared import own_usage, providers
from shared.accounts_model import Token
from shared.decimals import exact
from shared.events import Envelope
from shared.limits import periods, scopes, spend, token_totals, wording
from shared.limits.model import COST, Limit
from shared.limits.scopes import Covering
from shared.limits.token_totals import Sums
from shared.own_usage import Budget, OwnUsage, Period, RateLimit, TokenInfo, Usage

OWN_ROOT = f"{ROOT}{providers.OWN_NAME}/"
PATH = f"{OWN_ROOT}me"
BURST, PER_MINUTE = 10, 30  # requests of a token to one gateway


class OwnUsageEndpoint:
    """Responds to requests below /api/proxy/metrion/."""

    def __init__(
        self, *, tokens: credentials.TokenSource, limits: LimitSource, limiter: Limiter, budgets: Budgets
    ) -> None:
        self._tokens = tokens
        self._limits = limits
        self._limiter = limiter
        self._budgets = budgets
        self._throttle = Throttle(burst=BURST, per_minute=PER_MINUTE)

    async def respond(self, ctx: RequestContext, origins: frozenset[str]) -> web.Response:
        """Respond to a request; Refusal 400, 401, 404, 405 or 429.

        `origins`: that may read the response.
        """
        request = ctx.request
        origin = request.headers.get(hdrs.ORIGIN, "")
        if origin in origins:
            ctx.allowed_origin = origin
        path, _, query = request.raw_path.partition("?")
        if path != PATH:
            raise Refusal(
                404, "unknown_endpoint", f"Unknown endpoint; Metrion's own ones are GET {PATH} and {OWN_ROOT}otlp."
            )
        if request.method != "GET":
            raise Refusal(405, "method_not_allowed", f"{PATH} can only be read; use GET.", allow="GET")
        parsed, _ = headers.read(header_names.split(request.raw_headers), request.headers.values(), query)
        token = credentials.authenticate_token(parsed, directory=self._tokens)
        if seconds := self._throttle.take(f"{token.account} {token.name}"):
            raise Refusal(
                429,
                "rate_limit_exceeded",
                f"A token may ask for its usage {PER_MINUTE} times a minute; try again in {seconds} s.",
                retry_after=seconds,
            )
        found = await self._describe(ctx, token, headers.read_metrion(parsed.metrion, ""))
        response = web.Response(body=own_usage.encode(found), content_type="application/json")
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        if ctx.allowed_origin:
            cors.allow_origin(response.headers, ctx.allowed_origin)
        if request.body_exists and not request.content.at_eof():
            response.force_close()
        return response

    async def _describe(self, ctx: RequestContext, token: Token, stated: headers.MetrionHeaders) -> OwnUsage:
        requester = stated.requester or token.requester
        asked = Envelope(
            id=ctx.id,
            account=token.account,
            token=token.name,
            requester=requester,
            metadata=stated.metadata,
            provider="",
            dialect="",
            endpoint="",
            model="",
            stream=False,
            started_at=ctx.started_at,
            gateway="",
        )
        covering = scopes.for_any_model(self._limits.limits(token.account), asked)
        return OwnUsage(
            account=token.account,
            token=_token_info(token),
            requester=requester,
            usage=usage(self._budgets.published, token, now=ctx.started_at),
            limits=await self._rate_limits(found for found in covering if found[0].is_rate),
            budgets=tuple(
                self._budget(*found) for found in covering if not found[0].is_rate and self._budgets.is_known(found[0])
            ),
        )

    async def _rate_limits(self, covering: Iterable[Covering]) -> tuple[RateLimit, ...]:
        now = time.time()
        ends = int(now) // MINUTE_SECONDS * MINUTE_SECONDS + MINUTE_SECONDS
        found = list(covering)
        remaining = await asyncio.gather(*(self._limiter.remaining(limit, each, now=now) for limit, each in found))
        return tuple(
            RateLimit(
                name=limit.name,
                measure=limit.measure,
                amount=int(limit.amount),
                covers=wording.covers(limit.scope),
                remaining=left,
                resets_at=datetime.fromtimestamp(ends, UTC),
            )
            for (limit, _), left in zip(found, remaining, strict=True)
        )

    def _budget(self, limit: Limit, each: tuple[str, ...]) -> Budget:
        standing = self._budgets.standing(limit, each)
        used, remaining = None, None
        if standing.used is not None:
            used = exact(spend.amount(limit, standing.used))
            left = max(spend.units(limit) - standing.used - standing.held, 0)
            remaining = exact(spend.amount(limit, left))
        return Budget(
            name=limit.name,
            measure=limit.measure,
            amount=exact(limit.amount),
            currency=limit.currency if limit.measure == COST else None,
            period=limit.period,
            timezone=limit.timezone,
            mode=limit.mode,
            covers=wording.covers(limit.scope),
            used=used,
            held=exact(spend.amount(limit, standing.held)),
            remaining=remaining,
            resets_at=standing.resets_at,
        )


def usage(published: Mapping[str, bytes], token: Token, *, now: datetime) -> Usage:
    """What a token has used, by the messages of the stream SPEND."""
    mark = published.get(token_totals.MARK)
    if mark is None:
        return Usage(None, None, None, "no logger has published figures yet, or this gateway has not read them")
    as_of = spend.decode_progress(mark).at.astimezone(UTC)
    day = periods.span(periods.DAY, "UTC", now).start
    month = periods.span(periods.MONTH, "UTC", now).start
    data = published.get(token_totals.key(token.account, token.name))
    try:
        totals = None if data is None else token_totals.decode(data)
    except msgspec.MsgspecError:
        return Usage(as_of, None, None, "the figures are those of another release of the logger")
    today = totals.today if totals and totals.day == day else Sums()
    this_month = totals.this_month if totals and totals.month == month else Sums()
    reason = None
    if as_of < day and not (totals and totals.day == day):
        reason = f"no logger has published figures since {as_of:%Y-%m-%dT%H:%MZ}"
    return Usage(
        as_of,
        None if reason else _period(today, day),
        None if reason and as_of < month else _period(this_month, month),
        reason,
    )


def _period(sums: Sums, since: datetime) -> Period:
    cost = Decimal(0) if sums.cost is None and not sums.unpriced else sums.cost
    return Period(
        since=since,
        requests=sums.requests,
        cost_usd=None if cost is None else exact(cost),
        unpriced=sums.unpriced,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
    )


def _token_info(token: Token) -> TokenInfo:
    return TokenInfo(
        name=token.name,
        hint=token.hint,
        created_at=token.created_at.astimezone(UTC),
        expires_at=token.expires_at and token.expires_at.astimezone(UTC),
        requester=token.requester,
        providers=token.providers or None,
        models=token.models or None,
        rights=token.allow if token.models else None,
    )
