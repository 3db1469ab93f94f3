"""The official SDKs stay with the gateway where a provider names a URL of its own, so that nothing goes around it."""

import asyncio
import json
import tempfile
from typing import Any

from tests.support import paths
from tests.support.gateway_app import TOKEN, System, plain, request, system

RECORDINGS = paths.RECORDINGS
RESULTS = (RECORDINGS / "anthropic" / "batch_results.jsonl").read_bytes()


def response(body: bytes, kind: str = "application/json", *lines: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def unchunked(body: bytes) -> bytes:
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        data, body = data + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return data


def batch(url: str) -> bytes:
    ended = json.loads((RECORDINGS / "anthropic" / "batch_created.json").read_bytes())
    return json.dumps(
        ended | {"processing_status": "ended", "results_url": f"{url}/v1/messages/batches/b/results"}
    ).encode()


def serve_batch(gateway: System) -> None:
    async def answer(writer: asyncio.StreamWriter, head: bytes) -> None:
        is_results = b"/results HTTP" in head.split(b"\r\n")[0]
        writer.write(response(RESULTS, "application/x-jsonl") if is_results else response(batch(gateway.upstream.url)))

    gateway.upstream.respond = answer


async def test_anthropics_sdk_fetches_a_batchs_results_through_the_gateway() -> None:
    import anthropic  # takes seconds, and every worker collects this module

    async with system() as gateway:
        serve_batch(gateway)
        base = f"http://127.0.0.1:{gateway.port}/api/proxy"
        async with anthropic.AsyncAnthropic(base_url=base, api_key=TOKEN, max_retries=0) as client:
            found = [one async for one in await client.messages.batches.results("b")]
        assert found
        assert [head.split(b" ")[:2] for head, _ in gateway.upstream.requests] == [
            [b"GET", b"/v1/messages/batches/b"],
            [b"GET", b"/v1/messages/batches/b/results"],
        ]
        for head, _ in gateway.upstream.requests:
            assert b"sk-metrion" not in head
            assert b"stored-anthropic" in head
        last = gateway.events.last
        assert last.envelope.endpoint == "GET /v1/messages/batches/b/results"
        assert any(b"batch.output" in pick for pick in last.evidence.picks)


async def test_the_rest_of_the_batch_stays_byte_for_byte() -> None:
    async with system() as gateway:
        serve_batch(gateway)
        sent = request("GET", "/api/proxy/v1/messages/batches/b", body=b"", headers=b"Accept-Encoding: gzip\r\n")
        head, _, body = (await gateway.send(sent)).partition(b"\r\n\r\n")
        assert b"accept-encoding: identity" in gateway.upstream.requests[0][0].lower()
        assert unchunked(body) == batch("http://gateway/api/proxy/anthropic")
        assert b"content-length" not in head.lower()


async def test_an_operator_can_switch_it_off() -> None:
    async with system(rewrite_urls=False) as gateway:
        serve_batch(gateway)
        response = await gateway.send(request("GET", "/api/proxy/v1/messages/batches/b", body=b""))
        assert response.endswith(batch(gateway.upstream.url))


async def test_the_public_url_is_used_where_it_is_set() -> None:
    async with system(public_gateway_url="https://llm.example/") as gateway:
        serve_batch(gateway)
        response = await gateway.send(request("GET", "/api/proxy/v1/messages/batches/b", body=b""))
        assert unchunked(response.partition(b"\r\n\r\n")[2]) == batch("https://llm.example/api/proxy/anthropic")


async def test_googles_sdk_uploads_a_file_through_the_gateway() -> None:
    file = {
        "file": {
            "name": "files/f",
            "uri": "https://generativelanguage.googleapis.com/v1beta/files/f",
            "state": "ACTIVE",
        }
    }

    async with system() as gateway:

        async def answer(writer: asyncio.StreamWriter, head: bytes) -> None:
            if b"upload_id=" in head.split(b"\r\n")[0]:
                writer.write(response(json.dumps(file).encode(), "application/json", "X-Goog-Upload-Status: final"))
                return
            url = f"{gateway.upstream.url}/upload/v1beta/files?upload_id=1&upload_protocol=resumable"
            writer.write(response(b"", "text/plain", f"X-Goog-Upload-URL: {url}", "X-Goog-Upload-Status: active"))

        gateway.upstream.respond = answer
        await asyncio.to_thread(_upload, f"http://127.0.0.1:{gateway.port}/api/proxy/gemini")
        first, second = gateway.upstream.requests
        assert first[0].startswith(b"POST /upload/v1/files ")
        assert second[0].startswith(b"POST /upload/v1beta/files?upload_id=1&upload_protocol=resumable ")
        assert second[1] == b"hello"
        assert b"sk-metrion" not in first[0] + second[0]


def _upload(base: str) -> Any:
    from google import genai  # takes seconds, and every worker collects this module

    client = genai.Client(api_key=TOKEN, http_options={"base_url": base})
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"hello")
        file.flush()
        found = client.files.upload(file=file.name)
    client.close()
    return found


async def test_a_redirect_of_the_providers_own_leads_to_the_gateway() -> None:
    async with system() as gateway:
        head = f"HTTP/1.1 307 Go\r\nLocation: {gateway.upstream.url}/v1/models\r\nContent-Length: 0\r\n\r\n"
        gateway.upstream.respond = plain(head.encode())
        response = await gateway.send(request(path="/api/proxy/openai/v1/files"))
        assert b"Location: http://gateway/api/proxy/openai/v1/models\r\n" in response
