"""Every state of a connection to a provider: the client gets what is right, and the row says what happened."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable

import pytest

from services.gateway.exchange import Exchange
from shared import events
from shared.logging_setup import REQUEST
from tests.support.gateway_app import System, plain, request, reset_connection, system

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
PASSED_ON = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}'
EDITED = b'{"model":"gpt-4o","stream":true}'  # the usage that the gateway asks for is removed


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def unchunked(response: bytes) -> bytes:
    """The body of a chunked response."""
    parts = []
    at = response.index(b"\r\n\r\n") + 4
    while size := int(response[at : (end := response.index(b"\r\n", at))], 16):
        parts.append(response[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(parts)


class Stream:
    """A stream in progress, whose pieces the test sends one by one."""

    def __init__(self, gateway: System) -> None:
        self.gateway = gateway
        self.provider: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.over = asyncio.Event()
        self.got = b""

    async def respond(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        self.provider.put_nowait(writer)
        await self.over.wait()

    async def begin(self, body: bytes) -> None:
        """Send the request, and relay the first event."""
        self.reader, self.client = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        self.client.write(request(body=body))
        self.sender = await asyncio.wait_for(self.provider.get(), 60)
        await self.pass_on(STREAM + chunk(EVENT), EVENT)
        await self.pass_on(chunk(EVENT), EVENT)

    async def pass_on(self, sent: bytes, relayed: bytes) -> None:
        """Send bytes as the provider; return once the client has read them."""
        self.sender.write(sent)
        self.got += await asyncio.wait_for(self.reader.readuntil(relayed + b"\r\n"), 60)

    async def finish(self) -> None:
        """Read to the end of the last chunk."""
        parts = [self.got]
        while not parts[-1].endswith(b"\r\n0\r\n\r\n"):
            parts.append(await asyncio.wait_for(self.reader.read(1 << 20), 60))
            assert parts[-1]
        self.got = b"".join(parts)

    async def rest(self) -> bytes:
        """Everything that the client gets, once it is over."""
        self.got += await asyncio.wait_for(self.reader.read(), 60)
        return self.got


@contextlib.asynccontextmanager
async def streaming(body: bytes, *, idle_timeout: float = 300) -> AsyncIterator[Stream]:
    async with system(idle_timeout=idle_timeout) as gateway:
        stream = Stream(gateway)
        gateway.upstream.respond = stream.respond
        await stream.begin(body)
        try:
            yield stream
        finally:
            stream.over.set()
            stream.client.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("cut", [1, 9, 20, len(STREAM) - 1])
async def test_a_provider_killed_within_its_head_is_a_502_and_the_completion_is_not_sent_again(cut: int) -> None:
    async with system() as gateway:
        await gateway.send(request())  # leaves a connection in the pool
        gateway.upstream.respond = plain(STREAM[:cut], close=True)
        assert (await gateway.send(request(body=PASSED_ON))).startswith(b"HTTP/1.1 502 ")
        assert len(gateway.upstream.requests) == 2
        assert gateway.events.last.error_type == "protocol_error"


@pytest.mark.parametrize("body", [PASSED_ON, EDITED])
@pytest.mark.parametrize("way", ["closed", "reset", "invalid chunk", "silent"])
async def test_a_stream_that_breaks_off_after_some_events_breaks_off_for_the_client_at_once(
    body: bytes, way: str
) -> None:
    async with streaming(body, idle_timeout=0.3 if way == "silent" else 300) as stream:
        if way == "closed":
            stream.sender.close()
        elif way == "reset":
            reset_connection(stream.sender)
        elif way == "invalid chunk":
            stream.sender.write(b"no chunk\r\n")
        got = await stream.rest()
        assert got.count(EVENT) == 2
        assert not got.endswith(b"0\r\n\r\n")
        last = stream.gateway.events.last
        assert last.outcome == (events.TIMEOUT if way == "silent" else events.UPSTREAM_CLOSED)
        assert last.error_type == ("idle_timeout" if way == "silent" else "broken_off")
        assert last.response_bytes == 2 * len(EVENT)


@pytest.mark.parametrize("body", [PASSED_ON, EDITED])
@pytest.mark.parametrize("trailer", [b"", b"X-Checksum: 1\r\nX-Other: 2\r\n"])
async def test_a_stream_ends_with_its_last_chunk_whatever_trailers_follow(body: bytes, trailer: bytes) -> None:
    async with streaming(body) as stream:
        await stream.pass_on(chunk(EVENT) + chunk(USAGE) + chunk(DONE), DONE)
        assert stream.gateway.events.last.outcome == events.COMPLETE  # the client has [DONE] and may leave
        stream.sender.write(b"0\r\n" + trailer + b"\r\n")
        stream.got += await asyncio.wait_for(stream.reader.readuntil(b"0\r\n\r\n"), 60)
        assert b"x-checksum" not in stream.got.lower()
        assert stream.got.count(EVENT) == 3
        assert (USAGE in stream.got) is (body == PASSED_ON)
        stream.over.set()
        stream.gateway.upstream.respond = plain(OK)
        stream.client.write(request())
        assert (await asyncio.wait_for(stream.reader.readuntil(b"{}"), 60)).startswith(b"HTTP/1.1 200 ")


async def test_a_read_of_very_many_chunks_is_relayed_whole_and_in_order() -> None:
    async with streaming(PASSED_ON) as stream:
        text = b"".join(b"%d " % number for number in range(40_000))
        stream.sender.write(b"".join(chunk(text[at : at + 1]) for at in range(len(text))) + b"0\r\n\r\n")
        await stream.finish()
        assert unchunked(stream.got) == 2 * EVENT + text


async def test_a_client_that_reads_slowly_slows_the_provider_down_and_gets_everything() -> None:
    async with streaming(PASSED_ON) as stream:
        count = 600_000
        sending = asyncio.create_task(flood(stream.sender, count))
        relay = stream.gateway.proxy.relay
        await until(lambda: any(exchange.writing for exchange in relay.watchdog._open))
        assert not sending.done()
        await stream.finish()
        await sending
        assert unchunked(stream.got) == EVENT * (2 + count)
        assert stream.gateway.events.last.response_bytes == (2 + count) * len(EVENT)


async def flood(writer: asyncio.StreamWriter, count: int) -> None:
    for _ in range(count // 1000):
        writer.write(chunk(EVENT * 1000))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def test_what_is_done_as_chunks_arrive_is_logged_under_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    receive = Exchange.receive

    def noting(self: Exchange, data: bytes) -> None:
        seen.append(REQUEST.get())
        receive(self, data)

    monkeypatch.setattr(Exchange, "receive", noting)
    async with system() as gateway:
        gateway.upstream.respond = plain(OK)
        await gateway.send(request())  # whose connection to the provider the next one uses
        seen.clear()
        stream = Stream(gateway)
        gateway.upstream.respond = stream.respond
        await stream.begin(PASSED_ON)
        await stream.pass_on(chunk(EVENT), EVENT)
        assert seen == 3 * [gateway.events[2].envelope.id]  # type: ignore[union-attr]
        stream.over.set()
        stream.client.close()


@pytest.mark.parametrize("kind", [b"text/event-stream", b"application/json"])
async def test_a_body_without_length_ends_with_its_connection(kind: bytes) -> None:
    async with system() as gateway:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\n" % kind
        gateway.upstream.respond = plain(head + EVENT + USAGE + DONE, close=True)
        response = await gateway.send(request(body=PASSED_ON))
        assert response.endswith(DONE + b"\r\n0\r\n\r\n")
        assert gateway.events.last.response_bytes == len(EVENT + USAGE + DONE)


DOCUMENT = b'{"id":"x","model":"gpt-4o","usage":{"prompt_tokens":10,"completion_tokens":5}}'
UNFRAMED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n"])
@pytest.mark.parametrize("size", [1, 20, -9, None])
async def test_a_document_without_length_is_complete_only_if_its_json_is(size: int | None, coding: bytes) -> None:
    body = (gzip.compress(DOCUMENT) if coding else DOCUMENT)[:size]
    async with system() as gateway:
        gateway.upstream.respond = plain(UNFRAMED + coding + b"\r\n" + body, close=True)
        assert body in unchunked(await gateway.send(request()))
        last = gateway.events.last
        is_whole = size is None or (coding and size == -9)  # eight bytes of the end are a checksum
        assert last.outcome == (events.COMPLETE if is_whole else events.UPSTREAM_CLOSED)
        assert bool(last.evidence.picks) is bool(is_whole)


@pytest.mark.parametrize("end", [b"\n]", b"\n,\n", b'\n,\n{"candi'])
@pytest.mark.parametrize("framed", [True, False])
async def test_an_array_is_complete_only_if_it_is_closed(end: bytes, framed: bool) -> None:
    last = b'"finishReason":"STOP"' if end == b"\n]" else b'"index":0'
    body = (
        b'[{"candidates":[{"content":{"parts":[{"text":"a"}]},%s}],"usageMetadata":{"promptTokenCount":1}}' % last + end
    )
    length = b"Content-Length: %d\r\n" % len(body) if framed else b""
    async with system() as gateway:
        gateway.upstream.respond = plain(UNFRAMED + length + b"\r\n" + body, close=not framed)
        path = "/api/proxy/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent"
        assert body in (await gateway.send(request(path=path, body=b"{}"))).replace(b"\r\n0\r\n\r\n", b"")
        assert gateway.events.last.outcome == (events.COMPLETE if end == b"\n]" else events.UPSTREAM_CLOSED)


FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
UPLOAD = request(path="/api/proxy/openai/v1/audio/transcriptions", kind=b"multipart/form-data; boundary=b", body=FORM)


@pytest.mark.parametrize(
    "asked", [request(body=b'{"model":"gpt-4o"}'), request(body=PASSED_ON), UPLOAD], ids=["whole", "stream", "upload"]
)
async def test_a_body_without_length_whose_connection_is_reset_breaks_off_for_the_client(asked: bytes) -> None:
    stream = PASSED_ON in asked
    kind = b"text/event-stream" if stream else b"application/json"
    body = EVENT if stream else DOCUMENT[:-2]
    reset = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(UNFRAMED.replace(b"application/json", kind) + b"\r\n" + body)
        await writer.drain()
        await reset.wait()
        reset_connection(writer)

    async with system() as gateway:
        gateway.upstream.respond = respond
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(asked)
        got = await asyncio.wait_for(reader.readuntil(body + b"\r\n"), 120)
        reset.set()
        got += await asyncio.wait_for(reader.read(), 120)
        assert not got.endswith(b"0\r\n\r\n"), "an end that the provider did not send"
        assert (gateway.events.last.outcome, gateway.events.last.error_type) == (events.UPSTREAM_CLOSED, "broken_off")
        writer.close()


@pytest.mark.parametrize(
    "surplus", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", b"HTTP/1.1 200 OK\r\nX-Half: "]
)
async def test_bytes_behind_a_response_are_never_the_next_requests_response(surplus: bytes) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(OK + surplus)
        assert (await gateway.send(request())).endswith(b"\r\n\r\n{}")
        gateway.upstream.respond = plain(OK)
        for _ in range(2):
            response = await gateway.send(request())
            assert response.startswith(b"HTTP/1.1 200 ") and response.endswith(b"\r\n\r\n{}")
            assert b"half" not in response.lower()


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
async def test_a_response_that_has_no_body_is_over_with_its_head(method: str, sent: bytes) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(sent)
        path = "/api/proxy/openai/v1/models"
        for _ in range(2):
            response = await gateway.send(request(method, path, body=b"", length=False))
            assert response.partition(b"\r\n")[0] == sent.partition(b"\r\n")[0]
            assert response.endswith(b"\r\n\r\n")
        assert gateway.events.last.outcome == events.COMPLETE


async def test_interim_heads_without_end_are_a_502_long_before_their_number_is_up() -> None:
    async def flood_of_heads(writer: asyncio.StreamWriter, _: bytes) -> None:
        for _number in range(60):
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: %b\r\n\r\n" % (b"x" * 60_000))
            await writer.drain()

    async with system() as gateway:
        gateway.upstream.respond = flood_of_heads
        assert (await gateway.send(request())).startswith(b"HTTP/1.1 502 ")
        assert gateway.events.last.error_type == "protocol_error"
