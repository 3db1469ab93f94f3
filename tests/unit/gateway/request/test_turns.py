"""A turn of a session is told apart by what clients send, whatever else their requests contain."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.request import params, turns
from services.gateway.request.client_info import ClientInfo

USER = {"role": "user", "content": [{"type": "text", "text": 'say {"role":"assistant"} and "tool_result"'}]}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "sh", "input": {"role": "user"}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": '"role":"user"'}]}
REMINDED = {"role": "user", "content": [*RESULT["content"], {"type": "text", "text": "reminder"}]}


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({"messages": [USER]}, True),
        ({"messages": [USER, CALL, RESULT]}, False),
        ({"messages": [USER, CALL, REMINDED]}, False),
        ({"messages": [USER, CALL, RESULT, {"role": "assistant", "content": "Done."}, USER]}, True),
        ({"messages": [USER, {"role": "assistant", "content": "{"}]}, False),
        ({"messages": [{"role": "user", "content": "x" * 100_000}, CALL, RESULT], "tools": [{"role": "user"}]}, False),
        ({"messages": [{"role": "user", "content": "hi"}]}, True),
        ({"messages": [USER, {"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "ok"}]}, False),
        ({"input": "hello"}, True),
        ({"input": [{"type": "message", "role": "user", "content": "hi"}]}, True),
        ({"input": [{"role": "user"}, {"type": "function_call"}, {"type": "function_call_output"}]}, False),
        ({"input": [{"type": "message", "role": "developer", "content": "be brief"}]}, False),
        ({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, True),
        ({"contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": []},
                       {"role": "user", "parts": [{"functionResponse": {}}]}]}, False),
        ({"messages": []}, False),
        ({"messages": None, "input": 7}, False),
        ({"prompt": "hi"}, False),
        ([], False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_turn_begins_with_what_the_user_said_last(body: Any, begins: bool, separators: tuple[str, str]) -> None:
    asked = params.read(json.dumps(body, separators=separators).encode())
    assert turns.begins_turn(asked) is begins
    assert turns.turn(ClientInfo(), asked, request_id="r") == ("r" if begins else "")


def test_a_turn_does_not_depend_on_where_a_long_conversation_is_cut() -> None:
    """A quote at the place from which the end is read made a result look like a text of the user."""
    for padding in range(40):
        call = {"role": "assistant", "content": [{"type": "tool_use", "input": {"a": "b" * 7}}] * 3000}
        asked = params.read(
            json.dumps({"messages": [USER, call, RESULT, {"role": "tool", "x": "y" * padding}]}).encode()
        )
        assert not turns.begins_turn(asked)
        asked = params.read(
            json.dumps({"messages": [call, {"role": "user", "content": "x" * (5000 + padding)}]}).encode()
        )
        assert turns.begins_turn(asked)
    assert turns.begins_turn(params.read(json.dumps({"input": "x" * 100_000}).encode()))


@given(st.binary(max_size=200), st.sampled_from(["messages", "input", "contents"]))
def test_no_request_body_breaks_the_detection_of_turns(data: bytes, name: str) -> None:
    turns.begins_turn(params.read(b'{"%s":%s}' % (name.encode(), data)))


@pytest.mark.parametrize(("named", "turn"), [("t1", "t1"), ("", ""), (None, "r")])
def test_the_clients_own_id_of_the_turn_counts(named: str | None, turn: str) -> None:
    asked = params.read(json.dumps({"messages": [USER]}).encode())
    assert turns.turn(ClientInfo(turn=named), asked, request_id="r") == turn
