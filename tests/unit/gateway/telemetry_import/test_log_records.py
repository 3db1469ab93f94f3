"""An export is read the same from protobuf and from JSON; one that is neither is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from services.gateway.telemetry_import import log_records
from services.gateway.telemetry_import.log_records import JSON, PROTOBUF
from tests.support.telemetry_exports import AT, RESOURCE, as_json, claude, codex, export


def test_protobuf_and_json_say_the_same() -> None:
    message = export(claude(odd=True, share=0.5), codex())
    found = log_records.decode(message.SerializeToString(), PROTOBUF)
    assert [record.name for record in found] == ["api_request", "codex.sse_event"]
    assert found[0].resource == RESOURCE
    assert found[0].time_ns == int(AT.timestamp() * 1e9)
    assert (found[0].attributes["odd"], found[0].attributes["share"]) == (True, 0.5)
    in_json = log_records.decode(as_json(message), JSON)
    assert [(one.name, one.time_ns, one.resource) for one in in_json] == [
        (one.name, one.time_ns, one.resource) for one in found
    ]
    assert {k: str(v) for k, v in in_json[0].attributes.items()} == {k: str(v) for k, v in found[0].attributes.items()}


def test_the_name_is_that_of_the_attribute_the_events_own_or_the_body() -> None:
    data = b"""{"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"eventName": "own", "attributes": [{"key": "event.name", "value": {"stringValue": "attribute"}}]},
        {"eventName": "own", "attributes": [{"key": "empty"}, {}]},
        {"body": {"stringValue": "body"}, "timeUnixNano": "soon", "observedTimeUnixNano": 5},
        {"body": {"kvlistValue": {"values": []}}, "attributes": [{"key": "list", "value": {"arrayValue": {}}}]}
    ]}]}, {"resource": null, "scopeLogs": null}]}"""
    found = log_records.decode(data, JSON)
    assert [(record.name, record.time_ns) for record in found] == [("attribute", 0), ("own", 0), ("body", 5), ("", 0)]
    assert found[3].attributes == {}


@pytest.mark.parametrize("media_type", [PROTOBUF, JSON])
def test_an_empty_export_has_no_records(media_type: str) -> None:
    assert log_records.decode(b"" if media_type == PROTOBUF else b"{}", media_type) == []


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\xff\xff\xff", PROTOBUF),
        (b"", JSON),
        (b"[]", JSON),
        (b'{"resourceLogs": 1}', JSON),
        (b'{"resourceLogs":' + b"[" * 5000, JSON),
        (b"\xff", JSON),
        (b'{"resourceLogs":[%s{}]}' % (b"{}," * log_records.MOST_RECORDS), JSON),
        (b'{"resourceLogs":[{"scopeLogs":[%s{}]}]}' % (b"{}," * log_records.MOST_RECORDS), JSON),
        (b"[%s{}]" % (b"{}," * 500_000), JSON),
        (b"\n\0" * (log_records.MOST_RECORDS + 1), PROTOBUF),
    ],
)
def test_an_unreadable_export_is_refused(data: bytes, media_type: str) -> None:
    with pytest.raises(log_records.BadExport):
        log_records.decode(data, media_type)


@pytest.mark.parametrize("media_type", [PROTOBUF, JSON])
def test_an_export_of_too_many_records_is_refused(media_type: str) -> None:
    many = ScopeLogs(log_records=[LogRecord()] * (log_records.MOST_RECORDS + 1))
    message = ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[many])])
    data = message.SerializeToString() if media_type == PROTOBUF else as_json(message)
    with pytest.raises(log_records.BadExport, match="10000"):
        log_records.decode(data, media_type)


@given(st.binary(max_size=200), st.sampled_from([PROTOBUF, JSON]))
def test_no_bytes_raise_anything_else(data: bytes, media_type: str) -> None:
    with contextlib.suppress(log_records.BadExport):
        log_records.decode(data, media_type)


def test_a_response_says_what_was_rejected() -> None:
    data = log_records.encode_response(PROTOBUF, signal="logs", rejected=2, message="why")
    partial = ExportLogsServiceResponse.FromString(data).partial_success
    assert (partial.rejected_log_records, partial.error_message) == (2, "why")
    assert log_records.encode_response(PROTOBUF, signal="logs") == b""
    assert log_records.encode_response(JSON, signal="logs") == b"{}"
    assert log_records.encode_response(JSON, signal="metrics", rejected=2, message="why") == (
        b'{"partialSuccess":{"rejectedDataPoints":"2","errorMessage":"why"}}'
    )
