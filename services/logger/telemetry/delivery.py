"""Delivers spans to a collector, and reports how many it has rejected.

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

from services.logger.telemetry.sender import CollectorBusy

log = logging.getLogger(__name__)

_RETRY_INFO = "google.rpc.retryinfo-bin"  # trailing metadata of gRPC, where OpenTelemetry's exporter looks for it
_REFUSED = (400, 413)  # the batch itself is at fault


class Delivery:
    """Sends batches of spans, one at a time."""

    exporter: SpanExporter

    def __init__(self) -> None:
        self._rejected = 0
        self._is_refused = False
        self._retry_after = 0.0

    def deliver(self, spans: Sequence[ReadableSpan]) -> int | CollectorBusy:
        """Send spans; returns how many were rejected."""
        if not spans:
            return 0
        self._rejected, self._is_refused, self._retry_after = 0, False, 0.0
        if self.exporter.export(spans) is SpanExportResult.SUCCESS:
            return min(self._rejected, len(spans))
        return len(spans) if self._is_refused else CollectorBusy(self._retry_after)

    def accept(self, response: ExportTraceServiceResponse) -> None:
        """Note what the collector says about an export that succeeded."""
        self._rejected = max(0, response.partial_success.rejected_spans)
        if message := response.partial_success.error_message:
            log.warning("the collector rejected %d spans: %s", self._rejected, message[:200])

    def refuse(self) -> None:
        """Note that the collector will never take this batch."""
        self._is_refused = True

    def postpone(self, seconds: float) -> None:
        """Note how long the collector asks to wait, beyond what the exporter waits."""
        self._retry_after = max(0.0, seconds)


def over_http(endpoint: str, headers: Mapping[str, str]) -> Delivery:
    """Deliver over HTTP."""
    import requests
    import urllib3
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
        else:
            try:
                delivery.postpone(retry.parse_retry_after(response.headers.get("Retry-After", "0")))
            except urllib3.exceptions.InvalidHeader:
                delivery.postpone(0)

    retry = urllib3.Retry()
    session = requests.Session()
    session.hooks["response"].append(look)
    delivery.exporter = OTLPSpanExporter(endpoint=endpoint, headers=headers, session=session)
    return delivery


def over_grpc(endpoint: str, headers: Mapping[str, str]) -> Delivery:
    """Deliver over gRPC."""
    import grpc
    from google.rpc.error_details_pb2 import RetryInfo
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
                    delivery.postpone(_seconds(error))
                    raise
                delivery.accept(response)
                return response

            stub.Export = export

    def _seconds(error: grpc.RpcError) -> float:
        for name, value in error.trailing_metadata() or ():
            if name == _RETRY_INFO:
                return float(RetryInfo.FromString(value).retry_delay.ToTimedelta().total_seconds())
        return 0.0

    delivery.exporter = Exporter(endpoint=endpoint, headers=tuple(headers.items()))
    return delivery
