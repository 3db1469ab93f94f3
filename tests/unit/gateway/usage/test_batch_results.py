"""A batch's output must leave its usage, by model, and nothing of its content, however it is cut, packed or odd."""

import gzip
import json
from typing import Any

import pytest

from services.gateway.usage import batch_results
from services.gateway.usage.tap import open_tap
from shared import events
from tests.support.priced_rows import priced_row


def openai(model: str, *, sent: int, made: int, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": sent, "completion_tokens": made, "prompt_tokens_details": {"cached_tokens": 2}} | more
    return {"custom_id": "a secret id", "response": {"status_code": 200, "body": {"model": model, "usage": usage}}}


def gemini(tokens: int) -> dict[str, Any]:
    return {"key": "k", "response": {"modelVersion": "gemini-3.8-flash", "usageMetadata": {"promptTokenCount": tokens}}}


def read(data: bytes, *, kind: str = "application/x-jsonl", encoding: str = "", size: int = 1 << 20) -> Any:
    tap = open_tap(200, kind, encoding, events.OPENAI_OTHER)
    for i in range(0, len(data), size):
        tap.feed(data[i : i + size])
    picks, _, truncated = tap.evidence()
    return [json.loads(one) for one in picks], truncated


def lines(*found: Any) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in found)


@pytest.mark.parametrize("size", [1, 13, 1 << 20])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_usage_is_added_up_by_model(pack: Any, size: int) -> None:
    data = lines(
        openai("m", sent=10, made=1), openai("n", sent=5, made=5), gemini(7), openai("m", sent=20, made=2), gemini(1)
    )
    found, truncated = read(pack(data), encoding="" if pack is bytes else "gzip", size=size)
    assert found == [
        {"object": "batch.output", "model": "m", "usage": {"prompt_tokens": 30, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}},
        {"object": "batch.output", "model": "n", "usage": {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}},
        {"object": "batch.output", "model": "gemini-3.8-flash", "usageMetadata": {"promptTokenCount": 8}},
    ]  # fmt: skip
    assert not truncated


@pytest.mark.parametrize("kind", sorted(batch_results.KINDS))
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n" + lines(openai("m", sent=9, made=9)),
        lines([1], "x", 7, None, {}),
        lines({"usage": {"prompt_tokens": 9}}, {"custom_id": "x", "usage": {"prompt_tokens": 9}}),
        lines({"custom_id": "x", "response": {"body": {"choices": [{"usage": {"prompt_tokens": 9}}]}}}),
        lines({"custom_id": "x", "response": '{"body":{"usage":{"prompt_tokens":9}}}'}),
        lines({"custom_id": "x", "params": {"model": "m", "usage": {"prompt_tokens": 9}}}),  # what a batch was made of
        lines({"response": {"body": {"usage": {"prompt_tokens": 9}}}}),
        b'{"custom_id":"x","response":{"body":{"usage":{"prompt_tokens":9',
    ],
    ids=["empty", "image", "no objects", "usage", "nested", "text", "input", "no id", "broken"],
)
def test_a_file_that_is_no_batchs_output_leaves_nothing(kind: str, data: bytes) -> None:
    assert read(data, kind=kind) == ([], False)


@pytest.mark.parametrize("size", [65536, 8 << 20])
def test_a_long_line_is_read_too(size: int) -> None:
    """A picture as base64 is longer than most lines, and the batch is paid for it all the same."""
    long = openai("m", sent=1, made=1) | {"text": "x" * (2 << 20)}
    found, truncated = read(lines(openai("m", sent=1, made=1), long, openai("m", sent=2, made=2)), size=size)
    assert [one["usage"]["prompt_tokens"] for one in found] == [4]
    assert not truncated


def test_oversized_batch_line_is_skipped_and_marks_the_evidence_as_truncated() -> None:
    long = openai("m", sent=1, made=1) | {"list": ["x"] * (2 << 20)}
    found, truncated = read(lines(openai("m", sent=1, made=1), long, openai("m", sent=2, made=2)), size=65536)
    assert [one["usage"]["prompt_tokens"] for one in found] == [3]
    assert truncated


def test_model_names_from_batches_are_bounded_in_the_evidence() -> None:
    found, truncated = read(lines(*(openai(f"m{number}" * 200, sent=1, made=1) for number in range(200))))
    assert len(found) == 16 and truncated
    assert all(len(one["model"]) <= 256 for one in found)


def test_invalid_token_counts_in_a_batch_add_nothing() -> None:
    found, _ = read(
        lines(openai("m", sent=1, made=1, odd=True, text="x", list=[1], deep={"a": {"b": {"c": {"d": {"e": 1}}}}}))
    )
    (one,) = found
    assert set(one["usage"]) == {"prompt_tokens", "completion_tokens", "prompt_tokens_details", "deep"}


@pytest.mark.parametrize("size", [100, 1 << 20])
@pytest.mark.parametrize("position", [0, 1, 40])
@pytest.mark.parametrize(
    ("count", "total"), [(-1000, -1), ("1000", -1), (True, -1), (0.5, -1), ([1], 59_000), (None, 59_000), (7.0, 59_007)]
)
def test_a_sum_with_an_invalid_count_is_invalid_and_all_others_are_right(
    count: object, total: int, position: int, size: int
) -> None:
    batch = [openai("m", sent=1000, made=1) for _ in range(60)]
    batch[position] = openai("m", sent=7, made=1, prompt_tokens=count)
    (one,), _ = read(lines(*batch), size=size)
    usage = one["usage"]
    assert usage["completion_tokens"] == 60
    assert usage["prompt_tokens_details"] == {"cached_tokens": 120}
    assert usage["prompt_tokens"] == total


def test_a_batch_with_an_invalid_count_has_neither_that_sum_nor_a_cost() -> None:
    data = lines(openai("gpt-4o", sent=1000, made=100), openai("gpt-4o", sent=-1000, made=100))
    row = priced_row(data, provider="openai", dialect=events.OPENAI_OTHER, kind="application/jsonl")
    assert (row.input_tokens, row.output_tokens, row.usage_source, row.cost) == (None, 200, "partial", None)
