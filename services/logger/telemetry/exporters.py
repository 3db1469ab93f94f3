"""OpenTelemetry's own exporters, set up from the logger's settings.

Everything that is no setting of the logger (timeout, compression, TLS, resource attributes, the metrics' interval and
temporality) is read by the packages themselves from the standard OTEL_* variables.
"""

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.util.re import parse_env_headers
from uuid_utils import uuid7

from services.logger.settings import Settings
from services.logger.telemetry import delivery
from services.logger.telemetry.delivery import Delivery
from shared.version import VERSION

_GRPC = "grpc"


def resource() -> Resource:
    """Description of this logger as the source of the data.

    OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the defaults.
    """
    own = {SERVICE_NAME: "metrion", SERVICE_VERSION: VERSION, SERVICE_INSTANCE_ID: str(uuid7())}
    return Resource(own).merge(OTELResourceDetector().detect())


def spans(settings: Settings) -> Delivery | None:
    """The delivery of spans; None if they are not exported.

    Imports what the protocol needs, and nothing else.
    """
    endpoint = _endpoint(settings, settings.otlp_traces_endpoint, "traces")
    if settings.otel_traces == "none" or not endpoint:
        return None
    headers = parse_env_headers(settings.otlp_headers, liberal=True)
    deliver_over = delivery.over_grpc if settings.otlp_protocol == _GRPC else delivery.over_http
    return deliver_over(endpoint, headers)


def metrics(settings: Settings) -> MetricExporter | None:
    """The exporter of metrics; None if they are not exported."""
    endpoint = _endpoint(settings, settings.otlp_metrics_endpoint, "metrics")
    if settings.otel_metrics == "none" or not endpoint:
        return None
    headers = parse_env_headers(settings.otlp_headers, liberal=True)
    if settings.otlp_protocol == _GRPC:
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc

        return grpc.OTLPMetricExporter(endpoint=endpoint, headers=tuple(headers.items()))
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as http

    return http.OTLPMetricExporter(endpoint=endpoint, headers=headers)


def _endpoint(settings: Settings, own: str, signal: str) -> str:
    """The URL of a signal; gRPC has one for all of them."""
    if own or not settings.otlp_endpoint:
        return own
    base = settings.otlp_endpoint.rstrip("/")
    return base if settings.otlp_protocol == _GRPC else f"{base}/v1/{signal}"
