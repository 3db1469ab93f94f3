"""What the client receives is what the provider sent, and the reverse, byte for byte, however it is packed and cut."""

import asyncio
import gzip
import random
import zlib
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import brotli
import pytest
import zstandard

from services.gateway.usage.json_tap import MAX_DOCUMENT
from services.logger import rows
from shared import events
from tests.support import websocket_peers
from tests.support.gateway_app import TOKEN, RawProvider, System, plain, request, system

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
STATUSES = [200, 201, 202, 206, 299, 301, 304, 307, 400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 529, 599]
KINDS = ["application/json", "text/event-stream; charset=utf-8", "text/plain", "audio/mpeg", ""]
OURS = (b"x-metrion-request-id",)
HOP_BY_HOP = (b"transfer-encoding", b"connection", b"keep-alive")


def lines(head: bytes) -> list[bytes]:
    """The headers that must be the same on both sides, in order: a name's letter case and white space mean nothing."""
    found = [line.partition(b":") for line in head.split(b"\r\n")[1:] if line]
    plain = [name.lower() + b": " + value.strip() for name, _, value in found]
    return [line for line in plain if line.split(b":")[0] not in (*OURS, *HOP_BY_HOP, b"set-cookie")]


def unchunk(body: bytes) -> bytes:
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        data, body = data + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return data


def split(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """(status line, header lines, body) of what came over the wire."""
    head, _, body = answer.removesuffix(b"<EOF>").partition(b"\r\n\r\n")
    chunked = b"transfer-encoding: chunked" in head.lower()
    return head.split(b"\r\n")[0], lines(head), unchunk(body) if chunked else body


class Script:
    """One answer, made up from a seed."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.status = dice.choice(STATUSES)
        self.encoding = dice.choice(list(PACKERS))
        kind = dice.choice(KINDS)
        text = b'{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2}}' * dice.choice([1, 1, 40, 4000])
        if "event-stream" in kind:
            text = (
                b"".join(b'data: {"n":%d,"usage":null}\n\n' % n for n in range(dice.randrange(200)))
                + b"data: [DONE]\n\n"
            )
        self.body = PACKERS[self.encoding](text) if dice.random() < 0.9 else b""
        headers = [b"Content-Type: " + kind.encode()] if kind else []
        headers += [b"Content-Encoding: " + self.encoding.encode()] if self.encoding else []
        headers += [
            b"Set-Cookie: a=1; Path=/",
            b"set-cookie: b=2",
            b"X-Empty:",
            b"X-Dup: 1",
            b"x-dup: 2",
            b"DATE: then",
        ]
        dice.shuffle(headers)
        self.headers = headers[: dice.randrange(3, len(headers) + 1)]
        self.chunked = dice.random() < 0.5 and self.status != 304
        self.sizes = [dice.choice([1, 7, 100, 1400, 65_536]) for _ in range(400)]

    async def __call__(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        framing = b"Transfer-Encoding: chunked" if self.chunked else b"Content-Length: %d" % len(self.body)
        writer.write(b"HTTP/1.1 %d Odd Reason\r\n" % self.status + b"\r\n".join([*self.headers, framing]) + b"\r\n\r\n")
        if self.status == 304:
            return
        rest, turn = self.body, 0
        while rest:
            size = self.sizes[turn % len(self.sizes)]
            piece, rest, turn = rest[:size], rest[size:], turn + 1
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)
            if turn % 20 == 0:
                await asyncio.sleep(0)
        if self.chunked:
            writer.write(b"0\r\n\r\n")


@pytest.mark.parametrize("group", range(8))
async def test_the_response_is_the_providers_byte_for_byte(group: int) -> None:
    async with system(include_usage=False) as gateway:
        for seed in range(group * 25, group * 25 + 25):
            script = gateway.upstream.respond = Script(seed)
            status, headers, body = split(await gateway.send(request()))
            framing = [] if script.chunked else [b"Content-Length: %d" % len(script.body)]
            assert status == b"HTTP/1.1 %d Odd Reason" % script.status, seed
            assert headers == lines(b"\r\n".join([b"", *script.headers, *framing])), seed
            assert body == (b"" if script.status == 304 else script.body), seed
            assert gateway.events.last.status == script.status
            assert gateway.events.last.response_bytes == len(body)


async def sent(gateway: System, data: bytes) -> tuple[bytes, bytes]:
    await gateway.send(data)
    return gateway.upstream.requests[-1]


@pytest.mark.parametrize("seed", range(12))
async def test_the_request_is_the_clients_byte_for_byte(seed: int) -> None:
    dice = random.Random(seed)
    extra = [
        b"X-One: 1",
        b"x-one: 2",
        b"User-Agent: sdk/1",
        b"X-Stainless-Lang: python",
        b"Accept: */*",
        b"X-Utf: \xc3\xa9",
    ]
    dice.shuffle(extra)
    extra = extra[: dice.randrange(1, len(extra) + 1)]
    body = bytes(dice.randrange(256) for _ in range(dice.choice([0, 1, 900, 40_000, 90_000])))
    async with system() as gateway:
        head, got = await sent(gateway, request(body=body, headers=b"".join(line + b"\r\n" for line in extra)))
        assert got == body
        assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
        expected = [b"Content-Type: application/json", *extra, b"Authorization: Bearer stored-openai"]
        kept = [line for line in lines(head) if not line.startswith((b"host", b"content-length"))]
        assert kept == lines(b"\r\n".join([b"", *expected]))


@pytest.mark.parametrize("size", [10, 70_000, 300_000])
async def test_an_upload_streams_through_and_its_model_is_read(size: int) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    form = part % (b"model", b"whisper-1") + part % (b'file"; filename="a.wav', b"x" * size) + b"--b--\r\n"
    async with system() as gateway:
        data = request(
            path="/api/proxy/openai/v1/audio/transcriptions", body=form, kind=b"multipart/form-data; boundary=b"
        )
        head, got = await sent(gateway, data)
        assert got == form
        assert b"content-length: %d" % len(form) in head.lower()
        assert gateway.events.last.envelope.model == "whisper-1"
        assert gateway.events.last.request_bytes == len(form)


async def test_a_response_larger_than_the_tap_keeps_passes_whole() -> None:
    size = MAX_DOCUMENT + 300_000
    body = b'{"model":"gpt-image-2","data":"' + b"A" * size + b'","usage":{"total_tokens":5}}'

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    async with system() as gateway:
        gateway.upstream.respond = answer
        assert split(await gateway.send(request(), seconds=60))[2] == body
        assert b'"total_tokens":5' in gateway.events.last.evidence.picks[0]


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "PATCH", "PUT"])
async def test_every_method_passes_with_its_query(method: str) -> None:
    async with system() as gateway:
        path = "/api/proxy/openai/v1/files/f%2F1?limit=2&after=%20x"
        if method == "HEAD":
            gateway.upstream.respond = plain(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        head, _ = await sent(gateway, request(method, path, body=b"", length=False))
        assert head.startswith(f"{method} /v1/files/f%2F1?limit=2&after=%20x HTTP/1.1\r\n".encode())
        assert gateway.events.last.envelope.endpoint == f"{method} /v1/files/f%2F1"
        assert gateway.events.last.outcome == events.COMPLETE


async def test_an_upstream_with_a_path_prefix_keeps_it() -> None:
    async with system() as probe, system(upstream_openai=f"{probe.upstream.url}/prefix/") as gateway:
        await gateway.send(request())
        assert probe.upstream.requests[-1][0].startswith(b"POST /prefix/v1/chat/completions HTTP/1.1\r\n")


async def test_connections_to_the_provider_are_used_again() -> None:
    async with system() as gateway:
        ports = set()

        async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
            ports.add(writer.get_extra_info("peername")[1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        gateway.upstream.respond = answer
        for _ in range(10):
            await gateway.send(request(headers=b"x-metrion-user: %s\r\n" % TOKEN[-4:].encode()))
        assert len(ports) == 1


@pytest.mark.parametrize("reason", [b"O\xe4K", b"O\x01K", b"O\tK"])
async def test_reason_phrase_of_odd_bytes_does_not_lose_the_response(reason: bytes) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(b"HTTP/1.1 200 %s\r\nContent-Length: 2\r\n\r\n{}" % reason)
        response = await gateway.send(request())
        assert response.startswith(b"HTTP/1.1 200 "), response[:200]
        assert response.endswith(b"\r\n\r\n{}")
        assert gateway.events.last.outcome == events.COMPLETE


async def test_commands_of_a_provider_to_a_proxy_in_front_stay_here() -> None:
    lines = b"X-Accel-Redirect: /secret\r\nX-Sendfile: /etc/passwd\r\nService-Worker-Allowed: /\r\nX-Accel-Buffering: no\r\n"
    async with system() as gateway:
        gateway.upstream.respond = plain(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\n\r\n{}")
        head = (await gateway.send(request())).lower()
        assert b"x-accel-buffering: no" in head
        assert not any(name in head for name in (b"redirect", b"sendfile", b"service-worker"))


@pytest.mark.parametrize("value", [b"caf\xe9", "café".encode(), b"\xff\xfe", b"\xed\xa0\xbd", "日本".encode(), b"\xc3"])
@pytest.mark.parametrize("size", [1000, 500_000])
async def test_header_bytes_that_are_not_utf8_reach_the_provider_as_they_are(value: bytes, size: int) -> None:
    """Node's fetch sends Latin-1; it got 400."""
    body = b'{"model":"m","messages":["' + b"x" * size + b'"]}'
    headers = b"X-Title: " + value + b"\r\nx-metrion-cache: true\r\nX-Other: a\tb\r\n"
    async with system(max_body_bytes=1 << 20) as gateway:
        assert (await gateway.send(request(body=body, headers=headers))).startswith(b"HTTP/1.1 200 ")
        head, got = gateway.upstream.requests[0]
        assert b"\r\nX-Title: " + value + b"\r\n" in head
        assert b"\r\nX-Other: a\tb\r\n" in head
        assert b"\r\nAuthorization: Bearer stored-openai\r\n" in head
        assert got == body
        events.encode(gateway.events.last)


ODD_VALUES = [b"caf\xe9", "caf\u00e9".encode(), b"\xff\xfe", b"\xed\xa0\xbd", b"\xc3"]


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("path", ["/v1/files", "/v1/chat/completions"])
@pytest.mark.parametrize("outbound", [False, True], ids=["direct", "through a proxy"])
async def test_header_bytes_that_are_not_utf8_pass_with_uploads_and_through_proxies(
    value: bytes, path: str, outbound: bool
) -> None:
    provider = RawProvider()
    body = b"--b\r\nContent-Disposition: form-data; name=model\r\n\r\nw\r\n--b--\r\n" if "files" in path else b"{}"
    kind = b"multipart/form-data; boundary=b" if "files" in path else b"application/json"
    async with await asyncio.start_server(provider.accept, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings: dict[str, Any] = {"outbound_proxy": url, "upstream_openai": "http://provider.invalid"}
        async with system(**(settings if outbound else {"upstream_openai": url})) as gateway:
            headers = b"X-Title: " + value + b"\r\nX-Other: a\tb\r\n"
            sent = request(path=f"/api/proxy/openai{path}", body=body, kind=kind, headers=headers)
            assert (await gateway.send(sent)).startswith(b"HTTP/1.1 200 ")
            head, got = provider.requests[0]
            assert b"\r\nX-Title: " + value + b"\r\n" in head and b"\r\nX-Other: a\tb\r\n" in head
            assert got == body
        await provider.close()


@pytest.mark.parametrize("value", ODD_VALUES)
async def test_header_bytes_that_are_not_utf8_pass_with_a_websocket(value: bytes) -> None:
    async with (
        websocket_peers.provider() as provider,
        system(upstream_openai=f"http://127.0.0.1:{provider.port}") as gateway,
    ):
        named = {"X-Title": value.decode("utf-8", "surrogateescape")}
        client = await websocket_peers.connect(gateway.port, headers=named)
        assert client.head.startswith(b"HTTP/1.1 101 ")
        far = await provider.sockets.get()
        assert b"\r\nX-Title: " + value + b"\r\n" in far.head
        client.leave()
        far.leave()


@pytest.mark.parametrize("pack", [gzip.compress, partial(brotli.compress, quality=4)], ids=["gzip", "br"])
async def test_usage_of_a_long_stream_that_compresses_well_is_read_however_fast_it_comes(
    pack: Callable[[bytes], bytes],
) -> None:
    words = random.Random(1)
    event = (
        b'data: {"id":"c","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"delta":{"content":"%b"}}]}\n\n'
    )
    deltas = b"".join(event % words.randbytes(2).hex().encode() for _ in range(60_000))
    usage = b'data: {"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":10}}\n\n'
    packed = pack(deltas + usage + b"data: [DONE]\n\n")
    assert len(deltas) / 50 < len(packed) < len(deltas) / 15
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
    coding = b"gzip" if pack is gzip.compress else b"br"
    asked = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
    async with system() as gateway:
        gateway.upstream.respond = plain(head % coding + b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))
        await gateway.send(request(body=asked), seconds=60)
        row = rows.response_row(gateway.events.last)
        assert (row.outcome, row.usage_source, row.cost) == (events.COMPLETE, "reported", Decimal("0.0026"))
