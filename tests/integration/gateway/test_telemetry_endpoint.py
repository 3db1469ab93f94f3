"""POST /api/proxy/metrion/otlp/v1/…: clients' telemetry over HTTP, with the client's own exporter among others."""

import asyncio
import gzip
import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

from services.gateway.telemetry_endpoint import MAX_BODY, ROOT
from services.gateway.telemetry_import.log_records import JSON, PROTOBUF
from shared.accounts_model import Token
from shared.limits.model import Limit
from tests.support.gateway_app import TOKEN, System, request, system
from tests.support.telemetry_exports import as_json, claude, codex, export

LOGS = f"{ROOT}v1/logs"
PROTO = PROTOBUF.encode()


def now(**changes: Any) -> dict[str, Any]:
    """A Claude Code request of just now."""
    return dict(claude(at=datetime.now(UTC), **changes))


async def ask(running: System, data: bytes, *, path: str = LOGS, **changes: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body."""
    answer = await running.send(request(changes.pop("method", "POST"), path, body=data, **{"kind": PROTO} | changes))
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:]), body


async def test_usage_becomes_an_event_in_the_outbox_before_the_response() -> None:
    message = export(now(), now(event__name="user_prompt", prompt="secret"), codex(at=datetime.now(UTC)))
    plain = message.SerializeToString()
    async with system(gateway_name="g-7") as gateway:
        for data, kind, headers in (
            (plain, PROTO, b""),
            (gzip.compress(plain), PROTO, b"Content-Encoding: gzip\r\n"),
            (as_json(message), JSON.encode() + b"; charset=utf-8", b"x-metrion-user: carol\r\n"),
        ):
            status, found, body = await ask(gateway, data, kind=kind, headers=headers)
            assert (status, found["content-type"]) == (200, kind.decode().partition(";")[0])
            assert body == (b"{}" if kind.startswith(JSON.encode()) else b"")
            assert "x-metrion-request-id" in found
        assert len(gateway.events) == 6  # two each
        first, *_, last = gateway.events
        assert gateway.events.last.imported
        assert gateway.events.last.envelope.gateway == "g-7"
        assert [event.envelope.requester for event in gateway.events[-2:]] == ["carol", "carol"]  # type: ignore[union-attr]
        assert len({event.envelope.id for event in gateway.events}) == 2  # type: ignore[union-attr]
        assert first.envelope.account == last.envelope.account == "acme"  # type: ignore[union-attr]
        assert gateway.upstream.requests == []
        assert "secret" not in repr(gateway.events)
        assert gateway.proxy.telemetry.imported == 6


async def test_an_opentelemetry_sdk_exports_to_it(caplog: pytest.LogCaptureFixture) -> None:
    async with system() as gateway:

        def send() -> None:
            url = f"http://127.0.0.1:{gateway.port}{LOGS}"
            provider = LoggerProvider(shutdown_on_exit=False)
            exporter = OTLPLogExporter(url, headers={"x-metrion-token": TOKEN})
            provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
            provider.get_logger("com.anthropic.claude_code.events").emit(
                body="claude_code.api_request", attributes=now(), severity_text="INFO"
            )
            provider.shutdown()

        with caplog.at_level(logging.WARNING, logger="opentelemetry"):
            await asyncio.to_thread(send)
        assert gateway.events.last.envelope.model == "claude-sonnet-4-5-20250929"
        assert caplog.records == []


@pytest.mark.parametrize("signal", ["metrics", "traces"])
async def test_other_signals_are_accepted_and_reported_as_ignored(signal: str) -> None:
    async with system() as gateway:
        path = f"{ROOT}v1/{signal}"
        status, _, body = await ask(gateway, b"{}", path=path, kind=JSON.encode())
        assert (status, json.loads(body)) == (
            200,
            {"partialSuccess": {"errorMessage": f"Metrion reads usage from logs; {signal} are ignored"}},
        )
        status, _, body = await ask(gateway, b"\x0a\x00", path=path)
        assert b"are ignored" in body
        assert gateway.events == []


async def test_unreadable_usage_is_rejected_and_the_rest_imported() -> None:
    message = export(now(input_tokens="many"), now(), now(event__timestamp="2020-01-01T00:00:00Z"))
    async with system() as gateway:
        status, _, body = await ask(gateway, message.SerializeToString())
        partial = ExportLogsServiceResponse.FromString(body).partial_success
        assert (status, partial.rejected_log_records, len(gateway.events)) == (200, 2, 1)
        assert partial.error_message == "Not imported: an event api_request has no valid input_tokens"
        assert gateway.proxy.telemetry.rejected == 2


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"auth": b""}, 401, "missing_token"),
        ({"auth": b"Authorization: Bearer sk-metrion-" + b"9" * 32 + b"\r\n"}, 401, "invalid_token"),
        ({"auth": b"Authorization: Basic " + TOKEN.encode() + b"\r\n"}, 400, "misplaced_token"),
        ({"kind": b"text/plain"}, 415, "unsupported_media_type"),
        ({"data": b"\xff\xff"}, 400, "malformed_body"),
        ({"data": b"[", "kind": JSON.encode()}, 400, "malformed_body"),
        ({"headers": b"Content-Encoding: gzip\r\n"}, 400, "malformed_body"),
        ({"data": gzip.compress(bytes(7 << 20)), "headers": b"Content-Encoding: gzip\r\n"}, 400, "malformed_body"),
        ({"data": bytes(MAX_BODY + 1), "max_body_bytes": 32 << 20}, 413, "body_too_large"),
        ({"headers": b"x-metrion-user: " + b"x" * 300 + b"\r\n"}, 400, "invalid_header"),
        ({"method": "GET"}, 405, "method_not_allowed"),
        ({"path": f"{ROOT}v1/profiles"}, 404, "unknown_endpoint"),
        ({"import_telemetry": False}, 404, "unknown_endpoint"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_refused_export_says_why_and_leaves_nothing(changes: dict[str, Any], status: int, code: str) -> None:
    changes = dict(changes)
    settings = {name: changes.pop(name) for name in ("import_telemetry", "max_body_bytes") if name in changes}
    data = changes.pop("data", export(now()).SerializeToString())
    async with system(**settings) as gateway:
        got, _, body = await ask(gateway, data, **changes)
        assert (got, json.loads(body)["error"]["code"]) == (status, code)
        assert gateway.events == []
        assert gateway.proxy.bodies.reserved_bytes == 0


async def test_a_full_outbox_makes_the_client_retry_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    data = export(now(request_id="a"), now(request_id="b")).SerializeToString()
    async with system() as gateway:
        room = iter([True, False])
        append = gateway.events.append
        monkeypatch.setattr(gateway.events, "append", lambda event: next(room, True) and append(event))
        status, found, _ = await ask(gateway, data)
        assert (status, found["retry-after"]) == (503, "30")
        assert (await ask(gateway, data))[0] == 200
        assert [event.envelope.id for event in gateway.events].count(gateway.events.last.envelope.id) == 1  # type: ignore[union-attr]
        assert len({event.envelope.id for event in gateway.events}) == 2  # type: ignore[union-attr]


async def test_exports_count_against_no_limit() -> None:
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("gpt-4o",), providers=("openai",))
        gateway.tokens.limited = [Limit("acme", "one", datetime.now(UTC) - timedelta(days=1), Decimal(1))]
        for number in range(5):
            assert (await ask(gateway, export(now(request_id=f"req_{number}")).SerializeToString()))[0] == 200
        assert len(gateway.events) == 5
