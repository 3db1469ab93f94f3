"""Endpoints beside chat, from the client's bytes through the gateway to the row: model, usage and cost, and no content."""

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from services.logger import rows
from services.logger.rows import ResponseRow
from shared import events as event_types
from tests.support.gateway_app import TOKEN, System, plain, request, system
from tests.support.mock_provider import INDEX, RECORDINGS

BOUNDARY = "----metrion-boundary"
DAY = datetime(2026, 11, 24, 12, tzinfo=UTC)  # whose prices the sums below are made of


def recording(file: str, *, encoding: str = "") -> bytes:
    """The bytes of a provider's answer that is a recording."""
    data = (RECORDINGS / file).read_bytes()
    if encoding:
        data = gzip.compress(data)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {INDEX[file]['headers']['content-type']}\r\n"
    head += f"Content-Encoding: {encoding}\r\n" if encoding else ""
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart form; a part whose name is "file" is one."""
    body = b""
    for name, value in parts:
        file = '; filename="a.wav"\r\nContent-Type: audio/wav' if name == "file" else ""
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"
        )
    return body + f"--{BOUNDARY}--\r\n".encode()


async def recorded_row(found: System, file: str, sent: bytes, *, encoding: str = "") -> ResponseRow:
    """The row of a request that is answered with a recording; the client got it byte for byte."""
    found.upstream.respond = plain(recording(file, encoding=encoding))
    response = await found.send(sent)
    assert response.startswith(b"HTTP/1.1 200")
    expected = (RECORDINGS / file).read_bytes()
    assert response.endswith(gzip.compress(expected) if encoding else expected) or encoding
    event = found.events.last
    return rows.response_row(
        msgspec.structs.replace(event, envelope=msgspec.structs.replace(event.envelope, started_at=DAY))
    )


AUDIO = b"RIFF" + bytes(range(256)) * 8000 + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nfake-model\r\n'


@pytest.mark.parametrize(
    "parts",
    [
        [("model", b"gpt-4o-transcribe"), ("file", AUDIO)],
        [("file", AUDIO), ("model", b"gpt-4o-transcribe")],  # as Node's SDK sends it: behind 2 MB of sound
    ],
    ids=["model first", "file first"],
)
async def test_a_transcription_is_priced_by_the_forms_model_wherever_it_stands(parts: list[tuple[str, bytes]]) -> None:
    async with system() as found:
        body = form(*parts, ("response_format", b"json"))
        sent = request(
            path="/api/proxy/openai/v1/audio/transcriptions",
            body=body,
            kind=f"multipart/form-data; boundary={BOUNDARY}".encode(),
        )
        row = await recorded_row(found, "openai/transcription_tokens.json", sent)
        assert found.upstream.requests[-1][1] == body
    assert (row.input_tokens, row.audio_tokens, row.output_tokens) == (140, 140, 18)
    assert row.cost == Decimal("0.00102")  # 140 × 6 + 18 × 10, a million
    assert row.model_requested == "gpt-4o-transcribe" or row.model == "gpt-4o-transcribe"


async def test_a_key_put_where_the_model_belongs_reaches_no_event() -> None:
    async with system() as found:
        sent = request(
            path="/api/proxy/openai/v1/audio/transcriptions",
            body=form(("file", AUDIO), ("model", b"m" * 230 + TOKEN.encode())),
            kind=f"multipart/form-data; boundary={BOUNDARY}".encode(),
        )
        await recorded_row(found, "openai/transcription_tokens.json", sent)
        assert not any(TOKEN.encode() in event_types.encode(event) for event in found.events)
        assert found.events.last.evidence.request == {"model": "m" * 230 + "[redacted]"}


async def test_speech_is_priced_by_its_texts_length_and_the_text_stays_here() -> None:
    text = "Grüezi, «Welt» \N{SPEAKER}! " * 60
    async with system() as found:
        body = json.dumps({"model": "tts-1", "voice": "alloy", "input": text}).encode()
        row = await recorded_row(
            found, "openai/speech.mp3", request(path="/api/proxy/openai/v1/audio/speech", body=body)
        )
        events = b"".join(event_types.encode(event) for event in found.events)
    assert row.cost == Decimal(len(text) * 15) / 10**6
    assert row.cost_by_class == {"characters": row.cost}
    assert row.usage_source == "reported"
    assert b"Welt" not in events


CALLS: list[tuple[str, str, str, bytes]] = [
    ("openai/images.json", "POST", "openai/v1/images/generations", b'{"model":"gpt-image-1.5","prompt":"a secret boat"}'),
    ("openai/image_stream.sse", "POST", "openai/v1/images/generations", b'{"model":"gpt-image-1.5","prompt":"a secret boat","stream":true}'),
    ("openai/images_svg.json", "POST", "openai/v1/images/generations", b'{"model":"gpt-image-2.5-flare","prompt":"a secret boat"}'),
    ("openai/moderations.json", "POST", "openai/v1/moderations", b'{"model":"omni-moderation-latest","input":"a secret boat"}'),
    ("openai/responses_background_queued.json", "POST", "openai/v1/responses", b'{"model":"gpt-6.1-terra","background":true,"input":"a secret boat"}'),
    ("openai/responses_background_done.json", "GET", "openai/v1/responses/resp_1", b""),
    ("openai/responses_stored.json", "GET", "openai/v1/responses/resp_1", b""),
    ("openai/batch.json", "GET", "openai/v1/batches/batch_1", b""),
    ("openai/batch_output.jsonl", "GET", "openai/v1/files/file-out/content", b""),
    ("openai/file_training.jsonl", "GET", "openai/v1/files/file-in/content", b""),
    ("anthropic/batch_results.jsonl", "GET", "v1/messages/batches/msgbatch_1/results", b""),
    ("anthropic/count_tokens.json", "POST", "v1/messages/count_tokens", b'{"model":"claude-sonnet-5-5"}'),
    ("anthropic/messages_advisor.json", "POST", "v1/messages", b'{"model":"claude-haiku-4-5"}'),
    ("gemini/stream_array.json", "POST", "gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent", b"{}"),
    ("gemini/embeddings.json", "POST", "gemini/v1beta/models/gemini-embedding-2:batchEmbedContents", b"{}"),
    ("gemini/search.json", "POST", "gemini/v1beta/models/gemini-3.8-flash:generateContent", b"{}"),
    ("gemini/interaction_stream.sse", "POST", "gemini/v1beta/interactions", b'{"model":"gemini-3.8-flash","stream":true}'),
    ("mistral/ocr.json", "POST", "mistral/v1/ocr", b'{"model":"mistral-ocr-latest","document_annotation_format":null}'),
    ("mistral/ocr_annotated.json", "POST", "mistral/v1/ocr", b'{"model":"mistral-ocr-latest","document_annotation_format":{"type":"json_schema"}}'),
    ("mistral/transcription.json", "POST", "mistral/v1/audio/transcriptions", b'{"model":"voxtral-mini-2602","file_url":"x"}'),
    ("mistral/fim_stream.sse", "POST", "mistral/v1/fim/completions", b'{"model":"codestral-latest","stream":true}'),
    ("xai/responses.json", "POST", "grok/v1/responses", b'{"model":"grok-4.7"}'),
    ("xai/images.json", "POST", "xai/v1/images/generations", b'{"model":"grok-imagine-image"}'),
]  # fmt: skip
# What recordings cost that bear no cost of their own in the index: by hand.
COSTS: dict[str, tuple[str | None, str]] = {
    "openai/images.json": ("0.034042", ""),  # 50 × 5 + 1056 × 32, a million
    "openai/moderations.json": ("0", ""),
    "openai/batch.json": (None, "batch"),
    "anthropic/count_tokens.json": ("0", ""),
}


@pytest.mark.parametrize(("file", "method", "path", "body"), CALLS, ids=[f"{call[1]} {call[0]}" for call in CALLS])
async def test_each_endpoint_is_recorded_as_it_is_billed(file: str, method: str, path: str, body: bytes) -> None:
    known = INDEX[file]
    cost, reason = COSTS[file] if file in COSTS else (known["cost"], known.get("cost_reason", ""))
    native = b"x-goog-api-key" if path.startswith("gemini") else b""
    async with system(mistral=True) as found:
        sent = request(method, f"/api/proxy/{path}", body=body)
        if native:
            sent = sent.replace(b"Authorization: Bearer", native + b":")
        row = await recorded_row(found, file, sent)
        events = b"".join(event_types.encode(event) for event in found.events)
    assert (row.cost, row.cost_reason) == (None if cost is None else Decimal(cost), reason)
    for name in ("input", "output"):
        assert getattr(row, f"{name}_tokens") == (known["usage"] or {}).get(name)
    for content in (b"secret boat", b"iVBORw0KGgo", b"PHN2Zy8", b"Dues", b"# Page", b'prompt_tokens\\":999'):
        assert content not in events


@pytest.mark.parametrize("file", ["openai/batch_output.jsonl", "anthropic/batch_results.jsonl"])
async def test_a_packed_download_of_a_batch_is_read_too(file: str) -> None:
    path = "openai/v1/files/f/content" if "openai" in file else "v1/messages/batches/b/results"
    async with system() as found:
        sent = request("GET", f"/api/proxy/{path}", body=b"", headers=b"Accept-Encoding: gzip\r\n")
        row = await recorded_row(found, file, sent, encoding="gzip")
    assert (row.input_tokens, row.output_tokens) == (INDEX[file]["usage"]["input"], INDEX[file]["usage"]["output"])
    assert (row.cost, row.cost_reason) == (None, "batch")


async def test_a_gemini_array_that_breaks_off_leaves_what_had_come() -> None:
    data = (RECORDINGS / "gemini/stream_array.json").read_bytes()
    cut = data[: data.index(b'" more"')]
    async with system() as found:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
        found.upstream.respond = plain(head + cut, close=True)
        await found.send(
            request(path="/api/proxy/gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent", body=b"{}")
        )
        row = rows.response_row(found.events.last)
    assert (row.usage_source, row.input_tokens, row.output_tokens) == ("estimated", 20, 54)
    assert row.cost is not None and row.cost_reason == "estimated:output"
