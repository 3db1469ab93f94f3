"""OpenTelemetry collectors over HTTP and gRPC, which decode what they get."""

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support import servers

_CODES = {
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    400: grpc.StatusCode.INVALID_ARGUMENT,
}


class Collector:
    """What arrived, and how to respond: `refusals` are the statuses of the next exports of spans."""

    def __init__(self) -> None:
        self.url = ""
        self.traces: list[Any] = []  # ResourceSpans
        self.metrics: list[Any] = []  # ResourceMetrics
        self.headers: list[dict[str, str]] = []
        self.refusals: list[int] = []
        self.retry_after = 0  # seconds that a refusal asks to wait
        self.rejects = 0  # spans of each export, as a partial success
        self.hangs = False
        self.times: list[float] = []  # of exports of spans
        self.asked = threading.Event()  # an export of spans has arrived
        self.released = threading.Event()  # set at the end, so that nothing hangs any longer

    @property
    def spans(self) -> list[Any]:
        """Every span that was accepted."""
        return [span for group in self.traces for scope in group.scope_spans for span in scope.spans]

    def metric(self, name: str) -> list[Any]:
        """The data points of a metric, as last reported."""
        for group in reversed(self.metrics):
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        return list(getattr(metric, metric.WhichOneof("data")).data_points)
        return []

    def take_spans(self, data: bytes, headers: dict[str, str]) -> int:
        """Accept an export of spans; the status of the response."""
        self.times.append(time.monotonic())
        self.asked.set()
        if self.hangs:
            self.released.wait(servers.DEADLINE)
        if self.refusals:
            return self.refusals.pop(0)
        self.headers.append(headers)
        self.traces += trace_service_pb2.ExportTraceServiceRequest.FromString(data).resource_spans
        return 200

    @property
    def response(self) -> Any:
        """The response to an export of spans that is accepted."""
        partial = trace_service_pb2.ExportTracePartialSuccess(rejected_spans=self.rejects, error_message="too old")
        return trace_service_pb2.ExportTraceServiceResponse(partial_success=partial if self.rejects else None)

    def take_metrics(self, data: bytes) -> None:
        self.metrics += metrics_service_pb2.ExportMetricsServiceRequest.FromString(data).resource_metrics


def attributes(holder: Any) -> dict[str, Any]:
    """Attributes of a resource, a span or a data point."""
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in holder.attributes}


@contextlib.contextmanager
def over_http() -> Iterator[Collector]:
    """A collector of OTLP over HTTP."""
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            status, body = 200, b""
            if self.path == "/v1/traces":
                status = collector.take_spans(data, {name.lower(): value for name, value in self.headers.items()})
                body = collector.response.SerializeToString() if status == 200 else b""
            else:
                assert self.path == "/v1/metrics"
                collector.take_metrics(data)
            with contextlib.suppress(ConnectionError):  # the client has given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Retry-After", str(collector.retry_after))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        collector.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def over_grpc() -> Iterator[Collector]:
    """A collector of OTLP over gRPC."""
    collector = Collector()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            status = collector.take_spans(request.SerializeToString(), headers)
            if status != 200:
                asked = RetryInfo(retry_delay=Duration(seconds=collector.retry_after))
                context.set_trailing_metadata((("google.rpc.retryinfo-bin", asked.SerializeToString()),))
                context.abort(_CODES[status], "refused")
            return collector.response

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.take_metrics(request.SerializeToString())
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        collector.released.set()
        server.stop(None).wait()


SERVERS = {"http/protobuf": over_http, "grpc": over_grpc}
