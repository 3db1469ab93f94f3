"""Channels that are refused, and why."""

from typing import Any

import pytest

from shared.accounts_admin import AccountError
from shared.alerts import channel_admin
from shared.alerts.model import Channel
from shared.vault import Vault
from tests.support.alert_messages import NOW, VAULT


def channel(**fields: Any) -> Channel:
    given: dict[str, Any] = {
        "account": "acme",
        "name": "ops",
        "created_at": NOW,
        "kind": "email",
        "recipients": ("a@b.example",),
    }
    return Channel(**given | fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "channel name"),
        ({"name": "a.b"}, "channel name"),
        ({"name": "-a"}, "channel name"),
        ({"name": "a" * 41}, "channel name"),
        ({"kind": "slack"}, "only channels of kind email"),
        ({"recipients": ()}, "1 to 20 recipients"),
        ({"recipients": ("a@b.example",) * 21}, "1 to 20 recipients"),
    ],
)
def test_a_channel_needs_what_its_kind_needs(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(AccountError, match=reason):
        channel_admin.check(channel(**fields))


@pytest.mark.parametrize(
    "address",
    ["ops@example.com", "a.b+c@example.co.uk", "o'neil@x-y.example", "root@localhost", "a@xn--e1aybc.example"],
)
def test_an_e_mail_address_is_accepted(address: str) -> None:
    channel_admin.check(channel(recipients=(address,)))


@pytest.mark.parametrize(
    "address",
    [
        "", "ops", "@example.com", "ops@", "a@b@c.example", "a b@example.com", "a@example.com\r\nBcc: b@example.com",
        "a@example.com\n", "Ops <ops@example.com>", "a@example.com, b@example.com", "ä@example.com", "a@exämple.com", ".a@example.com",
        "a..b@example.com", "a@-example.com", "a@example..com", '"a"@example.com', "a@[127.0.0.1]", "a" * 250 + "@example.com", "a@e;x",
    ],
)  # fmt: skip
def test_what_is_no_e_mail_address_is_refused(address: str) -> None:
    with pytest.raises(AccountError, match="not an e-mail address"):
        channel_admin.check(channel(recipients=(address,)))


@pytest.mark.parametrize("text", ["http//secret", "https://user:secret@host/", "https://host/sec ret"])
def test_a_bad_url_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(AccountError, match="a URL is") as refused:
        channel_admin.sealed_url(VAULT, text, account="acme", channel="ops")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "is_routing_key"),
    [("short", False), ("with spaces in the middle", False), ("ü" * 20, False), ("secret" * 4, True)],
)
def test_a_bad_key_is_refused_without_repeating_it(text: str, is_routing_key: bool) -> None:
    with pytest.raises(AccountError, match="key") as refused:
        channel_admin.sealed_key(VAULT, text, account="acme", channel="ops", is_routing_key=is_routing_key)
    assert text not in str(refused.value)


def test_without_a_secret_key_nothing_is_stored_in_plain_text() -> None:
    with pytest.raises(AccountError, match="METRION_SECRET_KEY"):
        channel_admin.sealed_url(Vault([]), "https://host/x", account="acme", channel="ops")
    with pytest.raises(AccountError, match="METRION_SECRET_KEY"):
        channel_admin.sealed_key(Vault([]), "k" * 20, account="acme", channel="ops")
