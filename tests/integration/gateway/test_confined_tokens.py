"""A token confined to models passes with what is positively allowed, and nothing else of it reaches a provider."""

import gzip
import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import brotli
import pytest
import zstandard

from shared import events
from shared.accounts_model import Token
from tests.support.gateway_app import TOKEN, plain, request, system

CHAT = "/api/proxy/openai/v1/chat/completions"
SPEECH = "/api/proxy/openai/v1/audio/transcriptions"
NATIVE = "/api/proxy/gemini/v1beta/models"
GOOD, BAD = b'{"model":"allowed-1","messages":[]}', b'{"model":"forbidden","messages":[]}'
DEEP = b"[" * 3000 + b"]" * 3000


def part(value: bytes, *, name: bytes = b'name="model"', end: bytes = b"\r\n") -> bytes:
    return end.join([b"--b", b"Content-Disposition: form-data; " + name, b"", value, b""])


def form(
    *parts: bytes, kind: bytes = b"multipart/form-data; boundary=b", tail: bytes = b"--b--\r\n", **more: Any
) -> bytes:
    return request(path=SPEECH, body=b"".join(parts) + tail, kind=kind, **more)


ALLOWED_PART, FORBIDDEN_PART = part(b"allowed-1"), part(b"forbidden")
FILE = part(b"R" * 200_000, name=b'name="file"; filename="a.wav"')

CONFUSING: dict[str, bytes] = {
    "another model": request(body=BAD),
    "a byte order mark": request(body=b"\xef\xbb\xbf" + BAD),
    "UTF-16": request(body=BAD.decode().encode("utf-16")),
    "UTF-32": request(body=BAD.decode().encode("utf-32")),
    "NaN": request(body=BAD[:-1] + b',"x":NaN}'),
    "half a pair": request(body=BAD[:-1] + b',"x":"\\ud83d"}'),
    "deep": request(body=BAD[:-1] + b',"x":' + DEEP + b"}"),
    "gzip": request(body=gzip.compress(BAD), headers=b"Content-Encoding: gzip\r\n"),
    "gzip members": request(body=gzip.compress(BAD[:9]) + gzip.compress(BAD[9:]), headers=b"Content-Encoding: gzip\r\n"),
    "gzip twice": request(body=gzip.compress(gzip.compress(BAD)), headers=b"Content-Encoding: gzip, gzip\r\n"),
    "deflate": request(body=zlib.compress(GOOD), headers=b"Content-Encoding: deflate\r\n"),
    "brotli": request(body=brotli.compress(GOOD), headers=b"Content-Encoding: br\r\n"),
    "zstd": request(body=zstandard.compress(BAD), headers=b"Content-Encoding: zstd\r\n"),
    "zstd and more": request(body=zstandard.compress(GOOD) + zstandard.compress(BAD), headers=b"Content-Encoding: zstd\r\n"),
    "an unknown encoding": request(body=GOOD, headers=b"Content-Encoding: aes128gcm\r\n"),
    "no encoding, though stated": request(body=GOOD, headers=b"Content-Encoding: gzip\r\n"),
    "text": request(body=BAD, kind=b"text/plain"),
    "text that is allowed": request(body=GOOD, kind=b"text/plain"),
    "urlencoded": request(body=b"model=forbidden", kind=b"application/x-www-form-urlencoded"),
    "octets": request(body=BAD, kind=b"application/octet-stream"),
    "another charset": request(body=GOOD, kind=b"application/json; charset=utf-16"),
    "no body": request(body=b""),
    "a list": request(body=b'{"model":["forbidden"]}'),
    "an object": request(body=b'{"model":{"id":"forbidden"}}'),
    "in capitals": request(body=b'{"Model":"forbidden"}'),
    "in capitals too": request(body=b'{"model":"allowed-1","MODEL":"forbidden"}'),
    "twice": request(body=b'{"model":"forbidden","model":"allowed-1"}'),
    "twice, the other way": request(body=b'{"model":"allowed-1","model":"forbidden"}'),
    "twice, escaped": request(body=b'{"model":"allowed-1","\\u006dodel":"forbidden"}'),
    "two documents": request(body=GOOD + BAD),
    "a fallback": request(body=GOOD[:-1] + b',"models":["forbidden"]}'),
    "a tool's model": request(body=GOOD[:-1] + b',"tools":[{"type":"image_generation","model":"forbidden"}]}'),
    "a nested tool's model": request(body=GOOD[:-1] + b',"tools":[{"type":"namespace","tools":[{"type":"image_generation","model":"forbidden"}]}]}'),
    "in the query": request(path=CHAT + "?model=forbidden", body=GOOD),
    "in the query behind a semicolon": request(path=CHAT + "?a=b;model=forbidden", body=GOOD),
    "a stored prompt": request(path="/api/proxy/openai/v1/responses", body=b'{"prompt":{"id":"p"}}'),
    "a stored prompt beside a model": request(path="/api/proxy/openai/v1/responses", body=b'{"model":"allowed-1","prompt":{"id":"p"}}'),
    "a model in an embedding of a batch": request(path=f"{NATIVE}/allowed-1:batchEmbedContents", body=b'{"requests":[{"model":"models/forbidden"}]}'),
    "a model in what is counted": request(path=f"{NATIVE}/allowed-1:countTokens", body=b'{"generateContentRequest":{"model":"models/forbidden"}}'),
    "cached content": request(path=f"{NATIVE}/allowed-1:generateContent", body=b'{"cachedContent":"cachedContents/c"}'),
    "cached content, compatible": request(body=GOOD[:-1] + b',"extra_body":{"google":{"cached_content":"c"}}}'),
    "a model's name with a NUL": request(body=GOOD[:-1] + b',"model\\u0000":"forbidden"}'),
    "an agent beside a model": request(body=GOOD[:-1] + b',"agent_id":"a"}'),
    "a conversation": request(path="/api/proxy/openai/v1/responses", body=b'{"model":"allowed-1","conversation":"c"}'),
    "a nested model in the query": request(path=CHAT + "?session%5Bmodel%5D=forbidden", body=GOOD),
    "a stored prompt in the query": request(path=CHAT + "?agent_id=a", body=GOOD),
    "a deployment in a header": request(body=GOOD, headers=b"azureml-model-deployment: forbidden\r\n"),
    "a form with a tool's model": form(ALLOWED_PART, part(b"forbidden", name=b'name="tools[0][model]"')),
    "a form with a deep model": form(ALLOWED_PART, part(b"forbidden", name=b'name="a[b][0][c][Model]"')),
    "a form with a model behind a dot": form(ALLOWED_PART, part(b"forbidden", name=b'name="session.model"')),
    "a form with models": form(ALLOWED_PART, part(b"forbidden", name=b'name="models[]"')),
    "a form with an agent": form(ALLOWED_PART, part(b"a", name=b'name="agent_id"')),
    "a form with a stored prompt": form(ALLOWED_PART, part(b"a", name=b'name="prompt[id]"')),
    "a form with JSON in it": form(ALLOWED_PART, part(b'[{"model":"forbidden"}]', name=b'name="tools"')),
    "a form with long JSON in it": form(ALLOWED_PART, part(b'[{"model":"forbidden"},"' + b"x" * 9000 + b'"]', name=b'name="tools"')),
    "a form with an agent behind a file": form(ALLOWED_PART, FILE, part(b"a", name=b'name="Agent-Id"')),
    "a form with two models": form(ALLOWED_PART, FORBIDDEN_PART),
    "a form with an empty file name": form(part(b"forbidden", name=b'name="model"; filename=""')),
    "a form with name*": form(ALLOWED_PART, part(b"forbidden", name=b"name*=UTF-8''model")),
    "a form with LF": form(ALLOWED_PART, part(b"forbidden", end=b"\n"), tail=b"--b--\n"),
    "a form with a late model": form(FILE, FORBIDDEN_PART),
    "a form with two models around a file": form(ALLOWED_PART, FILE, FORBIDDEN_PART),
    "a form without a model": form(FILE),
    "a form without an end": form(ALLOWED_PART, FILE, tail=b""),
    "a form after a form": form(ALLOWED_PART, tail=b"--b--\r\n" + FORBIDDEN_PART + b"--b--\r\n"),
    "a form of another boundary": form(ALLOWED_PART, kind=b"multipart/form-data; boundary=b; boundary=c"),
    "a compressed form": form(ALLOWED_PART, headers=b"Content-Encoding: gzip\r\n"),
    "an escaped verb": request(path=f"{NATIVE}/forbidden%3AgenerateContent", body=b"{}"),
    "an escaped collection": request(path=f"{NATIVE.replace('models', '%6Dodels')}/forbidden:generateContent", body=b"{}"),
    "a trailing slash": request(path=f"{NATIVE}/forbidden:generateContent/", body=b"{}"),
    "another verb": request(path=f"{NATIVE}/allowed-1:whatever", body=b"{}"),
    "a batch": request(path="/api/proxy/openai/v1/batches", body=b'{"model":"allowed-1","input_file_id":"f"}'),
    "Anthropic's batch": request(path="/api/proxy/v1/messages/batches", body=b'{"requests":[]}'),
    "Gemini's batch": request(path=f"{NATIVE}/allowed-1:batchGenerateContent", body=b"{}"),
    "a file": request(path="/api/proxy/openai/v1/files", body=ALLOWED_PART + b"--b--\r\n", kind=b"multipart/form-data; boundary=b"),
    "an assistant's run": request(path="/api/proxy/openai/v1/threads/runs", body=GOOD),
    "an agent": request(path="/api/proxy/mistral/v1/agents/completions", body=b'{"agent_id":"a"}'),
    "a tuning job": request(path="/api/proxy/openai/v1/fine_tuning/jobs", body=GOOD),
    "another letter case": request(path=CHAT.replace("chat", "Chat"), body=GOOD),
    "another method": request("PUT", body=GOOD),
    "a lookup with a body": request("GET", "/api/proxy/openai/v1/models", body=BAD),
    "an unknown endpoint": request(path="/api/proxy/openai/v1/whatever", body=GOOD),
}  # fmt: skip


@pytest.mark.parametrize("what", CONFUSING)
async def test_ambiguous_model_is_a_403_for_a_token_confined_to_models(what: str) -> None:
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("allowed-*",))
        response = await gateway.send(CONFUSING[what], seconds=60)
        assert response.startswith(b"HTTP/1.1 403"), response[:300]
        assert not gateway.upstream.requests  # what may have come of it was no whole request
        last = gateway.events.last
        assert last.error_type in ("model_not_allowed", "model_not_readable", "right_needed")


@pytest.mark.parametrize(
    "rest",
    [
        "allowed-1%2F..%2Fforbidden:generateContent",
        "allowed-1/../forbidden:generateContent",
        "allowed-1%2e%2e%2fforbidden:generateContent",
        "allowed-1#/../forbidden:generateContent",
        "allowed-1:generateContent#/forbidden:generateContent",
        "forbidden:generateContent#/allowed-1:generateContent",
        "forbidden:generateContent;/allowed-1:generateContent",
        "forbidden:generateContent%23/allowed-1:generateContent",
    ],
)
async def test_a_path_that_could_name_another_model_never_reaches_a_provider(rest: str) -> None:
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("allowed-*",))
        response = await gateway.send(request(path=f"{NATIVE}/{rest}", body=b"{}"))
        assert response.startswith(b"HTTP/1.1 400"), response[:300]
        assert not gateway.upstream.requests


@pytest.mark.parametrize("what", CONFUSING)
async def test_unconfined_tokens_may_send_ambiguous_bodies(what: str) -> None:
    async with system(mistral=True) as gateway:
        assert (await gateway.send(CONFUSING[what], seconds=60)).startswith(b"HTTP/1.1 200")
        assert len(gateway.upstream.requests) == 1


PLAIN: dict[str, bytes] = {
    "chat": request(body=GOOD),
    "spaced": request(body=b'{ "messages" : [ {"model": "x"} ],\n "model" :\t"allowed-1" }'),
    "escaped": request(body=b'{"\\u006dodel":"allowed-1"}'),
    "gzip": request(body=gzip.compress(GOOD), headers=b"Content-Encoding: gzip\r\n"),
    "zstd": request(body=zstandard.compress(GOOD), headers=b"Content-Encoding: zstd\r\n"),
    "charset": request(body=GOOD, kind=b"application/json; charset=UTF-8"),
    "chunked": request(body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD), length=False, headers=b"Transfer-Encoding: chunked\r\n"),
    "messages": request(path="/api/proxy/v1/messages?beta=true", body=GOOD),
    "responses": request(path="/api/proxy/openai/v1/responses", body=b'{"model":"allowed-1","input":"x","prompt":null}'),
    "native": request(path=f"{NATIVE}/allowed-1:generateContent", body=b'{"contents":[]}'),
    "native embedding": request(path=f"{NATIVE}/allowed-1:embedContent", body=b'{"model":"models/allowed-1"}'),
    "a form": form(ALLOWED_PART, FILE),
    "a form with a late model": form(FILE, ALLOWED_PART),
    "a form with a list": form(ALLOWED_PART, part(b"word", name=b'name="timestamp_granularities[]"'), part(b"[draw] a cat", name=b'name="prompt"')),
    "a form with a strategy": form(ALLOWED_PART, part(b'{"type":"server_vad"}', name=b'name="chunking_strategy"'), FILE),
    "native embeddings": request(path=f"{NATIVE}/allowed-1:batchEmbedContents", body=b'{"requests":[{"model":"models/allowed-1","content":{"parts":[{"text":"x"}]}}]}'),
    "models": request("GET", "/api/proxy/openai/v1/models", body=b"", length=False),
    "a response": request("GET", "/api/proxy/openai/v1/responses/r", body=b"", length=False),
}  # fmt: skip


@pytest.mark.parametrize("what", PLAIN)
async def test_an_allowed_model_passes_for_a_confined_token(what: str) -> None:
    async with system(max_body_bytes=400_000) as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("allowed-*",))
        response = await gateway.send(PLAIN[what], seconds=60)
        assert response.startswith(b"HTTP/1.1 200"), response[:400]
        assert len(gateway.upstream.requests) == 1
        assert gateway.events.last.outcome == events.COMPLETE


@pytest.mark.parametrize(
    ("what", "right"),
    [
        ("a batch", "batches"),
        ("Gemini's batch", "batches"),
        ("a file", "files"),
        ("an assistant's run", "stored"),
        ("a stored prompt beside a model", "stored"),
        ("a tuning job", "tuning"),
        ("cached content", "files"),
        ("an agent beside a model", "stored"),
        ("a form with an agent", "stored"),
        ("a form with a stored prompt", "stored"),
        ("an unknown endpoint", "other"),
    ],
)
async def test_a_right_of_its_own_lets_a_confined_token_through(what: str, right: str) -> None:
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("allowed-*",), allow=(right,))
        assert (await gateway.send(CONFUSING[what], seconds=60)).startswith(b"HTTP/1.1 200")


async def test_a_token_confined_to_providers_needs_no_model() -> None:
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), providers=("openai",))
        assert (await gateway.send(CONFUSING["UTF-16"])).startswith(b"HTTP/1.1 200")
        response = await gateway.send(request(path="/api/proxy/v1/messages"))
        assert response.startswith(b"HTTP/1.1 403")
        assert b"may not use anthropic" in response


async def test_a_refusal_says_what_to_do() -> None:
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("allowed-*",))
        response = await gateway.send(CONFUSING["a batch"])
        assert b"--allow batches" in response
        response = await gateway.send(CONFUSING["twice"])
        assert b"it has a duplicate name" in response


READ: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
]


@pytest.mark.parametrize(("encoding", "pack"), READ)
async def test_a_compressed_body_passes_untouched_and_is_read(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(json.dumps({"model": "gpt-4o", "stream": True, "service_tier": "flex"}).encode())
    async with system() as gateway:
        head = b"Content-Encoding: %s\r\n" % encoding.encode()
        await gateway.send(request(body=body, headers=head))
        assert gateway.upstream.requests[0][1] == body
        last = gateway.events.last
        assert (last.envelope.model, last.envelope.stream) == ("gpt-4o", True)
        assert last.evidence.request == {"service_tier": "flex"}


@pytest.mark.parametrize(
    ("kind", "body", "stream"),
    [
        ("application/json", b'{"model":"gpt-4o","stream":"true"}', True),
        ("application/json", b'{"model":"gpt-4o","stream":1}', True),
        ("application/json", b'{"Model":"gpt-4o","Stream":true}', True),
        ("application/json", b'{"stream":false,"model":"gpt-4o","stream":true}', True),
        ("application/json", b'{"stream":true,"model":"gpt-4o","stream":false}', False),
        ("application/json", b'{"model":"gpt-4o","stream":0}', False),
        ("application/json", b'{"model":"gpt-4o","stream":"false"}', False),
        ("application/json", b'{"model":"gpt-4o","x":NaN,"stream":true}', True),
        ("application/json", b'\xef\xbb\xbf{"model":"gpt-4o","x":"\\ud83d","stream":true}', True),
        ("text/plain", b'{"model":"gpt-4o","stream":true}', True),
        ("application/x-www-form-urlencoded", b'{"model":"gpt-4o","stream":true}', True),
    ],
)
async def test_stream_flag_is_read_as_leniently_as_servers_do(kind: str, body: bytes, stream: bool) -> None:
    async with system() as gateway:
        await gateway.send(request(body=body, kind=kind.encode()))
        envelope = gateway.events.last.envelope
        assert (envelope.model, envelope.stream) == ("gpt-4o", stream)


async def test_a_compressed_request_whose_stream_states_no_usage_is_estimated() -> None:
    body = zstandard.compress(b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hello there"}]}')
    chunk = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(chunk)
    async with system() as gateway:
        gateway.upstream.respond = plain(head + chunk)
        await gateway.send(request(body=body, headers=b"Content-Encoding: zstd\r\n"))
        counted = gateway.events.last.evidence.estimate
        assert counted is not None
        assert (counted.input or 0) > 2


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
async def test_a_method_override_does_not_reach_the_provider(name: str) -> None:
    async with system() as gateway:
        await gateway.send(request(headers=f"{name}: GET\r\n".encode()))
        assert b"override" not in gateway.upstream.requests[0][0].lower()
        assert gateway.events.last.envelope.endpoint.startswith("POST ")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-32"])
async def test_usage_is_not_spliced_into_a_body_of_another_encoding(codec: str) -> None:
    body = '{"model":"gpt-4o","stream":true}'.encode(codec)
    async with system() as gateway:
        await gateway.send(request(body=body))
        assert gateway.upstream.requests[0][1] == body
        assert gateway.events.last.envelope.stream
