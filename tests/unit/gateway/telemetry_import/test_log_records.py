"""An export is read the same from protobuf and from JSON; one that is neither is refused."""

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from services.gateway.telemetry_import import log_records
from services.gateway.telemetry_import.log_records import JSON, PROTOBUF
from tests.support.paths import ROOT
from tests.support.telemetry_exports import AT, RESOURCE, Attributes, as_json, claude, codex, export


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


@pytest.mark.parametrize("half", ["\\ud83d", "\\udc00", "\\ud83d\\ud83d"])
def test_half_a_character_hides_no_record(half: str) -> None:
    message = as_json(export(claude(), claude(prompt="HALF")))
    found = log_records.decode(message.replace(b"HALF", half.encode()), JSON)
    assert [record.name for record in found] == ["api_request"] * 2
    assert found[0].attributes["input_tokens"] == "100"


def length_delimited(number: int, data: bytes) -> bytes:
    size, prefix = len(data), bytearray([number << 3 | 2])
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(prefix) + bytes([size]) + data


def in_record(data: bytes) -> bytes:
    """An export of one log record that consists of these fields."""
    return length_delimited(1, length_delimited(2, length_delimited(2, data)))


EMPTY_ATTRIBUTE = b"\x32\x00"
MOST = 4 << 20  # bytes of an export


TINY_MESSAGES = {
    "resources": b"\n\0" * (MOST // 2),
    "scopes": length_delimited(1, b"\x12\0" * (MOST // 2)),
    "records": length_delimited(1, length_delimited(2, b"\x12\0" * (MOST // 2))),
    "attributes": in_record(EMPTY_ATTRIBUTE * 32_000) * (MOST // 64_100),
    "attributes of small records": length_delimited(
        1, length_delimited(2, length_delimited(2, EMPTY_ATTRIBUTE * 500) * (MOST // 1003))
    ),
    "attributes of small resources": length_delimited(1, length_delimited(1, b"\n\0" * 30_000)) * (MOST // 60_010),
    "short attributes": length_delimited(
        1, length_delimited(2, length_delimited(2, b"\x32\x07\n\x01a\x12\x02\n\0" * 6_000) * (MOST // 54_005))
    ),
    "attributes of a resource": length_delimited(1, length_delimited(1, b"\n\0" * (MOST // 2))),
    "unknown fields": b"\xf8\x01\x01" * (MOST // 3),
}
DECODE_IN_32_MB = """
import resource, sys
import psutil
from services.gateway.telemetry_import import log_records

log_records.decode(b"", log_records.PROTOBUF)
data = sys.stdin.buffer.read()
limit = psutil.Process().memory_info().vms + (32 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    log_records.decode(data, log_records.PROTOBUF)
except log_records.BadExport as error:
    print(error)
"""


@pytest.mark.parametrize("name", TINY_MESSAGES)
def test_an_export_of_very_many_tiny_messages_is_refused_in_little_memory(name: str) -> None:
    command = [sys.executable, "-c", DECODE_IN_32_MB]
    done = subprocess.run(command, input=TINY_MESSAGES[name], capture_output=True, check=True, cwd=ROOT)
    assert b"more than" in done.stdout


def test_a_record_too_long_for_usage_is_left_out() -> None:
    message = export(claude(prompt="x" * (64 << 10)), claude())
    assert len(log_records.decode(message.SerializeToString(), PROTOBUF)) == 1


@given(
    st.lists(st.lists(st.sampled_from([claude(), codex(), {}]), max_size=3), max_size=3),
    st.sampled_from([b"", b"\x98\x06\x01", b"\x99\x06" + bytes(8), b"\x9d\x06" + bytes(4), b"\x9a\x06\x01x"]),
)
def test_records_are_those_that_protobuf_s_own_parser_finds(groups: list[list[Attributes]], unknown: bytes) -> None:
    data = b"".join(export(*records).SerializeToString() + unknown for records in groups)
    parsed = ExportLogsServiceRequest.FromString(data)
    records = [r for group in parsed.resource_logs for scope in group.scope_logs for r in scope.log_records]
    found = log_records.decode(data, PROTOBUF)
    assert [len(one.attributes) for one in found] == [len(record.attributes) for record in records]
    assert all(one.resource == RESOURCE for one in found)


@pytest.mark.parametrize("cut", range(1, 40))
def test_an_export_cut_short_is_refused(cut: int) -> None:
    data = export(claude()).SerializeToString()
    with pytest.raises(log_records.BadExport):
        log_records.decode(data[:-cut], PROTOBUF)


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
