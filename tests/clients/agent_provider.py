"""Mock provider for coding agents: follows the scenario that the prompt names."""

import json
import re
from collections import Counter
from typing import Any

from aiohttp import web

from tests.support.mock_provider import Provider, Sent

COMMAND = "echo metrion-was-here"
INPUT, CACHED, WRITTEN, OUTPUT, REASONING = 123, 5000, 1000, 45, 7  # tokens of each complete response
_SCENARIO = re.compile(rb"scenario=(\w+) run=(\w+)")
Event = dict[str, Any]


class AgentProvider(Provider):
    """Anthropic's Messages and OpenAI's Responses, as streams.

    A prompt with `scenario=NAME run=ID` is answered with "Done." (plain), after a call of a shell tool (tool), after
    one 429 (busy), by an error in the middle of the stream (broken), or by a 401 (denied).
    """

    def __init__(self) -> None:
        super().__init__()
        self.websockets = False  # whether Responses are offered over WebSockets, too
        self.frames: list[dict[str, Any]] = []  # that came over WebSockets
        self._turns: Counter[str] = Counter()

    def of_run(self, run: str) -> list[Sent]:
        """HTTP requests of a run, without those that only try a WebSocket or list models."""
        return [sent for sent in self.requests if f"run={run}".encode() in sent.body]

    def frames_of_run(self, run: str) -> list[dict[str, Any]]:
        """Requests of a run that came over WebSockets."""
        return [frame for frame in self.frames if f"run={run}" in json.dumps(frame)]

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        """Respond to each request of a WebSocket connection; one that generates nothing only warms up."""
        socket = web.WebSocketResponse(max_msg_size=1 << 26)
        await socket.prepare(request)
        async for message in socket:
            frame = json.loads(message.data)
            self.frames.append(frame)
            is_warm_up = frame.get("generate") is False
            for event in _responses(frame["model"], is_tool=False, is_broken=False, is_empty=is_warm_up):
                await socket.send_json(event)
        return socket

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Play the next part of the scenario."""
        body = await request.read()
        self.requests.append(Sent(request.method, request.path_qs, dict(request.headers), body))
        if "Upgrade" in request.headers:
            return await self._talk(request) if self.websockets else _error(426, "no WebSockets")
        if request.path.endswith("/models"):
            return web.json_response({"object": "list", "data": []})
        found = _SCENARIO.search(body)
        if found is None:
            return _error(404, "no scenario")
        scenario, run = (part.decode() for part in found.groups())
        turn = self._turns[run]
        self._turns[run] += 1
        if scenario == "denied":
            return _error(401, "invalid key", type="authentication_error")
        if scenario == "busy" and turn == 0:
            return _error(429, "too busy", type="rate_limit_error")
        is_tool = scenario == "tool" and turn == 0
        model = json.loads(body)["model"]
        events = _responses if request.path.endswith("/responses") else _messages
        return _stream(events(model, is_tool=is_tool, is_broken=scenario == "broken"))


def _error(status: int, message: str, *, type: str = "invalid_request_error") -> web.Response:
    error = {"type": type, "code": type, "message": message}
    return web.json_response({"type": "error", "error": error}, status=status, headers={"retry-after": "0"})


def _stream(events: list[Event]) -> web.Response:
    data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return web.Response(body=data.encode(), content_type="text/event-stream")


def _messages(model: str, *, is_tool: bool, is_broken: bool) -> list[Event]:
    usage = {
        "input_tokens": INPUT,
        "cache_creation_input_tokens": WRITTEN,
        "cache_read_input_tokens": CACHED,
        "cache_creation": {"ephemeral_5m_input_tokens": WRITTEN, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 1,
    }
    message: Event = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    begin = {"type": "message_start", "message": message}
    if is_broken:
        error = {"type": "overloaded_error", "message": "Overloaded"}
        return [begin, *_block({"type": "text", "text": ""}, {"type": "text_delta", "text": "Do"})[:2], _failed(error)]
    if is_tool:
        arguments = {"command": COMMAND, "description": "Say it"}
        tool = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
        block = _block(tool, {"type": "input_json_delta", "partial_json": json.dumps(arguments)})
    else:
        block = _block({"type": "text", "text": ""}, {"type": "text_delta", "text": "Done."})
    stop = {"stop_reason": "tool_use" if is_tool else "end_turn", "stop_sequence": None}
    end = {"type": "message_delta", "delta": stop, "usage": {"output_tokens": OUTPUT}}
    return [begin, *block, end, {"type": "message_stop"}]


def _block(block: Event, delta: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
    ]


def _failed(error: Event) -> Event:
    return {"type": "error", "error": error}


def _responses(model: str, *, is_tool: bool, is_broken: bool, is_empty: bool = False) -> list[Event]:
    response: Event = {"id": "resp_1", "object": "response", "status": "in_progress", "model": model}
    item: Event = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    text = {"type": "output_text", "text": "Done.", "annotations": []}
    done = {**item, "status": "completed", "content": [text]}
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0}
    content = [{**delta, "delta": "Done."}]
    if is_tool:
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "exec_command"}
        item = {**call, "arguments": "", "status": "in_progress"}
        done = {**call, "arguments": json.dumps({"cmd": COMMAND}), "status": "completed"}
        content = []
    begin: list[Event] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        *content,
    ]
    if is_broken:
        error = {"code": "server_error", "message": "The server had an error."}
        return [*begin, {"type": "response.failed", "response": {**response, "status": "failed", "error": error}}]
    if is_empty:
        nothing = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        completed = {**response, "status": "completed", "output": [], "usage": nothing}
        return [begin[0], {"type": "response.completed", "response": completed}]
    usage = {
        "input_tokens": INPUT + CACHED,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": REASONING},
        "total_tokens": INPUT + CACHED + OUTPUT,
    }
    completed = {**response, "status": "completed", "output": [done], "usage": usage}
    return [
        *begin,
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": completed},
    ]
