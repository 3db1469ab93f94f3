"""Whatever bytes a provider answers with, the client gets exactly these, and exactly one row stands."""

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import events
from shared.events import ResponseEvent
from tests.support.examples import examples
from tests.support.gateway_app import System, request, system
from tests.support.strategies import json_samples, sse_samples

CALLS = {
    "/api/proxy/openai/v1/chat/completions": b'{"model":"gpt-4o","stream":%s,"stream_options":{"include_usage":true}}',
    "/api/proxy/openai/v1/responses": b'{"model":"gpt-4.1","stream":%s}',
    "/api/proxy/anthropic/v1/messages": b'{"model":"claude-opus-4-7","stream":%s}',
    "/api/proxy/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent": b'{"x":%s}',
    "/api/proxy/openai/v1/files/f/content": b"",
}
KINDS = (
    *("application/json", "Application/JSON; charset=utf-16", "text/event-stream", "TEXT/EVENT-STREAM", "text/plain"),
    *("application/x-jsonl", "application/octet-stream", "audio/mpeg", "", "\xff", "application/problem+json"),
)
ENCODINGS = ("", "", "gzip", "gzip, gzip", "br", "zstd", "deflate", "compress", "\xff", "identity")
STATUSES = (200, 200, 200, 201, 400, 422, 429, 500, 529)
USAGE = b'{"model":"gpt-4o","usage":{"prompt_tokens":20,"completion_tokens":10}}'
texts = (
    json_samples({"model": "gpt-4o", "usage": {"prompt_tokens": 1}}, without=("compressed",)).map(
        lambda sample: sample.body
    )
    | sse_samples().map(lambda sample: sample.body)
    | st.binary(max_size=200)
    | st.lists(st.sampled_from((USAGE, b"{}", b"[", b'"\\ud83d"', b"\n", b"\r\n\r\n", b"data: ", b","))).map(b"".join)
)
bodies = texts | texts.map(lambda body: gzip.compress(body, mtime=0))
headers = st.lists(
    st.tuples(
        st.sampled_from((b"request-id", b"x-request-id", b"x-gemini-service-tier", b"retry-after", b"x-other")),
        st.sampled_from((b"\xff", b"priority", b"caf\xc3\xa9", b"", b"a\xed\xa0\xbd", b"x" * 3000)),
    ),
    max_size=3,
)


class Harness:
    """A gateway whose provider answers as told, on an event loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._context = system()
        self.gateway: System = self.loop.run_until_complete(self._context.__aenter__())

    def close(self) -> None:
        """Stop the gateway."""
        self.loop.run_until_complete(self._context.__aexit__(None, None, None))
        self.loop.close()

    def call(self, data: bytes, *, head: bytes, pieces: list[bytes]) -> bytes:
        """What a client gets for a request when the provider answers with this head and, bit by bit, these pieces."""

        async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(head)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

        self.gateway.events.clear()
        self.gateway.upstream.respond = answer
        return self.loop.run_until_complete(self.gateway.send(data))


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    found = Harness()
    yield found
    found.close()


def body_of(answer: bytes) -> bytes:
    """The body of a response that has a length or is chunked."""
    head, _, body = answer.removesuffix(b"<EOF>").partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return found


@settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_the_client_gets_the_providers_bytes_and_one_row_stands(harness: Harness, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(CALLS)))
    sent = CALLS[path].replace(b"%s", data.draw(st.sampled_from((b"true", b"false", b'"yes"'))))
    body = data.draw(bodies)
    status = data.draw(st.sampled_from(STATUSES))
    kind = data.draw(st.sampled_from(KINDS)).encode("latin-1")
    encoding = data.draw(st.sampled_from(ENCODINGS)).encode("latin-1")
    more = b"".join(b"%s: %s\r\n" % pair for pair in data.draw(headers))
    head = b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n%s" % (status, len(body), more)
    head += b"Content-Type: %s\r\n" % kind if kind else b""
    head += b"Content-Encoding: %s\r\n" % encoding if encoding else b""
    size = data.draw(st.sampled_from((1, 13, 1 << 20))) if len(body) < 2000 else 4096
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    method = "GET" if not sent else "POST"
    got = harness.call(request(method, path, body=sent), head=head + b"\r\n", pieces=pieces)
    assert got.startswith(b"HTTP/1.1 %d" % status)
    assert body_of(got) == body
    rows: list[Any] = [event for event in harness.gateway.events if isinstance(event, ResponseEvent)]
    assert len(rows) == 1
    assert rows[0].status == status
    assert events.decode(events.encode(rows[0])) == rows[0]
    assert sum(map(len, rows[0].evidence.picks)) <= 64 << 10
    assert not harness.gateway.proxy._metrics.failures.by_stage
