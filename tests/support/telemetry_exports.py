"""Exports of Claude Code's and Codex's own telemetry, as the two send them over OTLP."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

Attributes = Mapping[str, Any]
AT = datetime(2026, 11, 29, 9, 30, 12, 345000, tzinfo=UTC)
RESOURCE = {"service.name": "claude-code", "service.version": "2.1.332", "host.arch": "amd64", "team": "platform"}


def claude(*, at: datetime = AT, **changes: Any) -> Attributes:
    """Attributes of Claude Code's api_request."""
    return {
        "event.name": "api_request",
        "event.timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event.sequence": 7,
        "session.id": "0e1fb1a2-0001",
        "user.id": "f00d",
        "user.email": "ann@example.com",
        "organization.id": "org",
        "prompt.id": "p-1",
        "model": "claude-sonnet-4-5-20250929",
        "input_tokens": "100",
        "output_tokens": "50",
        "cache_read_tokens": "700",
        "cache_creation_tokens": "200",
        "cost_usd": "0.0123",
        "duration_ms": "2500",
        "request_id": "req_011",
        "speed": "normal",
        "query_source": "repl_main_thread",
    } | {name.replace("__", "."): value for name, value in changes.items()}


def codex(*, at: datetime = AT, **changes: Any) -> Attributes:
    """Attributes of Codex's codex.sse_event at the end of a response."""
    return {
        "event.name": "codex.sse_event",
        "event.kind": "response.completed",
        "event.timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "conversation.id": "019f0000-aaaa",
        "app.version": "0.171.0",
        "auth_mode": "ApiKey",
        "originator": "codex_exec",
        "user.email": "bob@example.com",
        "model": "gpt-5.1-codex",
        "slug": "gpt-5.1-codex",
        "input_token_count": "1000",
        "output_token_count": "80",
        "cached_token_count": 600,
        "reasoning_token_count": 30,
        "tool_token_count": "1080",
    } | {name.replace("__", "."): value for name, value in changes.items()}


def export(*records: Attributes, resource: Attributes = RESOURCE, at: datetime = AT) -> ExportLogsServiceRequest:
    """An export of log records; their body is the event's name, as Claude Code has it."""
    nanoseconds = int(at.timestamp() * 1e9)
    logs = [
        LogRecord(
            time_unix_nano=nanoseconds,
            observed_time_unix_nano=nanoseconds + 1,
            body=AnyValue(string_value=f"claude_code.{record.get('event.name')}"),
            attributes=list(_pairs(record)),
            trace_id=bytes(range(16)),
        )
        for record in records
    ]
    group = ResourceLogs(resource=Resource(attributes=_pairs(resource)), scope_logs=[ScopeLogs(log_records=logs)])
    return ExportLogsServiceRequest(resource_logs=[group])


def as_json(message: ExportLogsServiceRequest) -> bytes:
    """The same in OTLP's JSON."""
    return json_format.MessageToJson(message).encode()


def _pairs(attributes: Attributes) -> Iterable[KeyValue]:
    for name, value in attributes.items():
        if isinstance(value, bool):
            yield KeyValue(key=name, value=AnyValue(bool_value=value))
        elif isinstance(value, int):
            yield KeyValue(key=name, value=AnyValue(int_value=value))
        elif isinstance(value, float):
            yield KeyValue(key=name, value=AnyValue(double_value=value))
        else:
            yield KeyValue(key=name, value=AnyValue(string_value=value))
