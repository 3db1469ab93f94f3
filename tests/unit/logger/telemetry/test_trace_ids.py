"""A request has the same ids whenever it is exported, and sampling decides by the trace."""

from uuid_utils import uuid7

from services.logger.telemetry import trace_ids
from tests.support.stored_requests import ID, PARENT, TRACE, stored_request


def test_without_a_traceparent_the_request_id_is_the_trace_id() -> None:
    ids = trace_ids.derive(stored_request())
    assert f"{ids.trace:032x}" == ID.replace("-", "")
    assert f"{ids.span:016x}" == "8f135ad3c0ffee42"
    assert (ids.parent, ids.is_sampled) == (0, True)
    assert ids == trace_ids.derive(stored_request(version=2, cost=None))  # derived from nothing else


def test_the_callers_trace_and_span_are_kept() -> None:
    ids = trace_ids.derive(stored_request(traceparent=f"00-{TRACE}-{PARENT}-01"))
    assert (f"{ids.trace:032x}", f"{ids.parent:016x}") == (TRACE, PARENT)
    assert f"{ids.span:016x}" == "8f135ad3c0ffee42"


def test_sampling_decides_by_the_trace() -> None:
    traces = [trace_ids.derive(stored_request(id=str(uuid7()))) for _ in range(4000)]
    kept = [trace for trace in traces if trace.is_within(0.25)]
    assert 800 < len(kept) < 1200
    assert all(trace.is_within(0.5) for trace in kept)
    assert all(trace.is_within(1.0) for trace in traces)
    assert not any(trace.is_within(0.0) for trace in traces)


def test_a_trace_that_the_caller_does_not_sample_is_left_out() -> None:
    assert not trace_ids.derive(stored_request(traceparent=f"00-{TRACE}-{PARENT}-00")).is_within(1.0)
