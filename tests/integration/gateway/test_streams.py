"""A stream whose usage only the gateway asked for: the client gets none of it, the row has all of it."""

import gzip
import json
import zlib

import pytest

from shared import events
from tests.support import paths
from tests.support.gateway_app import System, plain, request, system

RECORDINGS = paths.RECORDINGS
WITH_USAGE = (RECORDINGS / "openai/chat_stream_usage.sse").read_bytes()
WITHOUT = (RECORDINGS / "openai/chat_stream_nousage.sse").read_bytes()
ASKING = request(body=b'{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hi"}]}')
USAGE_CHUNK = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'
TEXT = b'data: {"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def chunked(stream: bytes, headers: bytes, *, end: bool = True) -> bytes:
    """An answer in chunks of 50 bytes."""
    head = b"HTTP/1.1 200 OK\r\n" + headers + b"Transfer-Encoding: chunked\r\n\r\n"
    parts = [stream[at : at + 50] for at in range(0, len(stream), 50)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if end else b"")


def body_of(answer: bytes) -> bytes:
    _, _, rest = answer.removesuffix(b"<EOF>").partition(b"\r\n\r\n")
    data = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return data


async def sent(one: System, answer: bytes, *, close: bool = False, asking: bytes = ASKING) -> bytes:
    """What the client gets of an answer of the provider."""
    one.upstream.respond = plain(answer, close=close)
    return await one.send(asking)


def stated(one: System) -> dict[str, int]:
    found = json.loads(one.events.last.evidence.picks[-1]).get("usage") or {}
    return {name: count for name, count in found.items() if isinstance(count, int)}


@pytest.mark.parametrize(
    "kind",
    [
        b"Content-Type: Text/Event-Stream; Charset=UTF-8\r\n",
        b"",
        b"Content-Type: application/json\r\n",
        b"Content-Type: text/plain\r\n",
        b"Content-Type: application/octet-stream\r\n",
    ],
)
async def test_a_stream_that_was_asked_for_is_known_whatever_its_content_type(kind: bytes) -> None:
    async with system() as one:
        response = await sent(one, chunked(WITH_USAGE, kind))
        assert body_of(response) == WITHOUT
        assert one.events.last.outcome == events.COMPLETE
        assert (
            stated(one)["prompt_tokens"]
            == json.loads(next(line[6:] for line in WITH_USAGE.split(b"\n") if b'"choices":[],' in line))["usage"][
                "prompt_tokens"
            ]
        )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    "chunk",
    [
        USAGE_CHUNK.replace(b'"choices":[]', b'"choices":null'),
        USAGE_CHUNK.replace(b'"choices":[],', b""),
        USAGE_CHUNK.replace(b'"usage":', b'"usage" : '),
        USAGE_CHUNK.replace(b",", b",\ndata: "),
        b": alive\nid: 7\n" + USAGE_CHUNK,
    ],
    ids=["null", "absent", "spaces", "lines", "fields"],
)
async def test_the_chunk_that_only_the_gateway_asked_for_never_reaches_the_client(chunk: bytes, end: bytes) -> None:
    async with system() as one:
        stream = (TEXT + FINISH + chunk + DONE).replace(b"\n", end)
        response = await sent(one, chunked(stream, b"Content-Type: text/event-stream\r\n"))
        comment = b": alive\n" if chunk.startswith(b":") else b""
        assert body_of(response) == (TEXT + FINISH + comment + DONE).replace(b"\n", end)
        assert stated(one) == {"prompt_tokens": 9, "completion_tokens": 4}
        assert one.events.last.outcome == events.COMPLETE


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_stream_compressed_without_being_asked_shows_no_usage_either(name: str, pack: object) -> None:
    assert callable(pack)
    async with system() as one:
        for kind in (b"Content-Type: text/event-stream\r\n", b""):
            headers = kind + b"Content-Encoding: " + name.encode() + b"\r\n"
            response = await sent(one, chunked(pack(WITH_USAGE), headers))
            assert b"content-encoding" not in response.lower()
            assert body_of(response) == WITHOUT
            assert one.events.last.outcome == events.COMPLETE and stated(one)
        headers = b"Content-Type: text/event-stream\r\nContent-Encoding: " + name.encode() + b"\r\n"
        broken = await sent(one, chunked(pack(WITH_USAGE)[: 10 if name == "gzip" else 2] + b"\xff" * 90, headers))
        assert broken.endswith(b"<EOF>") and not broken.endswith(b"0\r\n\r\n<EOF>")


async def test_a_whole_response_to_a_stream_that_was_asked_for_passes_as_it_is() -> None:
    async with system() as one:
        document = b'{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":9}}'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        response = await sent(one, head % len(document) + document)
        assert response.endswith(b"\r\n\r\n" + document)
        assert stated(one) == {"prompt_tokens": 9}
        assert one.events.last.outcome == events.COMPLETE


@pytest.mark.parametrize(
    ("answer", "close", "outcome"),
    [
        (chunked(TEXT + FINISH + USAGE_CHUNK, b"Content-Type: text/event-stream\r\n"), False, events.COMPLETE),
        (chunked(TEXT + USAGE_CHUNK, b"Content-Type: text/event-stream\r\n"), False, events.UPSTREAM_CLOSED),
        (chunked(TEXT + FINISH, b"Content-Type: text/event-stream\r\n"), False, events.UPSTREAM_CLOSED),
        (
            chunked(TEXT + FINISH + USAGE_CHUNK, b"Content-Type: text/event-stream\r\n", end=False),
            True,
            events.UPSTREAM_CLOSED,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            + TEXT
            + FINISH
            + USAGE_CHUNK,
            True,
            events.UPSTREAM_CLOSED,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
            % len(TEXT + FINISH + USAGE_CHUNK)
            + TEXT
            + FINISH
            + USAGE_CHUNK,
            False,
            events.COMPLETE,
        ),
    ],
    ids=["chunked", "no reason", "no usage", "cut", "not framed", "length"],
)
async def test_a_clean_end_without_done_is_complete_only_behind_finish_reason_and_usage(
    answer: bytes, close: bool, outcome: str
) -> None:
    async with system() as one:
        await sent(one, answer, close=close)
        assert one.events.last.outcome == outcome


@pytest.mark.parametrize("stream", [b'"true"', b"1", b'false,"Stream":true', b"false"])
async def test_streamed_response_without_usage_is_estimated(stream: bytes) -> None:
    asking = request(body=b'{"model":"m","stream":' + stream + b',"messages":[{"role":"user","content":"Hi"}]}')
    async with system() as one:
        await sent(one, chunked(TEXT + FINISH + DONE, b"Content-Type: text/event-stream\r\n"), asking=asking)
        assert one.events.last.envelope.stream
        assert one.events.last.evidence.estimate is not None


DEEP = b"[" * 1000 + b"]" * 1000
RESPONSE = (
    b'data: {"type":"response.created","response":{"model":"gpt-4.1-nano"}}\n\n'
    b'data: {"type":"response.completed","response":{"model":"gpt-4.1-nano","output":[{"type":"message","content":%s}],'
    b'"usage":{"input_tokens":400,"output_tokens":40,"total_tokens":440}}}\n\n'
)


@pytest.mark.parametrize("content", [DEEP, b'"\\ud83d"', b"NaN"], ids=["deep", "half a surrogate pair", "NaN"])
async def test_text_that_only_lenient_readers_take_does_not_hide_the_usage_of_a_stream(content: bytes) -> None:
    """gpt-4.1-nano: 400 x 0.10 + 40 x 0.40 per million = 0.000056."""
    asking = request(path="/api/proxy/openai/v1/responses", body=b'{"model":"gpt-4.1-nano","stream":true,"input":"Hi"}')
    async with system() as one:
        stream = RESPONSE % content
        response = await sent(one, chunked(stream, b"Content-Type: text/event-stream\r\n"), asking=asking)
        assert body_of(response) == stream
        assert one.events.last.outcome == events.COMPLETE
        assert json.loads(one.events.last.evidence.picks[-1])["response"]["usage"]["output_tokens"] == 40


@pytest.mark.parametrize("options", [b"", b'"stream_options":{},'])
@pytest.mark.parametrize("size", [1000, 100_000, 1_000_000])
async def test_usage_is_asked_for_in_bodies_of_any_size_and_nothing_else_changes(options: bytes, size: int) -> None:
    body = b'{"model":"m","stream":true,' + options + b'"messages":["' + bytes(range(97, 122)) * (size // 25) + b'"]}'
    usage = b'"stream_options":{"include_usage":true},'
    expected = body.replace(options, usage) if options else b"{" + usage + body[1:]
    async with system(max_body_bytes=2 << 20) as one:
        await sent(one, chunked(TEXT + DONE, b"Content-Type: text/event-stream\r\n"), asking=request(body=body))
        assert one.upstream.requests[0][1] == expected
        assert one.events.last.request_bytes == len(expected)
