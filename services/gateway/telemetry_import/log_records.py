"""Log records of an OTLP export, decoded from protobuf or JSON.

Protobuf's packages are imported with the first export: 2 MB and 36 ms of CPU.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.telemetry_import.protobuf_fields import BadMessage, FieldReader

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MOST_RECORDS = 10_000  # of one export; OpenTelemetry's SDKs send 512
_MOST_OBJECTS = 500_000  # of one export in JSON: some 100 ms of work
_MOST_FIELDS = 100_000  # of one export in protobuf, those within records and resources not counted
_MOST_ATTRIBUTES = 200_000  # of one export in protobuf, those of its resources included
_LEAST_BYTES = 8  # of an attribute, on average: one of two bytes is an object of a hundred, and says nothing
_MOST_BYTES = 64 << 10  # of a record or resource in protobuf: a longer record is a prompt or output, not usage

_RESOURCE_LOGS = 1  # numbers of fields in protobuf
_RESOURCE = 1
_SCOPE_LOGS = 2
_LOG_RECORDS = 2

T = TypeVar("T")
Value = str | int | float | bool
Attributes = dict[str, Value]


class BadExport(ValueError):
    """An export that is not OTLP, or has too many records."""


class LogRecord(msgspec.Struct, frozen=True):
    """One event. Values other than text and numbers are left out."""

    name: (
        str  # of the event: the attribute event.name, its own field (where Codex has a line of its source), or the body
    )
    time_ns: int  # Unix time; 0 if unknown
    attributes: Attributes
    resource: Attributes


def decode(data: bytes, media_type: str) -> list[LogRecord]:
    """Decode an export of logs; BadExport if it is unreadable."""
    return list(_decode_json(data) if media_type == JSON else _decode_protobuf(data))


def encode_response(media_type: str, *, signal: str, rejected: int = 0, message: str = "") -> bytes:
    """The response to an export.

    `signal`: logs, metrics or traces; `message`: what was rejected or ignored.
    """
    if media_type == JSON:
        partial: dict[str, Any] = {_REJECTED[signal]: str(rejected)} if rejected else {}
        return msgspec.json.encode({"partialSuccess": partial | {"errorMessage": message}} if message else {})
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

    response = logs_service_pb2.ExportLogsServiceResponse()  # on the wire the same for all signals
    if message:
        response.partial_success.rejected_log_records = rejected
        response.partial_success.error_message = message
    data: bytes = response.SerializeToString()
    return data


_REJECTED = {"logs": "rejectedLogRecords", "metrics": "rejectedDataPoints", "traces": "rejectedSpans"}


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bool_value: bool | None = None


class _KeyValue(msgspec.Struct):
    key: str = ""
    value: _Value | None = None


class _Resource(msgspec.Struct):
    attributes: list[_KeyValue] | None = None


class _Record(msgspec.Struct, rename="camel"):
    time_unix_nano: int | str = 0
    observed_time_unix_nano: int | str = 0
    event_name: str = ""
    body: _Value | None = None
    attributes: list[_KeyValue] | None = None


class _Scope(msgspec.Struct, rename="camel"):
    log_records: list[_Record] | None = None


class _ResourceLogs(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_logs: list[_Scope] | None = None


class _Export(msgspec.Struct, rename="camel"):
    resource_logs: list[_ResourceLogs] | None = None


_json = msgspec.json.Decoder(_Export)


def _decode_json(data: bytes) -> Iterator[LogRecord]:
    if data.count(b"{") > _MOST_OBJECTS:
        raise BadExport(f"more than {_MOST_OBJECTS} objects in one export")
    try:
        groups = _json.decode(data).resource_logs or []
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        repaired = lenient_json.decode(data, _json)  # JavaScript cuts texts between two halves of a character
        if repaired is None:
            raise BadExport(f"not OTLP in JSON: {str(error)[:200]}") from None
        groups = repaired.resource_logs or []
    _check_count([len(groups)])
    _check_count(len(group.scope_logs or []) for group in groups)
    _check_count(len(scope.log_records or []) for group in groups for scope in group.scope_logs or [])
    for group in groups:
        resource = _of_json(group.resource.attributes if group.resource else None)
        for scope in group.scope_logs or []:
            for record in scope.log_records or []:
                body = record.body.string_value if record.body else None
                attributes = _of_json(record.attributes)
                time_ns = _time(record.time_unix_nano) or _time(record.observed_time_unix_nano)
                yield LogRecord(_name(record.event_name, attributes, body or ""), time_ns, attributes, resource)


def _of_json(pairs: list[_KeyValue] | None) -> Attributes:
    found: Attributes = {}
    for pair in pairs or []:
        if pair.value is None:
            continue
        for value in (pair.value.string_value, pair.value.int_value, pair.value.double_value, pair.value.bool_value):
            if value is not None:
                found[pair.key] = value
                break
    return found


def _decode_protobuf(data: bytes) -> Iterator[LogRecord]:
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as Record

    reader = _AttributeReader()
    try:
        for resource, found in _bounded(_split_protobuf(data, reader)):
            record = Record.FromString(found)
            attributes = reader.read(record.attributes, len(found))
            name = _name(record.event_name, attributes, record.body.string_value)
            yield LogRecord(name, record.time_unix_nano or record.observed_time_unix_nano, attributes, resource)
    except (DecodeError, BadMessage) as error:
        raise BadExport(f"not OTLP in protobuf: {str(error)[:200]}") from None


class _AttributeReader:
    """Reads the attributes of an export in protobuf, within its bounds."""

    def __init__(self) -> None:
        self._left = _MOST_ATTRIBUTES

    def read(self, pairs: Sequence[Any], size: int) -> Attributes:
        """Read the attributes of a message of `size` bytes; BadExport if there are too many."""
        count = len(pairs)
        self._left -= count
        if self._left < 0:
            raise BadExport(f"more than {_MOST_ATTRIBUTES} attributes in one export")
        if count * _LEAST_BYTES > size:
            raise BadExport(f"more than one attribute per {_LEAST_BYTES} bytes")
        found: Attributes = {}
        for pair in pairs:
            value = pair.value
            kind = value.WhichOneof("value")
            if kind in _SCALARS:
                found[pair.key] = getattr(value, kind)
        return found


_SCALARS = frozenset({"string_value", "int_value", "double_value", "bool_value"})


def _split_protobuf(data: bytes, reader: _AttributeReader) -> Iterator[tuple[Attributes, memoryview]]:
    """Yield resource and bytes of each log record, except those that are too long to be usage."""
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    fields = FieldReader(_MOST_FIELDS)
    for group in _bounded(fields.messages(memoryview(data), _RESOURCE_LOGS)):
        stated = b"".join(fields.messages(group, _RESOURCE))  # of several, protobuf merges the fields
        if len(stated) > _MOST_BYTES:
            raise BadExport(f"a resource of more than {_MOST_BYTES} bytes")
        resource = reader.read(Resource.FromString(stated).attributes, len(stated))
        for scope in _bounded(fields.messages(group, _SCOPE_LOGS)):
            for record in _bounded(fields.messages(scope, _LOG_RECORDS)):
                if len(record) <= _MOST_BYTES:
                    yield resource, record


def _bounded(found: Iterable[T]) -> Iterator[T]:
    for count, one in enumerate(found, 1):
        _check_count([count])
        yield one


def _name(own: str, attributes: Attributes, body: str) -> str:
    return str(attributes.get("event.name", "")) or own or body[:256]


def _time(value: int | str) -> int:
    """Nanoseconds since 1970; JSON has 64-bit numbers as text."""
    try:
        return max(int(value), 0)
    except ValueError:
        return 0


def _check_count(counts: Iterable[int]) -> None:
    if sum(counts) > MOST_RECORDS:
        raise BadExport(f"more than {MOST_RECORDS} log records, scopes or resources in one export")
