"""The npm packages must not notice Metrion: same objects, same errors, same retries; and each call is recorded exactly."""

import time
from decimal import Decimal

import pytest

from tests.clients.expected_rows import (
    EMBEDDED,
    FLASH,
    FLASH_STREAM,
    HAIKU_TOOLS,
    HAIKU_TOOLS_STREAM,
    MINI,
    MINI_STREAM,
    MINI_TOOLS,
    MISTRAL,
    MISTRAL_STREAM,
    SONNET,
    SONNET_STREAM,
    TERRA,
    TERRA_STREAM,
    Recorded,
    recorded,
    rows,
)
from tests.clients.programs import Way, run
from tests.support import servers
from tests.support.mock_provider import BUSY_ONCE, HELD
from tests.support.system import System

PATHS = {
    "openai.mjs": ("/openai/v1", "/v1"),
    "anthropic.mjs": ("", ""),
    "google.mjs": ("/gemini", ""),
    "mistral.mjs": ("/mistral", ""),
    "vercel.mjs openai": ("/openai/v1", "/v1"),
    "vercel.mjs anthropic": ("/v1", "/v1"),
}


CALLS: dict[tuple[str, str], list[Recorded]] = {
    ("openai.mjs", "chat"): [MINI],
    ("openai.mjs", "chat stream"): [MINI_STREAM],
    ("openai.mjs", "chat stream with usage"): [MINI_STREAM],
    ("openai.mjs", "tools"): [MINI_TOOLS],
    ("openai.mjs", "tools stream"): [MINI_TOOLS],
    ("openai.mjs", "stream helper"): [MINI_STREAM],
    ("openai.mjs", "responses"): [TERRA],
    ("openai.mjs", "responses stream"): [TERRA_STREAM],
    ("openai.mjs", "embeddings"): [EMBEDDED],
    ("anthropic.mjs", "messages"): [SONNET],
    ("anthropic.mjs", "messages stream"): [SONNET_STREAM],
    ("anthropic.mjs", "tools"): [HAIKU_TOOLS],
    ("anthropic.mjs", "tools stream"): [HAIKU_TOOLS_STREAM],
    ("anthropic.mjs", "stream helper"): [SONNET_STREAM],
    ("google.mjs", "generate"): [FLASH],
    ("google.mjs", "generate stream"): [FLASH_STREAM],
    ("mistral.mjs", "chat"): [MISTRAL],
    ("mistral.mjs", "chat stream"): [MISTRAL_STREAM],
    ("vercel.mjs", "openai chat"): [MINI],
    ("vercel.mjs", "openai chat stream"): [MINI_STREAM],
    ("vercel.mjs", "openai responses"): [TERRA],
    ("vercel.mjs", "openai agent"): [MINI_TOOLS, MINI],
    ("vercel.mjs", "anthropic"): [SONNET],
    ("vercel.mjs", "anthropic stream"): [SONNET_STREAM],
    ("vercel.mjs", "anthropic agent"): [HAIKU_TOOLS, SONNET],
}
ERRORS: dict[tuple[str, str], tuple[str, int | None]] = {
    # → the error's class and status
    ("openai.mjs", "error 401"): ("AuthenticationError", 401),
    ("openai.mjs", "error 429"): ("RateLimitError", 429),
    ("openai.mjs", "error 503"): ("InternalServerError", 503),
    ("openai.mjs", "error mid-stream"): ("APIError", None),
    ("anthropic.mjs", "error 401"): ("AuthenticationError", 401),
    ("anthropic.mjs", "error 429"): ("RateLimitError", 429),
    ("anthropic.mjs", "error mid-stream"): ("APIError", None),
    ("google.mjs", "error 429"): ("ApiError", 429),
    ("mistral.mjs", "error 429"): ("SDKError", 429),
    ("vercel.mjs", "openai error"): ("APICallError", 503),
    ("vercel.mjs", "anthropic error"): ("APICallError", 401),
}


def ways(metrion: System, program: str, call: str, **headers: str) -> tuple[Way, Way]:
    """Directly, and through Metrion."""
    paths = PATHS.get(program) or PATHS[f"{program} {call.split()[0]}"]
    return Way(metrion, paths, through=False, **headers), Way(metrion, paths, through=True, **headers)


@pytest.mark.parametrize(("program", "call"), CALLS)
def test_a_call_gives_the_same_result_and_is_recorded_exactly(metrion: System, program: str, call: str) -> None:
    direct, through = ways(metrion, program, call)
    wanted, found = run(program, call, direct, through)
    assert found == wanted
    assert found["result"]
    for row, expected in zip(rows(metrion, through, len(CALLS[program, call])), CALLS[program, call], strict=True):
        assert recorded(row) == expected
        assert row["outcome"] == "complete"
        assert (row["account"], row["token"], row["usage_source"]) == ("default", "test", "reported")
        assert row["stream"] is ("stream" in call)


@pytest.mark.parametrize(("program", "call"), ERRORS)
def test_an_error_is_of_the_same_class_and_is_recorded(metrion: System, program: str, call: str) -> None:
    direct, through = ways(metrion, program, call)
    wanted, found = run(program, call, direct, through)
    assert found == wanted
    name, status = ERRORS[program, call]
    assert (found["error"]["name"], found["error"]["status"]) == (name, status)
    (row,) = rows(metrion, through, 1)
    assert row["error_message"]
    if status is None:
        assert (row["status"], row["outcome"], row["cost_reason"]) == (200, "upstream_error", "broken_stream")
    else:
        assert (row["status"], Decimal(row["cost"])) == (status, 0)


@pytest.mark.parametrize(
    ("program", "call"), [("openai.mjs", "chat"), ("anthropic.mjs", "messages"), ("vercel.mjs", "openai chat")]
)
def test_client_retries_a_refused_request_after_the_stated_delay(metrion: System, program: str, call: str) -> None:
    direct, through = ways(metrion, program, call)
    for way in (direct, through):
        way.headers[BUSY_ONCE], way.retries = way.user, 2
    wanted, found = run(program, call, direct, through)
    assert found == wanted
    assert found["result"]
    refused, answered = rows(metrion, through, 2)
    assert (refused["status"], answered["status"]) == (429, 200)
    (expected,) = CALLS[program, call]
    assert (Decimal(refused["cost"]), Decimal(answered["cost"])) == (0, Decimal(expected.cost))


@pytest.mark.parametrize(
    ("program", "expected"),
    [("openai.mjs", MINI_STREAM), ("anthropic.mjs", SONNET_STREAM)],
    ids=["openai", "anthropic"],
)
def test_a_client_that_leaves_mid_stream_is_recorded_to_the_last_token(
    metrion: System, program: str, expected: Recorded
) -> None:
    direct, through = ways(metrion, program, "abort", **{HELD: program})
    wanted, found = run(program, "abort", direct, through)
    assert found == wanted
    assert found["result"]

    def is_draining() -> bool:  # the gateway notices by a second event that it cannot deliver
        metrion.provider.allowed[program] += 1
        time.sleep(0.5)
        return metrion.gateway.metric("metrion_gateway_draining") == 1

    servers.wait_for(is_draining, "the gateway to notice that the client has left")
    metrion.provider.allowed[program] += 1000
    (row,) = rows(metrion, through, 1)
    assert (row["outcome"], row["usage_source"]) == ("client_closed", "drained")
    assert recorded(row) == expected


@pytest.mark.parametrize("program", ["openai.mjs", "anthropic.mjs"])
def test_a_wrong_key_raises_the_sdks_own_error(metrion: System, program: str) -> None:
    _, way = ways(metrion, program, "")
    way.key = "sk-metrion-" + "0" * 32
    (found,) = run(program, "chat" if program == "openai.mjs" else "messages", way)
    assert (found["error"]["name"], found["error"]["status"]) == ("AuthenticationError", 401)
    assert "unknown or revoked" in found["error"]["message"]
