"""No response may take the gateway more work than its budget; what bears on money is read all the same."""

import json
from typing import Any

import pytest

from services.gateway.usage import evidence, long_event, sse_tap, tap
from services.gateway.usage.marked_events import FREE_TELLING, LAST_USAGE, MAX_MARKED
from services.gateway.usage.usage_remover import Remover
from shared import events

BLOCK = 256 << 10
DIALECTS = (
    events.ANTHROPIC,
    events.OPENAI_CHAT,
    events.OPENAI_RESPONSES,
    events.OPENAI_OTHER,
    events.GEMINI,
)
SIZE = 3 << 20  # bytes of a stream
USAGE = b'data: {"model":"gpt-4.1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}\n\n'


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.calls += 1
        return self.function(*args, **more)


def read(stream: bytes, *, dialect: str = events.OPENAI_CHAT, size: int = BLOCK) -> tap.Tap:
    opened = tap.open_tap(200, "text/event-stream", "", dialect)
    for start in range(0, len(stream), size):
        opened.feed(stream[start : start + size])
    return opened


def counted_picks(monkeypatch: pytest.MonkeyPatch) -> Counted:
    picks = Counted(evidence.pick)
    monkeypatch.setattr(sse_tap, "pick", picks)
    return picks


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "event",
    [
        b'data: {"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"usage":null}\n\n',
        b'data: {"usage": null}\n\n',
        b'data: {"usageMetadata":{"promptTokenCount":1}}\n\n',
        b'data: {"error":{"message":"x"}}\n\n',
        b'data: {"candidates":[{"finishReason":"STOP"}]}\n\n',
        b'data: {"type":"message_stop"}\n\n',
        b'data: {"type":"response.completed"}\n\n',
        b"data: [DONE]\n\n",
        b"event: error\n\n",
        b"data:\n\n",
        b"data: x\n\n",
        b"data: {\n\n",
        b"data: {}\r\r",
        b"\n",
        b"\r",
        b": c\n",
    ],
)
def test_events_are_decoded_within_a_budget(event: bytes, dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picks = counted_picks(monkeypatch)
    count = SIZE // len(event)
    read(event * count + b"\n", dialect=dialect).evidence()
    blocks = SIZE // BLOCK + 2
    assert picks.calls <= 3 * FREE_TELLING + blocks * (3 * LAST_USAGE + MAX_MARKED)


def test_the_last_usage_of_very_many_counts() -> None:
    event = b'data: {"model":"gpt-4.1","usage":{"prompt_tokens":1}}\n\n'
    opened = read(event * 50_000 + USAGE + b"data: [DONE]\n\n")
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[-1])["usage"] == {"prompt_tokens": 9, "completion_tokens": 5}
    assert opened.ended and not truncated


@pytest.mark.parametrize("filler", [b'data: {"usage":null}\n\n', b'data: {"x":{"usage":1}}\n\n'])
def test_usage_is_found_before_events_that_only_name_it(filler: bytes) -> None:
    picks, _, _ = read(b'data: {"model":"m"}\n\n' + USAGE + filler * 50, size=1 << 20).evidence()
    assert json.loads(picks[-1])["usage"] == {"prompt_tokens": 9, "completion_tokens": 5}


def test_usage_behind_very_many_events_that_only_name_it_is_not_recorded_as_known() -> None:
    filler = b'data: {"x":{"usage":1}}\n\n' * 5000
    opened = read(b'data: {"model":"m","usage":{"prompt_tokens":1}}\n\n' + USAGE + filler, size=1 << 20)
    assert opened.evidence()[2]
    assert opened.gap is not None and events.GAP_USAGE in opened.gap.missing


def test_very_many_errors_are_not_recorded_as_fully_read() -> None:
    opened = read(b'data: {"error":{"message":"x"}}\n\n' * 50_000)
    assert opened.failed and opened.evidence()[2]


def test_lines_of_a_long_event_are_read_within_a_budget() -> None:
    opened = read(b"data:x\n" * (SIZE // 7))
    assert isinstance(opened, sse_tap.SseTap)
    opened.evidence()
    assert opened.gap is not None and opened.gap.missing == events.GAPS_ALL


def test_a_long_event_of_many_lines_is_read_whole_within_the_budget() -> None:
    item = b'data: ["%s"],\n' % (b"word" * 20)
    event = (
        b'data: {"type":"response.completed","response":{"output":[\n'
        + item * 20_000
        + b'data: 0],"usage":{"input_tokens":7}}}\n\n'
    )
    assert len(event) > long_event.MAX_EVENT
    opened = read(event, dialect=events.OPENAI_RESPONSES)
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[-1])["response"]["usage"] == {"input_tokens": 7}
    assert opened.ended and not truncated


@pytest.mark.parametrize("line", [b"data:x\n", b"data:%s\n" % (b"x" * 900)])
def test_what_follows_an_event_of_endless_lines_is_still_read_and_removed(line: bytes) -> None:
    stream = b'data: {"model":"m"}\n\n' + line * (8 * (1 << 20) // len(line)) + b"\n" + USAGE + b"data: [DONE]\n\n"
    opened = read(stream)
    assert opened.ended
    picks, _, _ = opened.evidence()
    assert json.loads(picks[-1])["usage"] == {"prompt_tokens": 9, "completion_tokens": 5}
    assert opened.gap is not None and opened.gap.missing == events.GAPS_ALL
    remover = Remover()
    passed = b"".join(remover.feed(stream[at : at + BLOCK]) for at in range(0, len(stream), BLOCK)) + remover.end()
    assert passed == stream.replace(USAGE, b"")
