"""Events of yesterday must be readable tomorrow, and a damaged message must be told from a good one."""

from datetime import UTC, datetime

import msgspec
import pytest

from shared import events
from shared.events import Envelope, Estimate, Evidence, GatewayBeat, Origin, RequestEvent, ResponseEvent

ENVELOPE = Envelope(
    "01a20d2a-5387-729d-91e1-bb444ceaba2d",
    "acme",
    "ci",
    "ann",
    {"project": "apollo"},
    "openai",
    events.OPENAI_CHAT,
    "POST /v1/chat/completions",
    "gpt-4o",
    True,
    datetime(2026, 11, 24, 10, 46, 47, 431460, tzinfo=UTC),
    "gateway-0",
)
REQUEST = RequestEvent(Origin("0123456789ab", 3, 1), ENVELOPE)
RESPONSE = ResponseEvent(
    Origin("0123456789ab", 3, 2),
    ENVELOPE,
    200,
    events.COMPLETE,
    "",
    "",
    "req_1",
    812,
    None,
    35,
    759,
    "",
    False,
    True,
    Evidence((b'{"usage":{}}',), {"web_search_call.search": 1}, False, {"service_tier": "flex"}, {}),
)
NAMED = msgspec.structs.replace(
    REQUEST,
    envelope=msgspec.structs.replace(
        ENVELOPE, client="claude-cli", client_version="2.1.332", session="0e1fb1a2", agent="cli"
    ),
)
SUBSCRIBED = msgspec.structs.replace(
    NAMED, envelope=msgspec.structs.replace(NAMED.envelope, billing=events.SUBSCRIPTION)
)
CONNECTED = msgspec.structs.replace(
    SUBSCRIBED, envelope=msgspec.structs.replace(SUBSCRIBED.envelope, connection="01a20d2a-5387-729d-91e1-bb444ceaba2c")
)
IN_TURN = msgspec.structs.replace(
    CONNECTED, envelope=msgspec.structs.replace(CONNECTED.envelope, turn="01a20d2a-5387-729d-91e1-bb444ceaba2b")
)
ESTIMATED = msgspec.structs.replace(RESPONSE, evidence=Evidence(estimate=Estimate(26, 9, True)))
BEAT = GatewayBeat("0123456789ab", 3, "gateway-0", datetime(2026, 11, 24, tzinfo=UTC), 2, 0, False, 17)

# Written by the release that first had them. Only add to these: never change one.
OLD_BYTES = {
    "request": (
        "93a77265717565737493ac30313233343536373839616203019cd92430316132306432612d353338372d373239642d393165"
        "312d626234343463656162613264a461636d65a26369a3616e6e81a770726f6a656374a661706f6c6c6fa66f70656e6169ab"
        "6f70656e61695f63686174b9504f5354202f76312f636861742f636f6d706c6574696f6e73a66770742d346fc3d7ff66de3a"
        "806b056b17a9676174657761792d30"
    ),
    "named": (
        "93a77265717565737493ac3031323334353637383961620301dc0010d92430316132306432612d353338372d373239642d39"
        "3165312d626234343463656162613264a461636d65a26369a3616e6e81a770726f6a656374a661706f6c6c6fa66f70656e61"
        "69ab6f70656e61695f63686174b9504f5354202f76312f636861742f636f6d706c6574696f6e73a66770742d346fc3d7ff66"
        "de3a806b056b17a9676174657761792d30aa636c617564652d636c69a7322e312e333332a83065316662316132a3636c69"
    ),
    "subscribed": (
        "93a77265717565737493ac3031323334353637383961620301dc0011d92430316132306432612d353338372d373239642d39"
        "3165312d626234343463656162613264a461636d65a26369a3616e6e81a770726f6a656374a661706f6c6c6fa66f70656e61"
        "69ab6f70656e61695f63686174b9504f5354202f76312f636861742f636f6d706c6574696f6e73a66770742d346fc3d7ff66"
        "de3a806b056b17a9676174657761792d30aa636c617564652d636c69a7322e312e333332a83065316662316132a3636c69ac"
        "737562736372697074696f6e"
    ),
    "connected": (
        "93a77265717565737493ac3031323334353637383961620301dc0012d92430316132306432612d353338372d373239642d"
        "393165312d626234343463656162613264a461636d65a26369a3616e6e81a770726f6a656374a661706f6c6c6fa66f7065"
        "6e6169ab6f70656e61695f63686174b9504f5354202f76312f636861742f636f6d706c6574696f6e73a66770742d346fc3"
        "d7ff66de3a806b056b17a9676174657761792d30aa636c617564652d636c69a7322e312e333332a83065316662316132a3"
        "636c69ac737562736372697074696f6ed92430316132306432612d353338372d373239642d393165312d62623434346365"
        "6162613263"
    ),
    "in_turn": (
        "93a77265717565737493ac3031323334353637383961620301dc0013d92430316132306432612d353338372d373239642d"
        "393165312d626234343463656162613264a461636d65a26369a3616e6e81a770726f6a656374a661706f6c6c6fa66f7065"
        "6e6169ab6f70656e61695f63686174b9504f5354202f76312f636861742f636f6d706c6574696f6e73a66770742d346fc3"
        "d7ff66de3a806b056b17a9676174657761792d30aa636c617564652d636c69a7322e312e333332a83065316662316132a3"
        "636c69ac737562736372697074696f6ed92430316132306432612d353338372d373239642d393165312d62623434346365"
        "6162613263d92430316132306432612d353338372d373239642d393165312d626234343463656162613262"
    ),
    "response": (
        "dc0010a8726573706f6e736593ac30313233343536373839616203029cd92430316132306432612d353338372d373239642d"
        "393165312d626234343463656162613264a461636d65a26369a3616e6e81a770726f6a656374a661706f6c6c6fa66f70656e"
        "6169ab6f70656e61695f63686174b9504f5354202f76312f636861742f636f6d706c6574696f6e73a66770742d346fc3d7ff"
        "66de3a806b056b17a9676174657761792d30ccc8a8636f6d706c657465a0a0a57265715f31cd032cc023cd02f7a0c2c39591"
        "c40c7b227573616765223a7b7d7d81b67765625f7365617263685f63616c6c2e73656172636801c281ac736572766963655f"
        "74696572a4666c657880"
    ),
    "estimated": (
        "dc0010a8726573706f6e736593ac30313233343536373839616203029cd92430316132306432612d353338372d373239642d"
        "393165312d626234343463656162613264a461636d65a26369a3616e6e81a770726f6a656374a661706f6c6c6fa66f70656e"
        "6169ab6f70656e61695f63686174b9504f5354202f76312f636861742f636f6d706c6574696f6e73a66770742d346fc3d7ff"
        "66de3a806b056b17a9676174657761792d30ccc8a8636f6d706c657465a0a0a57265715f31cd032cc023cd02f7a0c2c39690"
        "80c28080931a09c3"
    ),
    "beat": ("99a462656174ac30313233343536373839616203a9676174657761792d30d6ff6b04d3800200c211"),
}


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("request", REQUEST),
        ("named", NAMED),
        ("subscribed", SUBSCRIBED),
        ("connected", CONNECTED),
        ("in_turn", IN_TURN),
        ("response", RESPONSE),
        ("estimated", ESTIMATED),
        ("beat", BEAT),
    ],
)
def test_bytes_of_an_older_release_stay_readable(name: str, event: events.Event) -> None:
    assert events.decode(bytes.fromhex(OLD_BYTES[name])) == event


def test_a_message_is_its_events_in_order() -> None:
    bodies = [events.encode(event) for event in (REQUEST, RESPONSE, BEAT)]
    message = b"".join(events.frame(body) + body for body in bodies)
    assert list(events.frames(message)) == bodies


@pytest.mark.parametrize("damage", [lambda m: m[:-1], lambda m: m[:5], lambda m: m[:20] + b"\x00" + m[21:]])
def test_a_damaged_message_raises_an_error(damage: object) -> None:
    body = events.encode(REQUEST)
    message = events.frame(body) + body
    with pytest.raises(events.BadFrame):
        list(events.frames(damage(message)))  # type: ignore[operator]
