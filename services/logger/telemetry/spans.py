"""Spans of requests, finished when they are built."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from services.logger.telemetry import semantic_conventions, trace_ids
from services.logger.telemetry.stored_request import StoredRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def build(
    requests: Iterable[StoredRequest],
    *,
    resource: Resource,
    scope: InstrumentationScope,
    ratio: float,
    latest_only: bool,
) -> list[ReadableSpan]:
    """Build the spans of the requests that sampling keeps.

    `ratio`: share of traces that it keeps.
    """
    found = []
    for request in requests:
        ids = trace_ids.derive(request)
        if request.is_inference and ids.is_within(ratio):
            found.append(_span(request, ids, resource=resource, scope=scope, latest_only=latest_only))
    return found


def _span(
    request: StoredRequest,
    ids: trace_ids.TraceIds,
    *,
    resource: Resource,
    scope: InstrumentationScope,
    latest_only: bool,
) -> ReadableSpan:
    row = request.row
    start = (row.started_at - _EPOCH) // _MICROSECOND * 1000
    return ReadableSpan(
        name=f"{request.operation} {row.model_requested}".strip(),
        context=_context(ids.trace, ids.span, is_remote=False),
        parent=_context(ids.trace, ids.parent, is_remote=True) if ids.parent else None,
        resource=resource,
        attributes=semantic_conventions.of_span(request, latest_only=latest_only),
        kind=SpanKind.CLIENT,
        instrumentation_scope=scope,
        status=Status(StatusCode.ERROR, request.error_type) if request.error_type else Status(),
        start_time=start,
        end_time=start + row.latency_ms * 1_000_000,
    )


def _context(trace: int, span: int, *, is_remote: bool) -> SpanContext:
    return SpanContext(trace, span, is_remote=is_remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))
