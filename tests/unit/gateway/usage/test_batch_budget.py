"""Output of a batch is added up exactly and at little cost; what takes more work than its budget is left out and named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.parsing import lenient_json
from services.gateway.usage import batch_lines, usage_names
from services.gateway.usage.batch_results import FREE_ODD_LINES
from services.gateway.usage.tap import Tap, open_tap
from shared import events

LINE = b'{"custom_id":"%d","result":{"message":{"model":"claude-sonnet-4-5","usage":{"input_tokens":%d,"output_tokens":4}}}}\n'


def read(data: bytes, *, size: int = 65536) -> Tap:
    opened = open_tap(200, "application/x-jsonl", "", events.ANTHROPIC)
    for start in range(0, len(data), size):
        opened.feed(data[start : start + size])
    return opened


counts = st.integers(0, 10**12) | st.none() | st.booleans() | st.text(max_size=3) | st.floats(allow_nan=False)
names = st.sampled_from(["input_tokens", "output_tokens", "a-b", "c", "usage", "field_0", ""])
usages = st.dictionaries(
    names, counts | st.lists(counts, max_size=2) | st.dictionaries(names, counts, max_size=3), max_size=5
)
lines = st.builds(
    lambda model, usage, kind: {
        "custom_id": "x",
        **(
            {"result": {"message": {"model": model, "usage": usage}}}
            if kind == "anthropic"
            else {"response": {"body": {"model": model, "usage": usage}}}
            if kind == "openai"
            else {"response": {"modelVersion": model, "usageMetadata": usage}}
        ),
    },
    st.sampled_from(["m", "n", "ü"]),
    usages,
    st.sampled_from(["anthropic", "openai", "gemini"]),
)
broken = st.sampled_from([b"", b"  ", b"\r", b'{"a":1}', b"5", b'{"custom_id":"x","result":{"message":null}}'])


@given(st.lists(lines.map(lambda one: json.dumps(one).encode()) | broken, max_size=60), st.integers(1, 3000))
def test_a_batch_costs_the_sum_of_its_lines_whatever_their_usage_looks_like(found: list[bytes], size: int) -> None:
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    for line in found:
        one = json.loads(line) if line.startswith(b'{"custom_id"') else {}
        response = one.get("response", {})
        body = (one.get("result") or {}).get("message") or response.get("body") or response
        for name in ("usage", "usageMetadata"):
            if body.get(name):
                key = (body.get("model") or body.get("modelVersion"), name)
                batch_lines.add(expected.setdefault(key, {}), body[name])
    opened = read(b'{"first":1}\n' + b"\n".join(found), size=size)
    picks, _, truncated = opened.evidence()
    got = {
        (one["model"], name): one[name]
        for one in map(json.loads, picks)
        for name in ("usage", "usageMetadata")
        if name in one
    }
    assert {key: one for key, one in got.items() if one} == {key: one for key, one in expected.items() if one}
    assert not truncated


def test_lines_that_are_too_many_for_their_bytes_are_left_out_and_named() -> None:
    opened = read(LINE % (1, 7) + b'{"usage":1}\n' * 100_000)  # 12 bytes a line
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[0])["usage"] == {"input_tokens": 7, "output_tokens": 4}
    assert truncated and opened.gap is not None
    assert (opened.gap.missing, opened.gap.reason) == ((events.GAP_LINES,), events.UNREAD_TOO_MANY)
    enough = read(LINE % (1, 7) + b'{"usage":1}\n' * 4_000)
    assert not enough.evidence()[2]


def test_lines_of_a_batch_are_decoded_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    read_line = lenient_json.read

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return read_line(*args)

    monkeypatch.setattr(lenient_json, "read", counted)
    picks, _, truncated = read(b"".join(LINE % (at, at) for at in range(40_000))).evidence()
    assert json.loads(picks[0])["usage"] == {"input_tokens": sum(range(40_000)), "output_tokens": 160_000}
    assert not truncated
    assert calls <= 2  # of the first line, and of its usage


def test_a_broken_line_amid_a_batch_does_not_hide_the_others() -> None:
    whole = b"".join(LINE % (at, at) for at in range(2000))
    odd = b'{"custom_id":"o","result":{"message":{"model":"claude-sonnet-4-5","t":"\\ud83d","usage":{"input_tokens":5}}}}\n'
    picks, _, truncated = read((whole + odd) * 3 + b'{"custom_id":"c","usage":\n').evidence()
    assert json.loads(picks[0])["usage"]["input_tokens"] == 3 * (sum(range(2000)) + 5)
    assert truncated


def test_lines_that_must_be_repaired_are_read_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    read_line = lenient_json.read

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return read_line(*args)

    monkeypatch.setattr(lenient_json, "read", counted)
    odd = b'{"custom_id":"o","result":{"message":{"model":"m","t":"\\ud83d","usage":{"input_tokens":5}}}}\n'
    data = odd * 40_000
    opened = read(data)
    assert opened.evidence()[2]
    assert calls <= 2 * (FREE_ODD_LINES + len(data) // 4096 + 1)
    assert opened.gap is not None and events.GAP_LINES in opened.gap.missing


def test_usage_objects_of_very_many_names_are_read_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    known = usage_names.known_counts
    sizes: list[int] = []

    def measured(raw: bytes) -> tuple[bytes, bool]:
        sizes.append(len(raw))
        return known(raw)

    monkeypatch.setattr(usage_names, "known_counts", measured)
    usage = json.dumps({"input_tokens": 1, **{f"name_{at}": at for at in range(10_000)}}).encode()
    line = b'{"custom_id":"a","result":{"message":{"model":"m","usage":%b}}}\n' % usage
    opened = read(line * 60)
    picks, _, truncated = opened.evidence()
    assert json.loads(picks[0])["usage"]["input_tokens"] == len(sizes)
    assert truncated and sum(sizes) <= 2 << 20


def test_names_that_come_late_do_not_break_a_batch() -> None:
    usages = [b'{"a":null}', b'{"a":0,"b":0}', b'{"a":1,"b":null,"c":null}', b'{"a":5}']
    line = b'{"custom_id":"x","result":{"message":{"model":"m","usage":%b}}}\n'
    picks, _, truncated = read(b"".join(line % usage for usage in usages), size=1).evidence()
    assert json.loads(picks[0])["usage"] == {"a": 6, "b": 0}
    assert not truncated
