"""Whatever a client or a provider does wrong: a fitting answer, a fitting row, and a connection that is usable or closed."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from shared import events
from shared.accounts_model import Token
from tests.support.gateway_app import TOKEN, plain, request, system

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
NO_AUTH = b""
CHUNKED = b'12\r\n{"model":"gpt-4o"}\r\n0\r\n\r\n'


def parts(answer: bytes) -> tuple[int, bytes, bytes]:
    head, _, body = answer.removesuffix(b"<EOF>").partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.lower(), body


REFUSED = [
    ("method", request("TRACE"), 405, "method_not_allowed"),
    ("connect", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
    ("no HTTP", b"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400, "malformed_request"),
    ("version", b"GET / HTTP/9\r\n\r\n", 400, "malformed_request"),
    ("header", request(headers=b"X: " + b"a" * 50_000 + b"\r\n"), 431, "headers_too_large"),
    ("headers", request(headers=b"".join(b"X-%d: a\r\n" % n for n in range(2000))), 431, "headers_too_large"),
    ("headers without a token", request(headers=b"".join(b"X-%d: a\r\n" % n for n in range(300)), auth=NO_AUTH), 401, "missing_token"),
    ("url", b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "headers_too_large"),
    ("both lengths", request(headers=b"Transfer-Encoding: chunked\r\n"), 400, "malformed_request"),
    ("websocket", request("GET", body=b"", headers=b"Upgrade: websocket\r\nConnection: Upgrade\r\n"), 426, "websocket"),
    ("websocket among others", request("GET", body=b"", headers=b"Upgrade: h2c, WebSocket\r\nConnection: Upgrade\r\n"), 426, "websocket"),
    ("gzip in transit", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: gzip, chunked\r\n"), 501, "unsupported_transfer_coding"),
    ("deflate in transit", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: Deflate,chunked\r\n"), 501, "unsupported_transfer_coding"),
    ("no coding that is known", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: x-lz;q=1, chunked\r\n"), 501, "unsupported_transfer_coding"),
    ("identity in transit", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: identity, chunked\r\n"), 501, "unsupported_transfer_coding"),
    ("a coding behind the chunks", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: chunked, gzip\r\n"), 400, "malformed_request"),
    ("a coding without chunks", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: gzip\r\n"), 400, "malformed_request"),
    ("two codings in two fields", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), 400, "malformed_request"),
    ("unknown path", request(path="/api/proxy/cohere/v1/chat"), 404, "unknown_endpoint"),
    ("root", request("GET", "/", body=b""), 404, "unknown_endpoint"),
    ("escape", request(path="/api/proxy/openai/v1/../../x"), 400, "malformed_path"),
    ("fragment", request(path="/api/proxy/openai/v1/chat/completions#/files"), 400, "malformed_path"),
    ("fragment in the query", request(path="/api/proxy/openai/v1/chat/completions?a=b#/files"), 400, "malformed_path"),
    ("double slash", request(path="/api/proxy/openai//v1/chat/completions"), 400, "malformed_path"),
    ("parameter", request(path="/api/proxy/openai/v1/chat/completions;/files"), 400, "malformed_path"),
    ("no token", request(auth=NO_AUTH), 401, "missing_token"),
    ("own key only", request(auth=b"Authorization: Bearer sk-own\r\n"), 401, "missing_token"),
    ("unknown token", request(auth=b"x-api-key: sk-metrion-" + b"9" * 32 + b"\r\n"), 401, "invalid_token"),
    ("no UTF-8 token", request(auth=b"Authorization: Bearer caf\xe9\r\n"), 401, "missing_token"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "status", "kind"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_unattributable_request_is_refused_in_json_and_not_recorded(
    name: str, data: bytes, status: int, kind: str
) -> None:
    async with system() as gateway:
        got, head, body = parts(await gateway.send(data))
        assert got == status
        assert json.loads(body)["error"]["code"] == kind
        assert b"x-metrion-request-id: " in head
        assert b"x-should-retry: false" in head
        assert b"traceback" not in body.lower()
        assert gateway.events == []
        assert gateway.upstream.requests == []
        assert parts(await gateway.send(request()))[0] == 200


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b" chunked "])
async def test_a_chunked_body_passes_however_the_coding_is_spelled(value: bytes) -> None:
    async with system() as gateway:
        headers = b"Transfer-Encoding: " + value + b"\r\n"
        status, _, _ = parts(await gateway.send(request(body=CHUNKED, length=False, headers=headers)))
        assert status == 200
        assert gateway.upstream.requests[0][1] == b'{"model":"gpt-4o"}'


@pytest.mark.parametrize(
    ("path", "where", "value"),
    [
        ("/api/proxy/anthropic/v1/messages", ("error", "type"), "api_error"),
        ("/api/proxy/gemini/v1beta/models/m:generateContent", ("error", "status"), "UNIMPLEMENTED"),
        ("/api/proxy/mistral/v1/chat/completions", ("type",), "unsupported_transfer_coding"),
    ],
)
async def test_an_unsupported_transfer_coding_is_refused_in_the_callers_format(
    path: str, where: tuple[str, ...], value: str
) -> None:
    async with system() as gateway:
        headers = b"Transfer-Encoding: gzip, chunked\r\n"
        status, _, body = parts(await gateway.send(request(path=path, body=CHUNKED, length=False, headers=headers)))
        found = json.loads(body)
        for name in where:
            found = found[name]
        assert (status, found) == (501, value)


@pytest.mark.parametrize(
    ("path", "where", "value"),
    [
        ("/api/proxy/openai/v1/chat/completions", ("error", "code"), "headers_too_large"),
        ("/api/proxy/anthropic/v1/messages", ("type",), "error"),
        ("/api/proxy/gemini/v1beta/models/m:generateContent", ("error", "code"), 431),
        ("/api/proxy/mistral/v1/chat/completions", ("type",), "headers_too_large"),
        ("/api/proxy/grok/v1/chat/completions", ("error",), "A request may have at most 128 headers."),
    ],
)
async def test_more_headers_than_servers_take_are_a_431_in_the_callers_format_with_a_row(
    path: str, where: tuple[str, ...], value: object
) -> None:
    async with system() as gateway:
        few = request(path=path, headers=b"".join(b"X-%d: a\r\n" % n for n in range(100)))
        many = request(path=path, headers=b"".join(b"X-%d: a\r\n" % n for n in range(130)))
        status, head, body = parts(await gateway.send(many))
        found = json.loads(body)
        for name in where:
            found = found[name]
        assert (status, found) == (431, value)
        assert b"x-should-retry: false" in head
        assert (gateway.events.last.status, gateway.events.last.error_type) == (431, "headers_too_large")
        assert gateway.upstream.requests == []
        assert parts(await gateway.send(few))[0] in (200, 502)  # nobody stands behind Mistral here


@pytest.mark.parametrize(
    "before", [b"", request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: chunked\r\n")]
)
async def test_a_head_that_never_ends_is_refused_before_it_fills_memory(before: bytes) -> None:
    async with system() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(before + request())
        for _ in range(1 + bool(before)):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n{}"), 120)
        writer.write(request()[:60])
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 6 << 20:
                writer.write(b"X-%d: %b\r\n" % (sent, b"a" * 10_000))
                await writer.drain()
                sent += 10_000
        async with asyncio.timeout(120):
            while gateway.clients:
                await asyncio.sleep(0.02)
        assert gateway.proxy._metrics.refusals == {"headers_too_large": 1}
        assert len(gateway.upstream.requests) == 1 + bool(before)
        writer.close()


async def test_bodies_and_heads_in_pieces_are_never_taken_for_one_long_head() -> None:
    body = b'{"model":"gpt-4o","input":"' + b"a" * 90_000 + b'"}'
    async with system() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        data = request(body=CHUNKED, length=False, headers=b"Transfer-Encoding: chunked\r\n") + request(body=body) * 8
        for at in range(0, len(data), 8000):
            writer.write(data[at : at + 8000])
            await writer.drain()
        writer.write_eof()
        assert (await asyncio.wait_for(reader.read(), 120)).count(b"HTTP/1.1 200 OK") == 9
        writer.close()


@pytest.mark.parametrize("path", ["/api/proxy/api/hello", "/api/proxy/anthropic/api/hello"])
async def test_head_request_of_claude_code_gets_200_and_no_row(path: str) -> None:
    async with system() as gateway:
        status, head, _ = parts(await gateway.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
        assert status == 200
        assert b"x-metrion-request-id: " in head
        assert gateway.events == []
        assert gateway.upstream.requests == []
        assert not gateway.proxy._metrics.refusals


async def test_anthropics_openai_compatible_path_is_asked_for_its_usage() -> None:
    chunk = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":null}\n\n'
    usage = b'data: {"id":"c","model":"claude-sonnet-5-5","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":9}}\n\n'
    stream = chunk + usage + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(stream)
    async with system() as gateway:
        gateway.upstream.respond = plain(head + stream)
        body = b'{"model":"claude-sonnet-5-5","stream":true,"messages":[]}'
        response = await gateway.send(request(path="/api/proxy/v1/chat/completions", body=body))
        sent_head, sent_body = gateway.upstream.requests[0]
        assert b"authorization: bearer stored-anthropic" in sent_head.lower()
        assert json.loads(sent_body)["stream_options"] == {"include_usage": True}
        assert b"usage" not in response.replace(b"include_usage", b"")
        last = gateway.events.last
        assert (last.envelope.dialect, last.outcome) == (events.OPENAI_CHAT, events.COMPLETE)
        assert any(b'"completion_tokens":9' in pick for pick in last.evidence.picks)


async def test_errors_on_anthropics_openai_compatible_path_have_openais_shape() -> None:
    async with system(anthropic_api_key="") as gateway:
        _, _, body = parts(await gateway.send(request(path="/api/proxy/v1/chat/completions")))
        assert set(json.loads(body)) == {"error"}


NATIVE = "/api/proxy/gemini/v1beta/models/gemini-3.8-flash:generateContent"
PARTIAL = [
    request(path=f"{NATIVE}?fields=candidates"),
    request(path=f"{NATIVE}?%66ields=candidates"),
    request(path=f"{NATIVE}?$fields=candidates"),
    request(path=f"{NATIVE}?%24fields=candidates"),
    request(path=f"{NATIVE}?callback=f"),
    request(path=f"{NATIVE}?$callback=f"),
    request(path=f"{NATIVE}?alt=proto"),
    request(path=f"{NATIVE}?a=1&alt=media"),
    request(path=f"{NATIVE}?$alt=proto"),
    request(path=NATIVE, headers=b"X-Goog-FieldMask: candidates\r\n"),
    request(path="/api/proxy/gemini/v1/chat/completions?fields=choices"),
    request("GET", "/api/proxy/gemini/v1beta/batches/b1?fields=response", body=b""),
]


@pytest.mark.parametrize("data", PARTIAL)
async def test_a_gemini_call_that_leaves_the_usage_out_is_refused(data: bytes) -> None:
    async with system() as gateway:
        status, _, body = parts(await gateway.send(data))
        assert status == 400
        assert "usage" in json.loads(body)["error"]["message"]
        assert gateway.upstream.requests == []


@pytest.mark.parametrize(
    "data",
    [
        request(path=f"{NATIVE}?alt=json&prettyPrint=false"),
        request(path=f"{NATIVE}?$alt=json%3Benum-encoding%3Dint"),
        request(path=NATIVE.replace("generate", "streamGenerate") + "?alt=sse"),
        request("GET", "/api/proxy/gemini/v1beta/models/m?fields=name", body=b""),
        request("GET", "/api/proxy/gemini/v1beta/files/f:download?alt=media", body=b""),
        request(path="/api/proxy/openai/v1/chat/completions?fields=x"),
    ],
)
async def test_formats_and_fields_that_leave_the_usage_alone_pass(data: bytes) -> None:
    async with system() as gateway:
        assert parts(await gateway.send(data))[0] == 200


@pytest.mark.parametrize(
    "query",
    [
        *("$httpMethod=DELETE", "%24HttpMethod=PATCH", "$ct=text/plain", "$httpHeaders=X:1", "$req=%7B%7D"),
        *("access_token=ya29.x", "a=1&oauth_token=x", "$access_token=x", "bearer_token=x"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_query_that_makes_googles_servers_read_another_request_is_refused(query: str, method: str) -> None:
    path = f"{NATIVE}?{query}" if method == "POST" else f"/api/proxy/gemini/v1beta/tunedModels/m?{query}"
    async with system() as gateway:
        status, _, _ = parts(await gateway.send(request(method, path, body=b"{}" if method == "POST" else b"")))
        assert status == 400
        assert gateway.upstream.requests == []


@pytest.mark.parametrize(
    ("path", "forwarded"),
    [
        ("/api/proxy/v1/messages/batches/msgbatch_1/results", False),
        ("/api/proxy/openai/v1/files/file-1/content", False),
        ("/api/proxy/mistral/v1/files/f/content", False),
        ("/api/proxy/gemini/v1beta/files/f:download", False),
        ("/api/proxy/openai/v1/videos/v/content", True),
    ],
)
async def test_the_results_of_a_batch_are_never_fetched_in_pieces(path: str, forwarded: bool) -> None:
    async with system(mistral=True) as gateway:
        headers = b'Range: bytes=0-9\r\nIf-Range: "e"\r\n'
        await gateway.send(request("GET", path, body=b"", headers=headers, length=False))
        head = gateway.upstream.requests[0][0].lower()
        assert (b"\r\nrange: " in head) is forwarded
        assert (b"\r\nif-range: " in head) is forwarded


async def test_the_stale_key_of_claude_code_does_not_reach_the_provider() -> None:
    async with system() as gateway:
        await gateway.send(request(path="/api/proxy/v1/messages", headers=b"x-api-key: sk-ant-stale\r\n"))
        head = gateway.upstream.requests[0][0]
        assert b"stored-anthropic" in head
        assert b"stale" not in head


async def test_a_provider_cannot_speak_for_the_gateways_origin() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Metrion-Cache: HIT\r\nx-metrion-request-id: forged\r\n"
        b"X-Metrion-Else: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nAccess-Control-Allow-Origin: *\r\n"
        b"access-control-allow-credentials: true\r\nStrict-Transport-Security: max-age=9\r\nAlt-Svc: h3\r\n"
        b"openai-processing-ms: 5\r\nContent-Length: 2\r\n\r\n{}"
    )
    async with system() as gateway:
        gateway.upstream.respond = plain(head)
        _, got, _ = parts(await gateway.send(request()))
        assert b"openai-processing-ms: 5" in got
        assert got.count(b"x-metrion-") == 1
        for gone in (b"forged", b"set-cookie", b"access-control", b"strict-transport", b"alt-svc"):
            assert gone not in got


RECORDED = [
    ("large body", request(body=b"x" * 200_000), 413, "body_too_large"),
    ("large chunks", request(body=(b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 10 + b"0\r\n\r\n", length=False, headers=b"Transfer-Encoding: chunked\r\n"), 413, "body_too_large"),
    ("requester", request(headers=b"x-metrion-user: " + b"u" * 257 + b"\r\n"), 400, "invalid_header"),
    ("cache", request(headers=b"x-metrion-cache: maybe\r\n"), 400, "invalid_header"),
    ("max-age", request(headers=b"x-metrion-cache: true\r\nCache-Control: max-age=soon\r\n"), 400, "invalid_header"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "status", "kind"), RECORDED, ids=[row[0] for row in RECORDED])
async def test_invalid_request_of_a_known_caller_is_refused_and_recorded(
    name: str, data: bytes, status: int, kind: str
) -> None:
    async with system() as gateway:
        got, head, body = parts(await gateway.send(data))
        assert (got, json.loads(body)["error"]["code"]) == (status, kind)
        assert b"x-should-retry: false" in head
        (event,) = gateway.events
        assert event is gateway.events.last
        assert (event.status, event.error_type, event.upstream) == (status, kind, False)
        assert event.envelope.id.encode() in head
        assert gateway.upstream.requests == []


async def test_a_body_that_never_ends_is_given_up() -> None:
    async with system(body_timeout=0.3) as gateway:
        data = request(body=b'{"m', length=False, headers=b"Content-Length: 30\r\n")
        assert parts(await gateway.send(data))[0] == 408


async def test_an_operators_key_that_ends_in_a_line_break_is_sent_without_it() -> None:
    async with system(openai_api_key="sk-from-a-file\n") as gateway:
        assert parts(await gateway.send(request()))[0] == 200
        assert b"authorization: bearer sk-from-a-file\r\n" in gateway.upstream.requests[0][0].lower()


async def test_a_provider_without_a_key_is_a_401_that_names_the_variable() -> None:
    async with system(openai_api_key="") as gateway:
        status, _, body = parts(await gateway.send(request()))
        assert status == 401
        assert "OPENAI_API_KEY" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("body", [b'{"model":', b"[" * 50_000, b'{"model":7,"stream":"yes"}', b"\xff\xfe", b"null"])
async def test_a_body_that_cannot_be_read_goes_to_the_provider_as_it_is(body: bytes) -> None:
    async with system() as gateway:
        assert parts(await gateway.send(request(body=body)))[0] == 200
        assert gateway.upstream.requests[0][1] == body
        assert gateway.events.last.envelope.model == ""


BROKEN = [
    ("garbage", plain(b"NOT HTTP AT ALL\r\n\r\n"), 502, "protocol_error"),
    ("closed", plain(b"", close=True), 502, "protocol_error"),
    ("head only", plain(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", close=True), 502, "protocol_error"),
    ("huge head", plain(b"HTTP/1.1 200 OK\r\nX: " + b"b" * 200_000 + b"\r\n\r\n"), 502, "protocol_error"),
    ("long length", plain(b"HTTP/1.1 200 OK\r\nContent-Length: %s2\r\n\r\n{}" % (b"0" * 5000)), 502, "protocol_error"),
    ("two lengths", plain(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 502, "protocol_error"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "status", "kind"), BROKEN, ids=[row[0] for row in BROKEN])
async def test_a_provider_that_breaks_the_protocol_is_a_502(name: str, answer: object, status: int, kind: str) -> None:
    async with system() as gateway:
        gateway.upstream.respond = answer  # type: ignore[assignment]
        got, head, body = parts(await gateway.send(request()))
        assert (got, json.loads(body)["error"]["code"]) == (status, kind)
        assert b"x-should-retry" not in head
        assert (gateway.events.last.status, gateway.events.last.outcome) == (status, events.UPSTREAM_ERROR)
        gateway.upstream.respond = plain(OK)
        assert parts(await gateway.send(request()))[0] == 200


async def test_a_dead_provider_is_a_502_in_its_own_shape() -> None:
    async with system() as gateway:
        status, _, body = parts(await gateway.send(request(path="/api/proxy/mistral/v1/chat/completions")))
        assert status == 502
        assert json.loads(body) == {
            "object": "error",
            "message": "mistral cannot be reached; try again.",
            "type": "unreachable",
            "param": None,
            "code": "502",
        }
        assert gateway.events.last.error_type == "unreachable"


async def test_a_slow_provider_is_a_504_and_its_connection_is_dropped() -> None:
    async with system(first_byte_timeout=0.3) as gateway:
        gateway.upstream.respond = plain(b"", pause=30)
        assert parts(await gateway.send(request()))[0] == 504
        assert gateway.events.last.outcome == events.TIMEOUT


@pytest.mark.parametrize("size", [10, 200_000])
async def test_a_provider_that_stalls_mid_answer_breaks_the_connection_off(size: int) -> None:
    async with system(idle_timeout=0.4) as gateway:
        start = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        gateway.upstream.respond = plain(start + b"6\r\ndata: \r\n", pause=30)
        response = await gateway.send(request(body=b'{"model":"m","x":"%s"}' % (b"x" * (size // 3))))
        assert response.endswith(b"6\r\ndata: \r\n<EOF>")
        assert (gateway.events.last.status, gateway.events.last.outcome) == (200, events.TIMEOUT)


async def test_a_response_cut_short_is_cut_short_for_the_client_too() -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":', close=True)
        assert (await gateway.send(request())).endswith(b'{"a":<EOF>')
        assert gateway.events.last.outcome == events.UPSTREAM_CLOSED


async def test_a_redirect_is_the_clients_to_follow() -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(b"HTTP/1.1 307 Go\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n")
        status, head, _ = parts(await gateway.send(request()))
        assert status == 307
        assert b"location: http://elsewhere/" in head
        assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/api/proxy/v1/messages", {"type", "error", "request_id"}),
        ("/api/proxy/openai/v1/responses", {"error"}),
        ("/api/proxy/gemini/v1beta/models/m:generateContent", {"error"}),
        ("/api/proxy/gemini/v1/chat/completions", {"error"}),
        ("/api/proxy/mistral/v1/chat/completions", {"object", "message", "type", "param", "code"}),
        ("/api/proxy/grok/v1/chat/completions", {"code", "error"}),
    ],
)
async def test_our_errors_have_the_shape_of_the_api_that_was_called(path: str, shape: set[str]) -> None:
    async with system() as gateway:
        status, _, body = parts(await gateway.send(request(path=path, auth=b"x-api-key: sk-metrion-wrong\r\n")))
        found = json.loads(body)
        assert status == 401
        assert set(found) == shape
        if "generateContent" in path:
            assert (found["error"]["code"], found["error"]["status"]) == (401, "UNAUTHENTICATED")
        if "grok" in path:
            assert isinstance(found["error"], str)


async def test_only_configured_origins_get_cors() -> None:
    preflight = b"OPTIONS /api/proxy/openai/v1/x HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\nAccess-Control-Request-Method: POST\r\n\r\n"
    async with system(cors_origins=("https://good.example",)) as gateway:
        status, head, _ = parts(await gateway.send(preflight % b"https://good.example"))
        assert status == 204
        assert b"access-control-allow-origin: https://good.example" in head
        assert parts(await gateway.send(preflight % b"https://bad.example"))[0] == 403
        for origin, allowed in ((b"https://good.example", True), (b"https://bad.example", False)):
            _, head, _ = parts(await gateway.send(request(headers=b"Origin: %s\r\n" % origin)))
            assert (b"access-control-allow-origin" in head) is allowed


async def test_client_that_expects_100_continue_gets_it() -> None:
    async with system() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head, _, body = request(headers=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        await writer.wait_closed()


async def test_only_one_credential_and_nothing_of_ours_reaches_the_provider() -> None:
    headers = b"x-metrion-user: ann\r\nx-metrion-token: %s\r\nCookie: a=b\r\nx-goog-api-key: own\r\n" % TOKEN.encode()
    async with system() as gateway:
        await gateway.send(request(path="/api/proxy/v1/messages?beta=true&key=own", headers=headers, auth=NO_AUTH))
        head, _ = gateway.upstream.requests[0]
        assert head.startswith(b"POST /v1/messages?beta=true HTTP/1.1\r\n")
        lower = head.lower()
        assert b"x-api-key: own\r\n" in lower
        assert b"anthropic-version: 2023-06-01\r\n" in lower
        for gone in (b"metrion", b"cookie", b"goog", b"authorization"):
            assert gone not in lower


@pytest.mark.parametrize("first", ["model", "file"])
async def test_a_form_for_a_model_that_the_token_may_not_use_never_reaches_the_provider_whole(first: str) -> None:
    parts = {
        "model": b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1',
        "file": b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"R" * 300_000,
    }
    order = sorted(parts, key=lambda name: name != first)
    body = b"".join(b"--b\r\n" + parts[name] + b"\r\n" for name in order) + b"--b--\r\n"
    sent = request(path="/api/proxy/openai/v1/audio/transcriptions", body=body, kind=b"multipart/form-data; boundary=b")
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("gpt-4o-*",))
        response = await gateway.send(sent, seconds=60)
        assert response.startswith(b"HTTP/1.1 403"), response[:300]
        assert b"whisper-1" in response
        assert not gateway.upstream.requests  # what came of it was no whole request
        assert gateway.events.last.error_type == "model_not_allowed"


@pytest.mark.parametrize("sent", [b"J%C3%B6rg", b"J\xf6rg", "Jörg".encode(), b"UTF-8''J%C3%B6rg"])
async def test_a_requester_beyond_ascii_is_recorded(sent: bytes) -> None:
    async with system() as gateway:
        await gateway.send(request(headers=b"x-metrion-user: %s\r\n" % sent))
        assert gateway.events.last.envelope.requester == "Jörg"


async def test_openais_sdk_can_name_a_requester_beyond_ascii() -> None:
    import openai  # takes seconds, and every worker collects this module

    async with system() as gateway:
        base = f"http://127.0.0.1:{gateway.port}/api/proxy/openai/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key=TOKEN, max_retries=0) as client:
            named = {"x-metrion-user": quote("Jörg Ä")}
            await client.with_options(default_headers=named).models.with_raw_response.list()
        assert gateway.events.last.envelope.requester == "Jörg Ä"


INTERIM = {
    "nothing else": (b"HTTP/1.1 100 Continue\r\n\r\n", 504, "first_byte_timeout"),
    "several": (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 3, 504, "first_byte_timeout"),
    "too many": (b"HTTP/1.1 100 Continue\r\n\r\n" * 200, 502, "protocol_error"),
    "another protocol": (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502, "protocol_error"),
    "no status at all": (b"HTTP/1.1 042 X\r\nContent-Length: 2\r\n\r\n{}", 502, "protocol_error"),
}


@pytest.mark.parametrize("what", INTERIM)
async def test_provider_that_sends_only_interim_responses_times_out(what: str) -> None:
    sent, status, kind = INTERIM[what]
    async with system(first_byte_timeout=0.3) as gateway:
        gateway.upstream.respond = plain(sent)
        assert parts(await gateway.send(request(), seconds=30))[0] == status
        assert gateway.events.last.error_type == kind


async def test_a_provider_that_calls_the_length_a_hop_header_gets_its_body_through() -> None:
    async with system() as gateway:
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: Content-Length\r\nContent-Length: 2\r\n"
        )
        gateway.upstream.respond = plain(head + b"\r\n{}")
        answer = await gateway.send(request())
        assert b"content-length" not in answer.lower()
        assert answer.endswith(b"2\r\n{}\r\n0\r\n\r\n")


async def test_an_interim_response_before_the_final_one_is_passed_over() -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        )
        assert parts(await gateway.send(request()))[0] == 200
