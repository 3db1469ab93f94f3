"""Tokens that limits count, as each recorded response states them."""

import json
from typing import Any

import pytest

from services.gateway.usage import tap, used_tokens
from shared.events import Estimate, Evidence
from tests.support import paths

RECORDINGS = paths.RECORDINGS
INDEX: list[dict[str, Any]] = json.loads((RECORDINGS / "index.json").read_bytes())
# Tokens of other models within a response, and of audio, are counted otherwise; results of batches are under no limit.
OTHERWISE = {
    *("openai/images_svg.json", "anthropic/messages_advisor.json", "anthropic/batch_results.jsonl"),
    *("mistral/transcription.json", "mistral/transcription_stream.sse", "mistral/conversation.json"),
}
STATED = [
    row
    for row in INDEX
    if row["usage"] and None not in map(row["usage"].get, ("input", "output")) and row["file"] not in OTHERWISE
]


def evidence(row: dict[str, Any]) -> Evidence:
    dialect = next(
        name
        for part, name in (
            ("openai", "openai_chat"),
            ("responses", "openai_responses"),
            ("anthropic", "anthropic"),
            ("gemini", "gemini"),
            ("", "openai_chat"),
        )
        if part in f"{row['endpoint']} {row['provider']}"
    )
    opened = tap.open_tap(row["status"], row["headers"]["content-type"], "", dialect)
    opened.feed((RECORDINGS / row["file"]).read_bytes())
    picks, tools, truncated = opened.evidence()
    return Evidence(picks, tools, truncated)


@pytest.mark.parametrize("row", STATED, ids=lambda row: row["file"])
def test_limits_count_the_same_tokens_as_the_logger(row: dict[str, Any]) -> None:
    found = used_tokens.read(evidence(row))
    stated = row["usage"]["input"] + row["usage"]["output"]
    assert sum(found or (0,)) == stated


def test_estimate_counts_where_a_stream_was_cut() -> None:
    start = b'{"type":"message_start","message":{"usage":{"input_tokens":21,"output_tokens":1}}}'
    cut = Evidence((start,), estimate=Estimate(input=19, output=40))
    assert used_tokens.read(cut) == (21, 40)


@pytest.mark.parametrize(
    "pick",
    [
        b"{}",
        b'{"usage":null}',
        b'{"usage":"none","response":7}',
        b'{"usage":{"prompt_tokens":-5}}',
        b'{"usage":{"prompt_tokens":1e99}}',
        b'{"usage":{"prompt_tokens":0}}',
        b"not JSON",
    ],
)
def test_usage_that_says_nothing_is_unknown(pick: bytes) -> None:
    assert used_tokens.read(Evidence((pick,))) is None
