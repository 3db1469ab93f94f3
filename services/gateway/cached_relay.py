"""Requests that may be answered from the cache: a kept response is sent, or a fresh one fetched and kept."""

import time

from aiohttp import hdrs, web
from multidict import CIMultiDict

from services.gateway import accounting_failures
from services.gateway.cache import convert
from services.gateway.cache.client import CacheClient, Entry, Permit
from services.gateway.cache.key import ARRAY, EVENTS, JSON, CachePlan
from services.gateway.cache.recorder import Recorder
from services.gateway.passthrough_response import PassthroughResponse
from services.gateway.relay import CACHE, REQUEST_ID, Accepted, Relay
from services.gateway.request import cors
from services.gateway.usage.gap import Gap
from services.gateway.usage.tap import NullTap
from services.gateway.usage.usage_remover import Remover
from shared import events
from shared.events import HIT, Envelope, Evidence

_UNDECIDED = frozenset({"", events.CLIENT_CLOSED, events.INTERRUPTED})  # says nothing of what another would get


async def serve(request: Accepted, plan: CachePlan, *, cache: CacheClient, relay: Relay) -> web.StreamResponse:
    """The answer, kept or fresh. A fresh one is kept once the client has it, in the background."""
    ticket = Permit(plan.key)
    if not plan.refresh:
        found = await cache.obtain(plan.key)
        if isinstance(found, Permit):
            ticket = found
        elif (body := _as_asked(found, request, plan)) is not None:
            return await _replay(request, found, plan.form, body)
    request.recorder = Recorder()
    try:
        return await relay.forward(request)
    finally:
        recorder, undecided = request.recorder, request.exchange.outcome in _UNDECIDED
        cache.settle(ticket, lambda: _kept(request, recorder, plan), ttl=plan.ttl, again=undecided)


def _kept(request: Accepted, recorder: Recorder, plan: CachePlan) -> Entry | None:
    """What is kept of the answer that went by; None also where that cannot be told."""
    try:
        return _entry(request, recorder, plan)
    except Exception as error:
        request.exchange.note_failure(accounting_failures.CACHE, error)
        return None


def _entry(request: Accepted, recorder: Recorder, plan: CachePlan) -> Entry | None:
    """What is kept of the answer that went by; None unless it is whole, successful and not cut by its length."""
    exchange, body = request.exchange, recorder.body()
    if exchange.outcome != events.COMPLETE or not 200 <= exchange.status < 300 or not body:
        return None
    kind = recorder.content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        form = EVENTS
    elif kind == "application/json":
        form = ARRAY if plan.form == ARRAY else JSON
    else:
        return None
    envelope = exchange.envelope
    ended = convert.storable(envelope.dialect, envelope.endpoint, body, stream=form != JSON)
    if not ended or exchange.gives_away(body):
        return None
    return Entry(
        status=exchange.status,
        form=form,
        content_type=recorder.content_type,
        body=body,
        evidence=exchange.evidence,
        usage=request.usage_asked,
        answered_at=time.time(),
    )


def _as_asked(entry: Entry, request: Accepted, plan: CachePlan) -> bytes | None:
    """The kept answer as this client would have got it from the provider; None when it cannot take that form."""
    envelope, provider = request.exchange.envelope, request.route.provider
    streams_usage = envelope.dialect == events.OPENAI_CHAT and provider.include_usage
    if entry.form == EVENTS and streams_usage and not entry.usage and (plan.usage or plan.form != EVENTS):
        return None  # it was not asked for its usage, and this client is owed it
    try:
        if entry.form == plan.form:
            if entry.form == EVENTS and streams_usage and provider.strip_usage and not plan.usage:
                remover = Remover()
                return remover.feed(entry.body) + remover.end()
            return entry.body
        return _converted(entry, envelope, plan)
    except convert.Unconvertible:
        return None
    except Exception as error:
        request.exchange.note_failure(accounting_failures.CACHE, error)
        return None


def _converted(entry: Entry, envelope: Envelope, plan: CachePlan) -> bytes:
    dialect, endpoint, provider = envelope.dialect, envelope.endpoint, envelope.provider
    if plan.form == JSON:
        return convert.to_document(dialect, endpoint, entry.body, provider=provider)
    if entry.form == ARRAY:
        return convert.from_array(entry.body)
    stream = entry.body
    if entry.form == JSON:
        stream = convert.to_stream(dialect, endpoint, stream, usage=plan.usage, provider=provider)
    return convert.to_array(stream) if plan.form == ARRAY else stream


async def _replay(request: Accepted, entry: Entry, form: str, body: bytes) -> web.StreamResponse:
    """Send a kept answer, a stream event by event; the exchange is finished before the bytes that end it."""
    exchange = request.exchange
    exchange.cache, exchange.status, exchange.tap = HIT, entry.status, _Kept(entry.evidence)
    exchange.request_notes, exchange.response_notes = entry.evidence.request, entry.evidence.headers
    kind = entry.content_type
    if form != entry.form:
        kind = convert.media_type(exchange.envelope.dialect, stream=form != JSON, array=form == ARRAY)
    headers = CIMultiDict({hdrs.CONTENT_TYPE: kind, REQUEST_ID: exchange.envelope.id, CACHE: HIT})
    if form != EVENTS:
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
    if request.origin:
        cors.allow_origin(headers, request.origin)
    response = PassthroughResponse(status=entry.status, headers=headers)
    response.head_with_body()
    exchange.first_byte, exchange.response_bytes = time.perf_counter(), len(body)
    try:
        await response.prepare(request.web)
        *parts, last = convert.events(body) if form == EVENTS else [body]
        for part in parts:
            await response.write(part)
        exchange.finish(events.COMPLETE)
        await response.write_eof(last)
    except ConnectionError:
        exchange.finish(events.CLIENT_CLOSED)
    return response


class _Kept(NullTap):
    """The tap of an answer that was read when it was fresh."""

    ended = usage = True

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self.gap = Gap(evidence.gaps, evidence.reason) if evidence.gaps else None

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        return self._evidence.picks, self._evidence.tools, self._evidence.truncated
