"""What is read of a stream must be what a reader that decodes every event would find."""

import json

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.usage import evidence
from services.gateway.usage.sse_tap import SseTap
from services.gateway.usage.tap import open_tap
from shared import events

COUNTS = st.integers(0, 10**9)
OTHERS = (
    b'{"model":"m","choices":[{"delta":{"content":"a"}}],"usage":null}',
    b'{"model":"m","choices":[{"delta":{"content":"a"}}],"usage": null}',
    b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}',
    b'{"candidates":[{"finishReason":"STOP"}]}',
    b'{"x":{"usage":{"prompt_tokens":1},"usageMetadata":{"promptTokenCount":1}}}',
    b'{"text":"\\"usage\\":{} \\"error\\""}',
    b'{"choices":[{"finish_reason":"stop"}]}',
    b'{"error":{"message":"overloaded"}}',
    b"[DONE]",
    b"{",
)
# (Data of an event, how often it comes in a row): more often than events are read at a block's end.
runs = st.tuples(
    st.sampled_from(OTHERS)
    | st.builds(lambda count: b'{"model":"m","usage":{"prompt_tokens":%d}}' % count, COUNTS)
    | st.builds(lambda count: b'{"usageMetadata":{"promptTokenCount":%d},"candidates":[{}]}' % count, COUNTS),
    st.sampled_from((1, 1, 1, 2, 5, 9, 63, 64, 65, 300)),
)
DIALECTS = (events.ANTHROPIC, events.OPENAI_CHAT, events.OPENAI_OTHER, events.GEMINI)
ENDED_BY_DONE = (events.OPENAI_CHAT, events.OPENAI_OTHER)
USAGE_OF = {events.ANTHROPIC: ("usage",), events.GEMINI: ("usage", "usageMetadata")}


def read(dialect: str, stream: bytes, size: int) -> SseTap:
    tap = open_tap(200, "text/event-stream", "", dialect)
    assert isinstance(tap, SseTap)
    for start in range(0, len(stream), size):
        tap.feed(stream[start : start + size])
    return tap


@given(
    st.sampled_from(DIALECTS),
    st.lists(runs, min_size=1, max_size=12),
    st.sampled_from((1 << 20, 256_000, 20_000, 3000, 100)) | st.integers(50, 100_000),
    st.sampled_from((b"\n", b"\r\n")),
)
def test_usage_errors_and_end_are_those_that_a_reader_of_every_event_finds(
    dialect: str, found: list[tuple[bytes, int]], size: int, end: bytes
) -> None:
    datas = [b'{"model":"first"}', *(data for data, times in found for _ in range(times))]
    picks = [picked for data in datas if (picked := evidence.pick(data)) is not None]
    names = USAGE_OF.get(dialect, ("usage",))
    usages = [one.json for one in picks if one.usage and any(name in json.loads(one.json) for name in names)]
    tap = read(dialect, b"".join(b"data: " + data + end + end for data in datas), size)
    seen, _, truncated = tap.evidence()
    assert seen[0] == b'{"model":"first"}'
    assert tap.failed is any(one.error for one in picks)
    assert tap.ended is (b"[DONE]" in datas) or dialect not in ENDED_BY_DONE
    stated = [one for one in seen if any(name in json.loads(one) for name in names) and b"null" not in one]
    if truncated and tap.gap is not None and events.GAP_USAGE in tap.gap.missing:
        assert any(times >= 64 for _, times in found)
    elif usages:
        assert stated[-1] == usages[-1] and set(stated) <= set(usages)
    else:
        assert not stated
