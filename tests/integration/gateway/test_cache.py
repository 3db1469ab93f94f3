"""A repeated question is answered from the cache, to the byte and in the form asked for; nobody gets another's answer."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway.cache import breaker, client
from services.logger import rows
from services.logger.rows import ResponseRow
from shared import cache_protocol as wire
from shared import nats_client
from shared.accounts_model import Token
from shared.events import CLIENT_CLOSED, ResponseEvent
from tests.support import cache_replicas, paths, servers
from tests.support.cache_replicas import replica
from tests.support.gateway_app import TOKEN, Responder, System, request, system

RECORDINGS = paths.RECORDINGS
CHAT, MESSAGES = "/api/proxy/openai/v1/chat/completions", "/api/proxy/v1/messages"
GEMINI = "/api/proxy/gemini/v1beta/models/gemini-3.8-flash"
ASKED = b"x-metrion-cache: true\r\n"
OTHER = "sk-metrion-" + "1" * 32  # a token of another account


@pytest.fixture(autouse=True)
def patient_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache may take its time, but where a test wants it otherwise."""
    cache_replicas.wait_long(monkeypatch)


@contextlib.asynccontextmanager
async def gateway(nats: servers.NatsServer, **changes: Any) -> AsyncIterator[System]:
    """A gateway that asks the cache service."""
    nc = await nats_client.connect(nats.url("gateway"), service="gateway")
    try:
        # On a busy machine no test fails for a lookup that took long, unless it is about that.
        async with system(nc=nc, **({"cache_timeout": 60.0} | changes)) as found:
            found.tokens[OTHER] = Token("other", "ci", datetime.now(UTC))
            yield found
    finally:
        await nc.close()


@pytest.fixture
async def metrion(nats: servers.NatsServer) -> AsyncIterator[System]:
    async with replica(nats), gateway(nats) as found:
        yield found


def recorded(file: str, *, head: bytes = b"") -> Responder:
    """A recording, as its provider would send it."""
    body = (RECORDINGS / file).read_bytes()
    kind = b"text/event-stream; charset=utf-8" if file.endswith(".sse") else b"application/json"

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n" % (kind, head, len(body)))
        writer.write(body)

    return answer


def asked(number: object, *, stream: bool = False, usage: bool | None = None, **more: Any) -> bytes:
    """A question of its own for each number."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": str(number)}], "stream": stream} | more
    if usage is not None:
        body["stream_options"] = {"include_usage": usage}
    return json.dumps(body).encode()


async def ask(
    gateway: System, body: bytes, path: str = CHAT, *, headers: bytes = ASKED, token: str = TOKEN
) -> tuple[bytes, bytes]:
    """(head, body) of the answer, chunks joined."""
    auth = b"Authorization: Bearer " + token.encode() + b"\r\n"
    if "/models/" in path:
        auth = b"x-goog-api-key: " + token.encode() + b"\r\n"
    response = await gateway.send(request(path=path, body=body, headers=headers, auth=auth), seconds=60)
    head, _, rest = response.partition(b"\r\n\r\n")
    return head, joined(rest) if b"transfer-encoding: chunked" in head.lower() else rest


def joined(data: bytes) -> bytes:
    found = b""
    while data and not data.startswith(b"<EOF>"):
        size, _, data = data.partition(b"\r\n")
        if not (length := int(size, 16)):
            break
        found, data = found + data[:length], data[length + 2 :]
    return found


def mark(head: bytes) -> str:
    """HIT, MISS, REFRESH, or "" when caching had no part in it."""
    at = head.lower().find(b"x-metrion-cache: ")
    return head[at + 17 :].split(b"\r\n", 1)[0].decode() if at >= 0 else ""


async def kept(gateway: System) -> None:
    """Wait until what was answered is kept."""
    await gateway.cache.close(servers.DEADLINE)


async def twice(
    gateway: System, first: bytes, second: bytes | None = None, path: str = CHAT, second_path: str = ""
) -> tuple[bytes, bytes]:
    """The bodies of an answer and of the one after it, which must have come from the cache."""
    head, fresh = await ask(gateway, first, path)
    assert mark(head) == "MISS"
    await kept(gateway)
    sent = len(gateway.upstream.requests)
    head, again = await ask(gateway, second or first, second_path or path)
    assert (mark(head), len(gateway.upstream.requests)) == ("HIT", sent)
    return fresh, again


def row(gateway: System) -> ResponseRow:
    return rows.response_row(gateway.events.last)


FILES = {
    "chat": (CHAT, "openai/chat.json", {}),
    "chat stream": (CHAT, "openai/chat_stream_usage.sse", {"stream": True}),
    "messages": (MESSAGES, "anthropic/messages.json", {}),
    "messages stream": (MESSAGES, "anthropic/messages_stream.sse", {"stream": True}),
    "messages stream tools": (MESSAGES, "anthropic/messages_stream_tools.sse", {"stream": True}),
    "responses": ("/api/proxy/openai/v1/responses", "openai/responses.json", {}),
    "responses stream": ("/api/proxy/openai/v1/responses", "openai/responses_stream.sse", {"stream": True}),
    "embeddings": ("/api/proxy/openai/v1/embeddings", "openai/embeddings.json", {}),
    "grok": ("/api/proxy/grok/v1/chat/completions", "xai/chat.json", {}),
    "gemini": (f"{GEMINI}:generateContent", "gemini/generate_content.json", {}),
    "gemini stream": (f"{GEMINI}:streamGenerateContent?alt=sse", "gemini/stream.sse", {}),
    "gemini compatible": ("/api/proxy/gemini/v1/chat/completions", "gemini/openai_chat.json", {}),
}


@pytest.mark.parametrize("name", FILES)
async def test_repeated_request_gets_the_same_bytes_without_a_provider_call(metrion: System, name: str) -> None:
    path, file, more = FILES[name]
    metrion.upstream.respond = recorded(file)
    fresh, again = await twice(metrion, asked(name, **more), path=path)
    assert again == fresh
    if name != "chat stream":  # of which the client gets no usage that it did not ask for
        assert again == (RECORDINGS / file).read_bytes()


@pytest.mark.parametrize(("first", "second"), [(None, True), (True, None), (True, True), (None, None)])
async def test_cached_stream_includes_usage_only_if_the_client_asked_for_it(
    metrion: System, first: bool | None, second: bool | None
) -> None:
    metrion.upstream.respond = recorded("openai/chat_stream_usage.sse")
    question = f"usage {first} {second}"
    whole = (RECORDINGS / "openai/chat_stream_usage.sse").read_bytes()
    fresh, again = await twice(
        metrion, asked(question, stream=True, usage=first), asked(question, stream=True, usage=second)
    )
    assert (fresh == whole, again == whole) == (bool(first), bool(second))
    assert first is not second or fresh == again
    assert second or (b"[DONE]" in again and b'"usage"' not in again)


async def test_a_client_that_closes_its_sending_side_gets_a_cached_response_whole(metrion: System) -> None:
    metrion.upstream.respond = recorded("openai/chat.json")
    data = request(path=CHAT, body=asked(1), headers=ASKED)
    first = await metrion.send(data)
    await kept(metrion)
    reader, writer = await asyncio.open_connection("127.0.0.1", metrion.port)
    writer.write(data)
    writer.write_eof()
    second = await asyncio.wait_for(reader.read(), 60)
    assert b"x-metrion-cache: HIT" in second
    assert second.partition(b"\r\n\r\n")[2] == first.partition(b"\r\n\r\n")[2]
    writer.close()


async def test_a_stream_is_served_as_a_whole_and_the_reverse(metrion: System) -> None:
    metrion.upstream.respond = recorded("openai/chat_stream_usage.sse")
    _, document = await twice(metrion, asked("a stream", stream=True), asked("a stream"))
    found = json.loads(document)
    assert (found["object"], found["usage"]["prompt_tokens"]) == ("chat.completion", 26)
    metrion.upstream.respond = recorded("openai/chat.json")
    _, stream = await twice(metrion, asked("a whole"), asked("a whole", stream=True))
    assert stream.startswith(b"data: {") and stream.endswith(b"data: [DONE]\n\n") and b'"usage"' not in stream
    metrion.upstream.respond = recorded("gemini/stream.sse")
    body, path = asked("an array"), f"{GEMINI}:streamGenerateContent"
    _, array = await twice(metrion, body, path=f"{path}?alt=sse", second_path=path)
    assert isinstance(json.loads(array), list)
    head, document = await ask(metrion, body, f"{GEMINI}:generateContent")
    assert mark(head) == "HIT" and "candidates" in json.loads(document)


async def test_a_hit_costs_nothing_and_says_what_it_saved(metrion: System) -> None:
    metrion.upstream.respond = recorded("openai/chat.json")
    await ask(metrion, asked("saved"))
    paid = row(metrion)
    await kept(metrion)
    events = len(metrion.events)
    await ask(metrion, asked("saved"))
    hit = row(metrion)
    assert len(metrion.events) == events + 1  # only the ResponseEvent: nothing went upstream
    assert (paid.cache, hit.cache, hit.cost, hit.cost_saved) == ("MISS", "HIT", 0, paid.cost)
    assert paid.cost is not None and paid.cost > 0
    assert (hit.input_tokens, hit.output_tokens, hit.status, hit.outcome) == (0, 0, 200, "complete")
    assert (hit.saved_input_tokens, hit.saved_output_tokens) == (paid.input_tokens, paid.output_tokens)
    assert hit.model == paid.model


async def test_cache_is_separate_by_account_and_namespace(metrion: System) -> None:
    metrion.upstream.respond = recorded("openai/chat.json")
    body = asked("private")
    await twice(metrion, body)
    assert mark((await ask(metrion, body, token=OTHER))[0]) == "MISS"
    namespaced = ASKED + b"x-metrion-cache-namespace: staging\r\n"
    assert mark((await ask(metrion, body, headers=namespaced))[0]) == "MISS"
    await kept(metrion)
    assert mark((await ask(metrion, body, headers=namespaced))[0]) == "HIT"


async def test_refresh_always_calls_the_provider_and_stores_the_response(metrion: System) -> None:
    body = asked("refresh")
    metrion.upstream.respond = recorded("openai/chat.json")
    await twice(metrion, body)
    newer = (RECORDINGS / "openai/chat.json").read_bytes().replace(b'"id"', b'"newer":1,"id"', 1)
    metrion.upstream.respond = plain(newer)
    head, _ = await ask(metrion, body, headers=b"x-metrion-cache: refresh\r\n")
    assert mark(head) == "REFRESH"
    await kept(metrion)
    head, again = await ask(metrion, body)
    assert (mark(head), again) == ("HIT", newer)


def plain(body: bytes, status: bytes = b"200 OK") -> Responder:
    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n" % status)
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return answer


async def test_an_entry_ends_when_its_time_is_over(metrion: System) -> None:
    metrion.upstream.respond = recorded("openai/chat.json")
    body, short = asked("short"), ASKED + b"Cache-Control: max-age=1\r\n"
    async with asyncio.timeout(servers.DEADLINE):
        while mark((await ask(metrion, body, headers=short))[0]) != "HIT":  # it may end before it is asked for
            await kept(metrion)
        while mark((await ask(metrion, body, headers=short))[0]) == "HIT":
            await asyncio.sleep(0.2)
    await kept(metrion)


async def test_max_age_0_neither_reads_nor_stores(metrion: System) -> None:
    metrion.upstream.respond = recorded("openai/chat.json")
    body, never = asked("never"), ASKED + b"Cache-Control: max-age=0\r\n"
    for _ in range(2):
        assert mark((await ask(metrion, body, headers=never))[0]) == ""
    assert mark((await ask(metrion, body))[0]) == "MISS"
    await kept(metrion)
    assert mark((await ask(metrion, body, headers=never))[0]) == ""


async def test_without_the_header_nothing_is_cached_unless_the_account_says_so(metrion: System) -> None:
    metrion.upstream.respond = recorded("openai/chat.json")
    body = asked("unasked")
    for _ in range(2):
        assert mark((await ask(metrion, body, headers=b""))[0]) == ""
    metrion.tokens.caching = frozenset({"acme"})
    assert mark((await ask(metrion, body, headers=b""))[0]) == "MISS"
    await kept(metrion)
    assert mark((await ask(metrion, body, headers=b""))[0]) == "HIT"
    assert mark((await ask(metrion, body, headers=b"Cache-Control: max-age=0\r\n"))[0]) == ""


async def test_rate_limits_of_the_first_answer_are_not_replayed_and_its_cookies_not_even_sent(metrion: System) -> None:
    head = b"Set-Cookie: session=1\r\nx-ratelimit-remaining-requests: 3\r\nx-request-id: req-1\r\nretry-after: 9\r\n"
    metrion.upstream.respond = recorded("openai/chat.json", head=head)
    first, _ = await ask(metrion, asked("cookie"))
    assert b"x-ratelimit-remaining-requests: 3" in first
    assert b"Set-Cookie" not in first
    await kept(metrion)
    again, _ = await ask(metrion, asked("cookie"))
    assert mark(again) == "HIT"
    names = sorted(line.partition(b":")[0].lower().decode() for line in again.split(b"\r\n")[1:])
    assert names == ["content-length", "content-type", "x-metrion-cache", "x-metrion-request-id"]


def cut(file: str) -> Responder:
    """A stream that breaks off in its middle."""

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        body = (RECORDINGS / file).read_bytes()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(body) // 2, body[: len(body) // 2]))
        await writer.drain()
        writer.close()

    return answer


def edited(file: str, old: bytes, new: bytes) -> Responder:
    """A recording with something else in it."""
    data = (RECORDINGS / file).read_bytes()
    assert old in data, file
    body, kind = data.replace(old, new), b"text/event-stream" if file.endswith(".sse") else b"application/json"

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) + body)

    return answer


POISON: dict[str, tuple[str, dict[str, Any], Responder]] = {
    "an error": (CHAT, {}, plain(b'{"error":{"message":"no"}}', b"400 Bad Request")),
    "overload": (CHAT, {}, plain(b'{"error":{"message":"no"}}', b"503 Service Unavailable")),
    "an error in a 200": (CHAT, {}, plain(b'{"error":{"message":"no"}}')),
    "a redirect": (CHAT, {}, plain(b"{}", b"302 Found")),
    "no JSON": (CHAT, {}, plain(b"<html>")),
    "an empty answer": (CHAT, {}, plain(b"")),
    "a chat cut by length": (CHAT, {}, edited("openai/chat.json", b'"stop"', b'"length"')),
    "a message cut by length": (MESSAGES, {}, edited("anthropic/messages.json", b'"end_turn"', b'"max_tokens"')),
    "a stream cut by length": (
        MESSAGES,
        {"stream": True},
        edited("anthropic/messages_stream.sse", b'"end_turn"', b'"max_tokens"'),
    ),
    "a stream with an error": (MESSAGES, {"stream": True}, recorded("anthropic/messages_stream_error.sse")),
    "a stream that breaks off": (CHAT, {"stream": True}, cut("openai/chat_stream_usage.sse")),
    "a stream without its end": (
        CHAT,
        {"stream": True},
        edited("openai/chat_stream_usage.sse", b"data: [DONE]\n\n", b""),
    ),
    "an incomplete response": (
        "/api/proxy/openai/v1/responses",
        {},
        edited("openai/responses.json", b'"status": "completed"', b'"status": "incomplete"'),
    ),
    "an answer that repeats the key": (
        CHAT,
        {},
        edited("openai/chat.json", b'"chat.completion"', b'"chat.completion","x":"stored-openai"'),
    ),
}


@pytest.mark.parametrize("name", POISON)
async def test_incomplete_or_failed_response_is_never_cached(metrion: System, name: str) -> None:
    path, more, metrion.upstream.respond = POISON[name]
    body = asked(name, **more)
    for _ in range(2):
        head, _ = await ask(metrion, body, path)
        assert mark(head) == "MISS"
        await kept(metrion)
    assert len(metrion.upstream.requests) == 2


async def test_response_is_not_cached_when_its_client_left(metrion: System) -> None:
    started, go = asyncio.Event(), asyncio.Event()
    whole = (RECORDINGS / "openai/chat_stream_usage.sse").read_bytes()

    async def slow(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (200, whole[:200]))
        await writer.drain()
        started.set()
        await go.wait()
        for at in range(200, len(whole), 100):
            writer.write(b"%x\r\n%s\r\n" % (len(whole[at : at + 100]), whole[at : at + 100]))
            await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")

    metrion.upstream.respond = slow
    body = asked("left", stream=True)
    _, writer = await asyncio.open_connection("127.0.0.1", metrion.port)
    writer.write(request(path=CHAT, body=body, headers=ASKED))
    await started.wait()
    writer.transport.abort()
    go.set()
    await until(lambda: metrion.events and isinstance(metrion.events[-1], ResponseEvent))
    assert metrion.events.last.outcome == CLIENT_CLOSED
    await kept(metrion)
    assert mark((await ask(metrion, body))[0]) == "MISS"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def counted(body: bytes, until: Callable[[], Awaitable[object]]) -> tuple[Responder, list[int]]:
    """An answer that takes until something has happened, and how often it was asked for."""
    calls: list[int] = []

    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        calls.append(1)
        await until()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return answer, calls


async def test_200_identical_requests_over_two_gateways_call_the_provider_once(nats: servers.NatsServer) -> None:
    whole = (RECORDINGS / "openai/chat.json").read_bytes()
    async with replica(nats), replica(nats), gateway(nats) as one, gateway(nats) as other:
        one.upstream.respond, calls = counted(whole, lambda: asyncio.sleep(1))
        other.upstream.respond, more = counted(whole, lambda: asyncio.sleep(1))
        body = asked("two hundred")
        responses = await asyncio.gather(*(ask(way, body) for way in (one, other) for _ in range(100)))
        assert len(calls) + len(more) == 1
        assert {response for _, response in responses} == {whole}
        assert sorted(mark(head) for head, _ in responses) == ["HIT"] * 199 + ["MISS"]


async def test_streams_wait_for_an_identical_in_flight_stream_and_get_its_events(nats: servers.NatsServer) -> None:
    async with replica(nats), gateway(nats) as one:
        one.upstream.respond = recorded("anthropic/messages_stream.sse")
        body = asked("alike", stream=True)
        responses = await asyncio.gather(*(ask(one, body, MESSAGES) for _ in range(20)))
        assert {response for _, response in responses} == {(RECORDINGS / "anthropic/messages_stream.sse").read_bytes()}
        assert len(one.upstream.requests) == 1


async def test_when_the_leading_request_fails_the_waiting_ones_call_the_provider_at_once(
    nats: servers.NatsServer,
) -> None:
    hour = 3600  # as long as a lease: longer than the test may take, so each is let go or waits in vain
    waits = {"cache_wait": float(hour), "cache_timeout": 60.0}
    async with replica(nats), gateway(nats, **waits) as one, gateway(nats, **waits) as other:
        one.upstream.respond = other.upstream.respond = plain(b'{"error":{}}', b"500 Oops")
        body = asked("failing")
        async with asyncio.timeout(300):
            responses = await asyncio.gather(*(ask(way, body) for way in (one, other) for _ in range(10)))
        assert all(head.startswith(b"HTTP/1.1 500") for head, _ in responses)
        assert len(one.upstream.requests) + len(other.upstream.requests) == 20
        assert one.cache.outcomes[client.GAVE_UP] + other.cache.outcomes[client.GAVE_UP] == 0


async def test_waiting_for_an_identical_request_is_limited(nats: servers.NatsServer) -> None:
    whole = (RECORDINGS / "openai/chat.json").read_bytes()
    async with replica(nats), gateway(nats, cache_wait=0.5) as one, gateway(nats, cache_wait=0.5) as other:
        finish = asyncio.Event()
        one.upstream.respond, calls = counted(whole, finish.wait)
        other.upstream.respond, more = counted(whole, lambda: asyncio.sleep(0))
        body = asked("patience")
        first = asyncio.create_task(ask(one, body))
        await until(lambda: calls)
        responses = await asyncio.gather(*(ask(other, body) for _ in range(3)))
        finish.set()
        assert len(more) == 3 and {mark(head) for head, _ in responses} == {"MISS"}
        await first


async def test_a_response_is_stored_by_a_cache_as_slow_as_lookups_allow(
    nats: servers.NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "STORE_S", 1e-6)
    async with replica(nats), gateway(nats) as metrion:
        metrion.upstream.respond = recorded("openai/chat.json")
        await ask(metrion, asked("slow store"))
        await kept(metrion)
        assert (metrion.cache.stored, metrion.cache.refused) == (1, 0)


async def test_without_a_cache_service_every_request_goes_to_the_provider_at_once(nats: servers.NatsServer) -> None:
    async with gateway(nats) as one:
        one.upstream.respond = recorded("openai/chat.json")
        for _ in range(2):
            head, _ = await ask(one, asked("nobody"))
            assert mark(head) == "MISS"
        await kept(one)
        assert one.cache.outcomes[client.UNAVAILABLE] >= 2 and not one.cache.breaker.open


async def test_an_unresponsive_cache_service_delays_few_requests_and_only_briefly(
    nats: servers.NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "OPEN_S", 3600.0)
    mute = await nats_client.connect(nats.url("cache"), service="cache")

    async def ignore(_: Any) -> None:
        """Frozen."""

    await mute.subscribe(wire.LOOKUP, queue=wire.QUEUE, cb=ignore)
    await mute.flush()
    try:
        async with gateway(nats, cache_timeout=client.TIMEOUT_S) as one:
            one.upstream.respond = recorded("openai/chat.json")
            for number in range(breaker.MAX_TIMEOUTS):
                head, _ = await ask(one, asked(f"mute {number}"))
                assert mark(head) == "MISS"
            assert one.cache.breaker.open
            before = one.cache.outcomes.copy()
            for number in range(20):
                assert mark((await ask(one, asked(f"still mute {number}")))[0]) == "MISS"
            assert one.cache.outcomes[client.TIMEOUT] == before[client.TIMEOUT]
            assert one.cache.outcomes[client.BROKEN] - before[client.BROKEN] >= 20
    finally:
        await mute.close()
