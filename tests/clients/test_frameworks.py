"""LangChain, LiteLLM and Pydantic AI with two changed values, base URL and key: the same results, and each call recorded."""

from typing import Any

import pytest

from tests.clients.expected_rows import (
    HAIKU_TOOLS,
    HAIKU_TOOLS_STREAM,
    MINI,
    MINI_STREAM,
    MINI_TOOLS,
    SONNET,
    SONNET_STREAM,
    Recorded,
    recorded,
)
from tests.clients.programs import Way, run
from tests.support.system import System

PROGRAMS = ("langchain_calls.py", "litellm_calls.py", "pydantic_ai_calls.py")
PATHS = {"openai": ("/openai/v1", "/v1"), "anthropic": ("", "")}
CALLS = {
    "openai chat": [MINI],
    "openai stream": [MINI_STREAM],
    "openai tools": [MINI_TOOLS],
    "anthropic chat": [SONNET],
    "anthropic stream": [SONNET_STREAM],
    "anthropic tools": [HAIKU_TOOLS],
}
AGENTS = {  # they call the tool and go on to an answer, and always stream from Anthropic
    "openai tools": [MINI_TOOLS, MINI],
    "anthropic chat": [SONNET_STREAM],
    "anthropic tools": [HAIKU_TOOLS_STREAM, SONNET_STREAM],
}
STREAMED = (MINI_STREAM, SONNET_STREAM, HAIKU_TOOLS_STREAM)


class StoredRows:
    """Rows by when they came: these clients say nothing of who they are."""

    def __init__(self, metrion: System) -> None:
        self.metrion = metrion
        self.before = len(metrion.rows(columns="id"))

    def since(self, count: int) -> list[dict[str, Any]]:
        """The rows since: `count`, and not one more."""
        found = self.metrion.wait_for_rows(self.before + count)[self.before :]
        assert len(found) == count
        return found


def both(metrion: System, program: str, call: str) -> list[Any]:
    """What came of it directly, and through Metrion."""
    paths = PATHS[call.split()[0]]
    return run(program, call, Way(metrion, paths, through=False), Way(metrion, paths, through=True))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_call_gives_the_same_result_and_is_recorded_exactly(metrion: System, program: str, call: str) -> None:
    rows = StoredRows(metrion)
    direct, through = both(metrion, program, call)
    assert through == direct
    assert through["result"]
    expected: list[Recorded] = (AGENTS if "pydantic" in program else {}).get(call, CALLS[call])
    found = rows.since(len(expected))
    assert [recorded(row) for row in found] == expected
    for row in found:
        assert (row["outcome"], row["usage_source"], row["requester"]) == ("complete", "reported", "")
        assert row["stream"] is (recorded(row) in STREAMED)


@pytest.mark.parametrize("provider", PATHS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_error_is_of_the_same_class_and_is_recorded(metrion: System, program: str, provider: str) -> None:
    rows = StoredRows(metrion)
    direct, through = both(metrion, program, f"{provider} error")
    assert through == direct
    assert "Error" in through["error"]["name"]
    (row,) = rows.since(1)
    assert row["status"] == through["error"]["status"]
    assert row["error_message"]
