"""Serves cacheable requests: replays a cached response or relays and stores one."""

import time

from aiohttp import hdrs, web
from multidict import CIMultiDict

from services.gateway import accounting_failures
from services.gateway.cache import convert
from services.gateway.cache.client import CacheClient, Entry, Permit
from services.gateway.cache.key import ARRAY, EVENTS, JSON, CachePlan
from services.gateway.cache.recorder import Recorder
from services.gateway.context import RequestContext
from services.gateway.dialects import DIALECTS
from services.gateway.limits import headers as limit_headers
from services.gateway.passthrough_response import PassthroughResponse
from services.gateway.relay import Relay
from services.gateway.request import cors
from services.gateway.request.header_names import CACHE, REQUEST_ID
from services.gateway.usage.gap import Gap
from services.gateway.usage.tap import NullTap
from services.gateway.usage.usage_remover import Remover
from shared import events
from shared.events import HIT, Envelope, Evidence

# Outcomes that say nothing about what an identical request would get.
_INCONCLUSIVE = frozenset({"", events.CLIENT_CLOSED, events.INTERRUPTED})


async def serve(ctx: RequestContext, plan: CachePlan, *, cache: CacheClient, relay: Relay) -> web.StreamResponse:
    """Serve from the cache or the provider, whose response is then stored."""
    cached = None if plan.refresh else await cache.get_or_lead(plan.key)
    if isinstance(cached, Entry) and (body := _fitted_body(cached, ctx, plan)) is not None:
        return await _replay(ctx, cached, plan.format, body)
    permit = cached if isinstance(cached, Permit) else Permit(plan.key)
    recorder = Recorder()
    ctx.recorder = recorder
    try:
        return await relay.forward(ctx)
    finally:
        retry = ctx.exchange.outcome in _INCONCLUSIVE
        cache.complete(permit, lambda: _new_entry(ctx, recorder, plan), ttl=plan.ttl, retry=retry)


def _new_entry(ctx: RequestContext, recorder: Recorder, plan: CachePlan) -> Entry | None:
    """Cache entry for the response that was relayed; None if it is not cacheable, or on a defect."""
    try:
        return _entry(ctx, recorder, plan)
    except Exception as error:
        ctx.exchange.note_failure(accounting_failures.CACHE, error)
        return None


def _entry(ctx: RequestContext, recorder: Recorder, plan: CachePlan) -> Entry | None:
    """Cache entry for a response that is complete, successful and not cut by a length limit; else None."""
    exchange = ctx.exchange
    body = recorder.body()
    if exchange.outcome != events.COMPLETE or not 200 <= exchange.status < 300 or not body:
        return None
    media_type = recorder.content_type.partition(";")[0].strip().lower()
    if media_type == "text/event-stream":
        body_format = EVENTS
    elif media_type == "application/json":
        body_format = ARRAY if plan.format == ARRAY else JSON
    else:
        return None
    envelope = exchange.envelope
    storable = convert.storable(envelope.dialect, envelope.endpoint, body, stream=body_format != JSON)
    if not storable or exchange.contains_secret(body):
        return None
    return Entry(
        status=exchange.status,
        format=body_format,
        content_type=recorder.content_type,
        body=body,
        evidence=exchange.evidence,
        usage=ctx.usage_requested,
        answered_at=time.time(),
    )


def _fitted_body(entry: Entry, ctx: RequestContext, plan: CachePlan) -> bytes | None:
    """Body of a cached response in the format this client asked for; None if it cannot be converted."""
    envelope = ctx.exchange.envelope
    provider = ctx.route.provider
    streams_usage = DIALECTS[envelope.dialect].can_ask_usage and provider.include_usage
    if entry.format == EVENTS and streams_usage and not entry.usage and (plan.usage or plan.format != EVENTS):
        return None  # the entry has no usage chunk, and this client must get one
    try:
        if entry.format == plan.format:
            if entry.format == EVENTS and streams_usage and provider.strip_usage and not plan.usage:
                remover = Remover()
                return remover.feed(entry.body) + remover.end()
            return entry.body
        return _converted(entry, envelope, plan)
    except convert.Unconvertible:
        return None
    except Exception as error:
        ctx.exchange.note_failure(accounting_failures.CACHE, error)
        return None


def _converted(entry: Entry, envelope: Envelope, plan: CachePlan) -> bytes:
    dialect = envelope.dialect
    endpoint = envelope.endpoint
    provider = envelope.provider
    if plan.format == JSON:
        return convert.to_document(dialect, endpoint, entry.body, provider=provider)
    if entry.format == ARRAY:
        return convert.from_array(dialect, entry.body)
    stream = entry.body
    if entry.format == JSON:
        stream = convert.to_stream(dialect, endpoint, stream, usage=plan.usage, provider=provider)
    return convert.to_array(dialect, stream) if plan.format == ARRAY else stream


async def _replay(ctx: RequestContext, entry: Entry, body_format: str, body: bytes) -> web.StreamResponse:
    """Send a cached response, a stream event by event; the exchange is finished before the last bytes."""
    exchange = ctx.exchange
    exchange.cache = HIT
    exchange.status = entry.status
    exchange.tap = _CachedTap(entry.evidence)
    exchange.request_notes = entry.evidence.request
    exchange.response_notes = entry.evidence.headers
    content_type = entry.content_type
    if body_format != entry.format:
        content_type = convert.media_type(
            exchange.envelope.dialect, stream=body_format != JSON, array=body_format == ARRAY
        )
    headers = CIMultiDict({hdrs.CONTENT_TYPE: content_type, REQUEST_ID: exchange.envelope.id, CACHE: HIT})
    if body_format != EVENTS:
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
    if ctx.limit_headers:
        limit_headers.add(headers, ctx.limit_headers)
    if ctx.allowed_origin:
        cors.allow_origin(headers, ctx.allowed_origin)
    response = PassthroughResponse(status=entry.status, headers=headers)
    response.head_with_body()
    exchange.first_byte_at = time.perf_counter()
    exchange.response_bytes = len(body)
    try:
        if body_format != EVENTS:
            exchange.finish(events.COMPLETE)
            await response.send_whole(ctx.request, body)
            return response
        await response.prepare(ctx.request)
        *parts, last = convert.events(body)
        for part in parts:
            await response.write(part)
        exchange.finish(events.COMPLETE)
        await response.write_eof(last)
    except ConnectionError:
        exchange.finish(events.CLIENT_CLOSED)
    return response


class _CachedTap(NullTap):
    """Tap of a cached response: returns the evidence collected when it was fresh."""

    ended = usage = True

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self.gap = Gap(evidence.gaps, evidence.reason) if evidence.gaps else None

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        return self._evidence.picks, self._evidence.tools, self._evidence.truncated
