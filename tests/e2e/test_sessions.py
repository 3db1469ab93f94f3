"""Calls of the providers' own SDKs, as coding agents make them, have client, session and agent in their rows."""

import uuid

import anthropic
import openai
import pytest

from tests.e2e.sdk_calls import CALLS, Way
from tests.support.system import System

CLAUDE_CODE = {"x-claude-code-session-id": str(uuid.uuid4()), "x-app": "cli"}
CODEX = {
    "session-id": str(uuid.uuid4()),
    "originator": "codex_exec",
    "x-codex-turn-metadata": '{"turn_id": "1", "agent_name": "reviewer"}',
}


@pytest.mark.parametrize(
    ("name", "sent", "client", "version", "agent"),
    [
        ("anthropic stream", CLAUDE_CODE, "Anthropic/Python", anthropic.__version__, "cli"),
        ("openai responses", CODEX, "OpenAI/Python", openai.__version__, "reviewer"),
    ],
)
def test_a_row_has_the_client_session_and_agent_that_its_headers_name(
    metrion: System, name: str, sent: dict[str, str], client: str, version: str, agent: str
) -> None:
    way = Way(metrion, through=True)
    way.headers |= sent
    CALLS[name][0](way)
    way.close()
    (row,) = metrion.wait_for_rows(1, f"requester = '{way.user}'")
    assert (row["client"], row["client_version"], row["agent"]) == (client, version, agent)
    assert row["session"] == next(iter(sent.values()))
    received = {key.lower(): value for key, value in metrion.provider.requests[-1].headers.items()}
    assert sent.items() <= received.items()
