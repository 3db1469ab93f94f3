"""The turn of a request: all that follows from one message of the user.

Codex names it. Of other clients, a request begins a turn if the last thing in its conversation was said by the user.

The requests that follow within the turn end with results of tools. Only roles and types are looked at, where the
request has them last; this costs the same for a conversation of any length.
"""

import msgspec

from services.gateway.request.client_info import ClientInfo
from services.gateway.request.params import Ask

_TAILS = (4 << 10, 64 << 10)  # bytes of a conversation that are read, from its end: more if there is no role in fewer
_USER = (b'"role":"user"', b'"role": "user"')
# What stands behind the last role of a user that did not speak: results of tools, and whatever the model said.
_OTHERS = (
    b'"tool_result"',  # Anthropic
    b'_call_output"',  # Responses
    b'"functionResponse"',  # Gemini
    *(b'"role":"tool"', b'"role": "tool"'),
    *(b'"role":"assistant"', b'"role": "assistant"'),
    *(b'"role":"model"', b'"role": "model"'),
)


def turn(info: ClientInfo, asked: Ask, *, request_id: str) -> str:
    """The turn's id: the client's own, else the request's if it begins one, else ""."""
    if info.turn is not None:
        return info.turn
    return request_id if begins_turn(asked) else ""


def begins_turn(asked: Ask) -> bool:
    """Whether the last message of a request is the user's."""
    for conversation in (asked.messages, asked.input, asked.contents):
        if conversation:
            return _is_user_last(conversation)
    return False


def _is_user_last(conversation: msgspec.Raw) -> bool:
    whole = memoryview(conversation)
    if bytes(whole[:1]) == b'"':  # of the Responses API: a text alone
        return True
    for size in _TAILS:
        tail = bytes(whole[-size:])
        user = max(tail.rfind(mark) for mark in _USER)
        if any(tail.find(mark, max(user, 0)) >= 0 for mark in _OTHERS):
            return False
        if user >= 0:
            return True
    return False
