"""Client, session and agent are read from what clients send; no value, however odd, refuses or breaks a request."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.request import client_info, header_names, headers
from services.gateway.request.client_info import ClientInfo
from services.gateway.request.errors import Refusal
from tests.support.strategies import TextSample, header_texts

UUID = "0e1fb1a2-6f0a-4c02-9a5a-0d8e7f7a3c11"
TURN = json.dumps({"installation_id": UUID, "session_id": UUID, "agent_name": "reviewer", "sandbox": None})


def info(*items: tuple[str, str]) -> ClientInfo:
    names = header_names.split([(name.encode("utf-8", "surrogateescape"), b"") for name, _ in items])
    parsed, _ = headers.read(names, [value for _, value in items], "")
    given = headers.read_metrion(parsed.metrion, "")
    return client_info.read(parsed.identifying, session=given.session, agent=given.agent)


@pytest.mark.parametrize(
    ("user_agent", "client", "version"),
    [
        ("claude-cli/2.1.332 (external, sdk-cli)", "claude-cli", "2.1.332"),
        ("codex_exec/0.171.0 (Debian 13.0.0; x86_64) unknown", "codex_exec", "0.171.0"),
        ("GeminiCLI-tui/0.61.0/gemini-3-pro (linux; x64; terminal)", "GeminiCLI-tui", "0.61.0"),
        ("opencode/1.18.33 ai-sdk/provider-utils/4.0.1", "opencode", "1.18.33"),
        ("OpenAI/JS 5.20.1", "OpenAI/JS", "5.20.1"),
        ("AsyncAnthropic/Python 1.17.0", "AsyncAnthropic/Python", "1.17.0"),
        ("ai-sdk/openai-compatible/1.0.3", "ai-sdk/openai-compatible", "1.0.3"),
        ("python-httpx/v0.28", "python-httpx", "0.28"),
        ("curl", "curl", ""),
        ("2.0", "2.0", ""),
        ("/1.0", "", "1.0"),
        ("  ", "", ""),
        ("caf\udcc3\udca9/1", "café", "1"),
        ("x" * 5000 + "/1", "x" * 64, ""),
    ],
)
def test_client_is_the_first_product_of_the_user_agent(user_agent: str, client: str, version: str) -> None:
    assert info(("User-Agent", user_agent)) == ClientInfo(client, version)


@pytest.mark.parametrize(
    ("items", "session", "agent"),
    [
        ([("X-Claude-Code-Session-Id", UUID), ("x-app", "cli")], UUID, "cli"),
        ([("X-Claude-Code-Session-Id", UUID), ("x-app", "cli"), ("x-claude-code-agent-id", "a1")], UUID, "a1"),
        ([("session-id", UUID), ("thread-id", "t"), ("originator", "codex_exec")], UUID, "codex_exec"),
        ([("session-id", UUID), ("originator", "codex_exec"), ("X-Codex-Turn-Metadata", TURN)], UUID, "reviewer"),
        ([("session_id", UUID)], UUID, ""),
        ([("x-session-id", "ses_1"), ("x-session-affinity", "ses_2")], "ses_1", ""),
        ([("x-session-affinity", "ses_2")], "ses_2", ""),
        ([("x-affinity", "ses_3")], "ses_3", ""),
        ([("x-affinity", "ses_3"), ("session-id", " ")], "ses_3", ""),
    ],
)
def test_session_and_agent_of_known_clients(items: list[tuple[str, str]], session: str, agent: str) -> None:
    found = info(("User-Agent", "a/1"), *items)
    assert (found.session, found.agent) == (session, agent)


@pytest.mark.parametrize(
    ("metadata", "turn"),
    [
        (None, None),
        ({"turn_id": "", "request_kind": "prewarm"}, ""),
        ({"turn_id": "own", "agent_name": "searcher", "root_turn_id": "root"}, "root"),
        ({"turn_id": "own"}, "own"),
        ({"turn_id": " \n" + "x" * 300}, "x" * 256),
        ({"turn_id": 7}, None),
    ],
)
def test_codex_names_the_turn_of_the_user(metadata: dict[str, object] | None, turn: str | None) -> None:
    sent = [] if metadata is None else [("x-codex-turn-metadata", json.dumps(metadata))]
    assert info(("User-Agent", "codex_exec/1"), ("session-id", UUID), *sent).turn == turn


def test_explicit_headers_win_and_are_not_forwarded() -> None:
    items = [("session-id", "theirs"), ("x-app", "cli"), ("x-metrion-session", "J%C3%B6rg 1"), ("x-metrion-agent", "b")]
    found = info(*items)
    assert (found.session, found.agent) == ("Jörg 1", "b")
    names = header_names.split([(name.encode(), b"") for name, _ in items])
    parsed, _ = headers.read(names, [value for _, value in items], "")
    assert list(parsed.forward.items()) == [("Host", ""), ("session-id", "theirs"), ("x-app", "cli")]


@pytest.mark.parametrize("name", ["x-metrion-session", "x-metrion-agent"])
@pytest.mark.parametrize("value", ["x" * 257, "a\x01b", "a%0Ab"])
def test_an_invalid_explicit_header_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Refusal, match=name):
        info((name, value))


@pytest.mark.parametrize(
    "metadata", ["", "{", "[]", "null", '{"agent_name": 5}', '{"agent_name": null}', "[" * 9000, "\udcff"]
)
def test_turn_metadata_that_cannot_be_read_leaves_the_next_header_to_name_the_agent(metadata: str) -> None:
    assert info(("x-codex-turn-metadata", metadata), ("originator", "codex_exec")).agent == "codex_exec"


@given(header_texts())
def test_a_session_beyond_ascii_is_read_as_it_was_meant(sample: TextSample) -> None:
    wire = sample.wire.decode("utf-8", "surrogateescape")
    found = info(("session-id", wire)).session
    if sample.form in ("percent", "rfc8187"):  # ids are not escaped: what looks like an escape is one's own
        assert found == wire
    else:
        assert found == sample.text


odd = st.binary(max_size=600).map(lambda data: data.decode("utf-8", "surrogateescape"))


@given(st.dictionaries(st.sampled_from(sorted(header_names.IDENTIFYING)), odd))
def test_any_bytes_give_short_printable_text_that_an_event_can_hold(values: dict[str, str]) -> None:
    found = info(*values.items())
    for text in (found.client, found.client_version, found.session, found.agent):
        assert len(text.encode()) <= 256
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)
        assert text == text.strip()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=ClientInfo) == found


def test_the_products_of_changing_user_agents_are_forgotten_in_time() -> None:
    for number in range(3000):
        info(("User-Agent", f"tool-{number}/1"))
    assert len(client_info._products) <= 1024
