"""A defect of accounting never reaches the client, and never costs the request its row."""

from typing import Any

import pytest

from services.gateway import accounting_failures, upstream_error
from services.gateway.usage import token_estimate
from services.gateway.usage.json_tap import JsonTap
from shared import events
from shared.events import ResponseEvent
from tests.support.gateway_app import TOKEN, System, plain, request, system

USAGE = b'{"model":"gpt-4o","usage":{"prompt_tokens":20,"completion_tokens":10}}'
CHAT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hello there, my friend"}}]}\n\n'
MESSAGES = "/api/proxy/anthropic/v1/messages"


def http(body: bytes, *, headers: bytes = b"", kind: bytes = b"application/json", status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n" % (status, kind, len(body))
    return head + headers + b"\r\n" + body


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def row(gateway: System) -> ResponseEvent:
    """The one row of the one request; every number is used once."""
    found = [event for event in gateway.events if isinstance(event, ResponseEvent)]
    assert len(found) == 1
    assert len(gateway.events) == 2
    return found[0]


@pytest.mark.parametrize(
    "name", [b"request-id", b"x-request-id", b"x-gemini-service-tier", b"retry-after", b"openai-processing-ms", b"x"]
)
@pytest.mark.parametrize("value", [b"\xff", b"a\xffb", b"\xed\xa0\xbd", b"caf\xe9", "é".encode()])
async def test_non_ascii_header_bytes_do_not_lose_the_row(name: bytes, value: bytes) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(http(USAGE, headers=name + b": " + value + b"\r\n"))
        response = await gateway.send(request())
        assert response.startswith(b"HTTP/1.1 200")
        assert body_of(response) == USAGE
        found = row(gateway)
        assert (found.status, found.outcome) == (200, events.COMPLETE)
        assert b'"prompt_tokens":20' in found.evidence.picks[0]
        events.encode(found)


NESTED = b"[" * 20_000 + b"]" * 20_000
DEEP = {
    "document": (b"200 OK", b"application/json", USAGE[:-1] + b',"x":' + NESTED + b"}"),
    "input": (b"200 OK", b"application/json", b'{"content":[{"type":"tool_use","input":' + NESTED + b"}]," + USAGE[1:]),
    "echo": (b"422 x", b"application/json", b'{"error":{"message":"no","input":' + NESTED + b"}}"),
    "array": (b"200 OK", b"application/json", b"[" + NESTED + b"," + USAGE + b"]"),
    "event": (b"200 OK", b"text/event-stream", b'data: {"x":' + NESTED + b"}\n\ndata: " + USAGE + b"\n\ndata: [DONE]\n\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", DEEP)
async def test_a_response_nested_beyond_all_readers_passes_and_its_usage_is_recorded(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, kind, body = DEEP[what]
    async with system() as gateway:
        gateway.upstream.respond = plain(http(body, status=status, kind=kind))
        response = await gateway.send(request())
        assert response.startswith(b"HTTP/1.1 " + status[:3])
        assert body_of(response) == body or body in response
        found = row(gateway)
        assert (found.status, found.outcome) == (int(status[:3]), events.COMPLETE)
        assert (b'"prompt_tokens":20' in b"".join(found.evidence.picks)) is (what != "echo")
        assert not gateway.proxy._metrics.failures.by_stage
    assert "RecursionError" not in caplog.text


@pytest.mark.parametrize("value", [b"a\x01b", b"\x7f", b"\x1b[31m", b"\xff\x02", b"a\tb"])
@pytest.mark.parametrize("body", [USAGE, b"data: " + USAGE + b"\n\ndata: [DONE]\n\n"], ids=["whole", "stream"])
async def test_control_characters_in_a_header_do_not_lose_the_response(value: bytes, body: bytes) -> None:
    kind = b"application/json" if body is USAGE else b"text/event-stream"
    async with system() as gateway:
        gateway.upstream.respond = plain(http(body, kind=kind, headers=b"X-A: " + value + b"\r\nX-A: b\r\n"))
        response = await gateway.send(request())
        assert response.startswith(b"HTTP/1.1 200")
        assert USAGE in body_of(response)
        assert response.count(b"X-A: ") == 2
        assert (row(gateway).status, row(gateway).outcome) == (200, events.COMPLETE)


@pytest.mark.parametrize("kind", [b"application/json\xff", b"\xff", b"text/event-stream;\xff"])
@pytest.mark.parametrize("status", [b"200 \xff", b"404 N\xff"])
async def test_malformed_response_head_does_not_lose_the_row(kind: bytes, status: bytes) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(http(USAGE, kind=kind, status=status, headers=b"Content-Encoding: \xff\r\n"))
        response = await gateway.send(request())
        assert response.startswith(b"HTTP/1.1 " + status[:3])
        assert body_of(response).endswith(USAGE) or USAGE in body_of(response)
        events.encode(row(gateway))


def explode(*_: Any, **__: Any) -> Any:
    raise RecursionError("maximum recursion depth exceeded")


async def test_failing_to_open_a_tap_does_not_affect_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.relay.open_tap", explode)
    async with system() as gateway:
        await assert_unknown(gateway, stage=accounting_failures.HEADERS)


async def test_tap_failure_while_reading_does_not_affect_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonTap, "feed", explode)
    async with system() as gateway:
        await assert_unknown(gateway, stage=accounting_failures.READING)


@pytest.mark.parametrize("name", ["evidence", "text"])
async def test_failure_to_pick_evidence_does_not_affect_the_response(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JsonTap, name, explode)
    async with system() as gateway:
        await assert_unknown(gateway, stage=accounting_failures.EVIDENCE, status=200 if name == "evidence" else 422)


async def test_unreadable_error_does_not_affect_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_error, "parse", explode)
    async with system() as gateway:
        await assert_unknown(gateway, stage=accounting_failures.EVIDENCE, status=422)


async def test_credentials_that_cannot_be_cut_out_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.request.redaction.Redactor.json", explode)
    async with system() as gateway:
        await assert_unknown(gateway, stage=accounting_failures.EVIDENCE)


async def assert_unknown(gateway: System, *, stage: str, status: int = 200) -> None:
    """The answer passes, its row says that its usage is unknown and why, and the next request is served."""
    gateway.upstream.respond = plain(http(USAGE, status=b"%d x" % status))
    for count in (1, 2):
        gateway.events.clear()
        response = await gateway.send(request())
        assert response.startswith(b"HTTP/1.1 %d" % status)
        assert body_of(response) == USAGE
        found = row(gateway)
        assert (found.status, found.outcome) == (status, events.COMPLETE)
        assert found.evidence.picks == ()
        assert found.evidence.truncated
        assert (found.evidence.gaps, found.evidence.reason) == (events.GAPS_ALL, events.UNREAD_FAILED)
        assert gateway.proxy._metrics.failures.by_stage == {stage: count}


async def test_an_event_that_cannot_be_encoded_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.relay.text", lambda value: value)
    async with system() as gateway:
        gateway.upstream.respond = plain(http(USAGE, headers=b"request-id: a\xff\r\n"))
        assert body_of(await gateway.send(request())) == USAGE
        found = row(gateway)
        assert found.provider_request_id == "a\ufffd"
        assert b'"prompt_tokens":20' in found.evidence.picks[0]
        assert gateway.proxy._metrics.failures.by_stage == {accounting_failures.EVENT: 1}


async def test_event_that_cannot_be_sanitized_is_recorded_in_minimal_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.relay.text", lambda value: value)
    monkeypatch.setattr("services.gateway.outbox.sanitize.sanitized", explode)
    async with system() as gateway:
        gateway.upstream.respond = plain(http(USAGE, headers=b"request-id: a\xff\r\n"))
        assert body_of(await gateway.send(request())) == USAGE
        found = row(gateway)
        assert (found.envelope.account, found.status, found.outcome) == ("acme", 200, events.COMPLETE)
        assert found.evidence.reason == events.UNREAD_FAILED


async def test_a_number_whose_event_cannot_be_written_is_counted_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.gateway_app.RecordedEvents.append", explode)
    async with system() as gateway:
        gateway.upstream.respond = plain(http(USAGE))
        assert body_of(await gateway.send(request())) == USAGE
        assert len(gateway.events.forgone) == 2
        assert gateway.proxy._metrics.failures.by_stage == {accounting_failures.EVENT: 6}
        assert not gateway.proxy._metrics.requests  # each of these is a row


async def test_failures_are_logged_a_few_times_and_never_quote_the_response(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("secret content")

    monkeypatch.setattr(JsonTap, "feed", fail)
    async with system() as gateway:
        gateway.upstream.respond = plain(http(USAGE))
        for _ in range(20):
            await gateway.send(request())
    found = [record.getMessage() for record in caplog.records if record.name == "services.gateway.accounting_failures"]
    assert len(found) == 5  # the 1st, 2nd, 4th, 8th and 16th
    assert all("ValueError at " in line and "secret" not in line for line in found)


@pytest.mark.parametrize("kind", [b"text/event-stream", b"Text/Event-Stream; charset=utf-8"])
@pytest.mark.parametrize(
    "asked",
    [
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}',
        b'{"model":"gpt-4o","stream":"true","messages":[{"role":"user","content":"hi"}]}',
        b"\x1f\x8b not readable",
    ],
    ids=["not asked", "true as a text", "unreadable"],
)
async def test_unrequested_stream_is_recorded_as_a_stream_and_estimated(kind: bytes, asked: bytes) -> None:
    stream = CHAT + b"data: [DONE]\n\n"
    async with system() as gateway:
        gateway.upstream.respond = plain(http(stream, kind=kind))
        response = await gateway.send(request(body=asked))
        assert stream in response or body_of(response) == stream
        found = row(gateway)
        assert found.envelope.stream
        assert found.outcome == events.COMPLETE
        if token_estimate.VOCABULARY.count(["a"]) is not None:
            assert found.evidence.estimate is not None
            assert found.evidence.estimate.output


@pytest.mark.parametrize("text", [b'{"error":{"message":"no"}}', b"", b"[" * 3000])
async def test_an_error_to_a_stream_request_stays_a_stream_request(text: bytes) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(http(text, status=b"400 Bad Request"))
        await gateway.send(request(body=b'{"model":"gpt-4o","stream":true}'))
        assert row(gateway).envelope.stream
        assert row(gateway).status == 400


@pytest.mark.parametrize("key", [b"usage", b"gpt-4o", b"prompt_tokens", b"completions", b"20"])
async def test_common_word_sent_as_a_key_does_not_redact_the_usage(key: bytes) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(http(USAGE))
        own = b"Authorization: Bearer " + key + b"\r\nx-metrion-token: " + TOKEN.encode() + b"\r\n"
        assert body_of(await gateway.send(request(auth=own))) == USAGE
        found = row(gateway)
        assert found.evidence.picks == (USAGE,)
        assert (found.envelope.model, found.envelope.endpoint) == ("gpt-4o", "POST /v1/chat/completions")
