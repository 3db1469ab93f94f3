"""Delivers spans to a collector, and says how many of them it has rejected.

OpenTelemetry's exporters only say whether an export succeeded: they take a partial success for a whole one, and a
batch that no retry can help for one that failed.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger(__name__)

_REFUSED = (400, 413)  # the batch itself is at fault


class Delivery:
    """Sends batches of spans, one at a time."""

    exporter: SpanExporter

    def __init__(self) -> None:
        self._rejected = 0
        self._is_refused = False

    def deliver(self, spans: Sequence[ReadableSpan]) -> int | None:
        """Send spans; returns how many were rejected, or None if none was taken for now."""
        if not spans:
            return 0
        self._rejected, self._is_refused = 0, False
        if self.exporter.export(spans) is SpanExportResult.SUCCESS:
            return min(self._rejected, len(spans))
        return len(spans) if self._is_refused else None

    def accept(self, response: ExportTraceServiceResponse) -> None:
        """Note what the collector says about an export that succeeded."""
        self._rejected = max(0, response.partial_success.rejected_spans)
        if message := response.partial_success.error_message:
            log.warning("the collector rejected %d spans: %s", self._rejected, message[:200])

    def refuse(self) -> None:
        """Note that the collector will never take this batch."""
        self._is_refused = True


def over_http(endpoint: str, headers: Mapping[str, str]) -> Delivery:
    """Deliver over HTTP."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    delivery = Delivery()

    def look(response: requests.Response, **_: Any) -> None:
        if response.ok:
            try:
                delivery.accept(ExportTraceServiceResponse.FromString(response.content))
            except DecodeError:
                log.debug("the collector's response is not one of OTLP")
        elif response.status_code in _REFUSED:
            delivery.refuse()

    session = requests.Session()
    session.hooks["response"].append(look)
    delivery.exporter = OTLPSpanExporter(endpoint=endpoint, headers=headers, session=session)
    return delivery


def over_grpc(endpoint: str, headers: Mapping[str, str]) -> Delivery:
    """Deliver over gRPC."""
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    delivery = Delivery()

    class Exporter(OTLPSpanExporter):
        def _initialize_channel_and_stub(self) -> None:  # again after each reconnection
            super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]
            stub: Any = self._client
            call = stub.Export

            def export(**options: Any) -> ExportTraceServiceResponse:
                try:
                    response: ExportTraceServiceResponse = call(**options)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                        delivery.refuse()
                    raise
                delivery.accept(response)
                return response

            stub.Export = export

    delivery.exporter = Exporter(endpoint=endpoint, headers=tuple(headers.items()))
    return delivery
