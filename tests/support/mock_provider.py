"""Mock of the five providers: replays tests/recordings and keeps the requests."""

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from aiohttp import web

from tests.support import mock_websockets, paths

RECORDINGS = paths.RECORDINGS
INDEX: dict[str, dict[str, Any]] = {row["file"]: row for row in json.loads((RECORDINGS / "index.json").read_bytes())}
# Request header: how long to wait before each chunk of a stream; of a kind that is no part of a cache key.
SECONDS_A_CHUNK = "x-datadog-test-pace"
HELD = "x-test-held"  # request header: of a stream comes the first event, and more as `allowed` has for this value
BUSY_ONCE = "x-test-busy"  # request header: the first request with this value is refused with 429 and retry-after
ECHO = "echo-credentials"  # model: an error that repeats every credential it got, in body and headers
_KEYS = ("authorization", "x-api-key", "x-goog-api-key")


class Sent(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str  # with query
    headers: dict[str, str]
    body: bytes


class Provider:
    """`requests` in the order they came; `cut` counts streams whose reader left before their end."""

    def __init__(self) -> None:
        self.requests: list[Sent] = []
        self.cut = 0
        self.allowed: Counter[str] = Counter()
        self._refused: set[str] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The recording that fits the path and body; a model "rec:<file>" names one outright."""
        body = await request.read()
        self.requests.append(Sent(request.method, request.path_qs, dict(request.headers), body))
        if mock_websockets.is_upgrade(request):
            return await mock_websockets.answer(request)
        try:
            asked = json.loads(body)
        except ValueError:
            asked = {}
        model = str(asked.get("model") or request.path.partition("/models/")[2].rpartition(":")[0])
        if model.startswith(ECHO):
            return _echo(request, stream=bool(asked.get("stream")))
        busy = request.headers.get(BUSY_ONCE)
        if busy and busy not in self._refused:
            self._refused.add(busy)
            return _recording(f"{'anthropic' if request.path.endswith('/messages') else 'openai'}/error_429.json")
        if pause := request.headers.get("x-test-first-byte"):
            await asyncio.sleep(float(pause))
        if request.path.startswith("/v1/chat") and b'"stream_options"' in body and "mistral" in model:
            return _recording("mistral/error_422.json")
        file = (
            model.removeprefix("rec:").replace("~", "/")
            if model.startswith("rec:")
            else _choose(request.path_qs, asked, model)
        )
        if file.endswith(".sse"):
            return await self._stream(request, file)
        return _recording(file)

    async def _stream(self, request: web.Request, file: str) -> web.StreamResponse:
        row = INDEX[file]
        response = web.StreamResponse(status=row["status"], headers=row["headers"])
        await response.prepare(request)
        pace = float(request.headers.get(SECONDS_A_CHUNK, "0"))
        data = (RECORDINGS / file).read_bytes()
        end = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
        try:
            for number, event in enumerate(data.split(end)):
                if event.strip():
                    await _pause(request, pace)
                    await self._hold(request, number)
                    await response.write(event + end)
        except ConnectionError:
            self.cut += 1
            raise
        if not row["terminated"] and request.transport is not None and "cut" in request.headers.get("x-test", ""):
            request.transport.close()
        return response

    async def _hold(self, request: web.Request, number: int) -> None:
        """Wait until an event is allowed; ConnectionResetError as soon as the client is gone."""
        held = request.headers.get(HELD)
        while held and self.allowed[held] < number:
            await _pause(request, 0.05)
            if request.transport is None:
                raise ConnectionResetError


async def _pause(request: web.Request, seconds: float) -> None:
    """Wait between two chunks; ConnectionResetError as soon as the client is gone."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    await asyncio.sleep(min(seconds, 0.1))
    while (left := until - clock()) > 0:
        if request.transport is None:
            raise ConnectionResetError
        await asyncio.sleep(min(left, 0.1))


# What a path asks for, whatever the body: part of the path → recording, and the one for a stream.
_BY_PATH = {
    "/audio/transcriptions": ("openai/transcription_tokens.json", ""),  # a form: whether it streams stands inside
    "/audio/speech": ("openai/speech.mp3", "openai/speech_stream.sse"),
    "/images/": ("openai/images.json", "openai/image_stream.sse"),
    "/moderations": ("openai/moderations.json", ""),
    "/ocr": ("mistral/ocr.json", ""),
    "/fim/": ("mistral/fim.json", "mistral/fim_stream.sse"),
    "/conversations": ("mistral/conversation.json", ""),
    "/interactions": ("gemini/interaction.json", "gemini/interaction_stream.sse"),
    "mbedContent": ("gemini/embeddings.json", ""),
    "/results": ("anthropic/batch_results.jsonl", ""),
    "/content": ("openai/batch_output.jsonl", ""),
    "/messages/batches": ("anthropic/batch_created.json", ""),
    "/batches": ("openai/batch.json", ""),
}


def _choose(target: str, asked: dict[str, Any], model: str) -> str:
    path, _, query = target.partition("?")
    stream = bool(asked.get("stream"))
    for part, (whole, streamed) in _BY_PATH.items():
        if part in path:
            return streamed if stream and streamed else whole
    if path.endswith("/messages"):
        tools = "_tools" if _calls_a_tool(asked) else ""
        return f"anthropic/messages_stream{tools}.sse" if stream else f"anthropic/messages{tools}.json"
    if path.endswith("/count_tokens"):
        return "anthropic/count_tokens.json"
    if "streamGenerateContent" in path:
        return "gemini/stream.sse" if "alt=sse" in query else "gemini/stream_array.json"
    if "generateContent" in path:
        return "gemini/generate_content.json"
    if path.endswith("/responses"):
        if "grok" in model:
            return "xai/responses_stream.sse" if stream else "xai/responses.json"
        return "openai/responses_stream.sse" if stream else "openai/responses.json"
    if path.endswith("/embeddings"):
        return "mistral/embeddings.json" if "mistral" in model else "openai/embeddings.json"
    if "/openai/" in path:
        return "gemini/openai_chat.json"
    if "mistral" in model:
        return "mistral/chat_stream.sse" if stream else "mistral/chat.json"
    if "grok" in model:
        return "xai/chat.json"
    if _calls_a_tool(asked):
        return "openai/chat_stream_tools.sse" if stream else "openai/chat_tools.json"
    if stream:
        wanted = (asked.get("stream_options") or {}).get("include_usage")
        return "openai/chat_stream_usage.sse" if wanted else "openai/chat_stream_nousage.sse"
    return "openai/chat.json"


def _calls_a_tool(asked: dict[str, Any]) -> bool:
    """Whether tools are offered and the last message is not already a tool's result, in OpenAI's form or Anthropic's."""
    last = asked["messages"][-1] if asked.get("messages") else {}
    return bool(asked.get("tools")) and last.get("role") != "tool" and '"tool_result"' not in json.dumps(last)


def _recording(file: str) -> web.Response:
    row = INDEX[file]
    return web.Response(status=row["status"], headers=row["headers"], body=(RECORDINGS / file).read_bytes())


def _echo(request: web.Request, *, stream: bool) -> web.Response:
    """What careless servers do: repeat the key that they did not like, everywhere."""
    seen = " ".join(request.headers[name] for name in _KEYS if name in request.headers)
    error = {
        "error": {"message": f"bad key {seen}", "type": f"t {seen}", "code": seen},
        "model": seen,
        "usage": {"note": seen},
    }
    if stream:
        body = b"data: " + json.dumps(error).encode() + b"\n\n"
        return web.Response(body=body, content_type="text/event-stream", headers={"x-request-id": seen})
    return web.Response(
        status=401,
        body=json.dumps(error),
        content_type="application/json",
        headers={"x-request-id": seen, "request-id": seen},
    )


P = TypeVar("P", bound=Provider)


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """A running provider that replays recordings."""
    with running(Provider()) as found:
        yield found


@contextlib.contextmanager
def running(found: P) -> Iterator[P]:
    """Run a provider in a thread of its own."""
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> web.AppRunner:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", found.answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(120)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
