"""Which limits cover a request, and which counters they use."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.events import OPENAI_CHAT, Envelope
from shared.limits import scopes
from shared.limits.model import Limit, Scope

NOW = datetime(2026, 11, 29, tzinfo=UTC)
REQUEST = Envelope(
    "id", "acme", "app", "ann", {"team": "search"}, "openai", OPENAI_CHAT, "POST /v1/chat/completions", "gpt-4o",
    False, NOW, "gw",
)  # fmt: skip


def limit(name: str = "one", *, account: Any = "acme", amount: Any = 100, **scope: Any) -> Limit:
    return Limit(account=account, name=name, created_at=NOW, amount=amount, scope=Scope(**scope))


@pytest.mark.parametrize(
    ("scope", "each"),
    [
        ({}, ()),
        ({"token": "app"}, ()),
        ({"token": "other"}, None),
        ({"token": "*"}, ("app",)),
        ({"token": "*", "requester": "*"}, ("app", "ann")),
        ({"requester": "bob"}, None),
        ({"provider": "openai"}, ()),
        ({"provider": "anthropic"}, None),
        ({"model": "gpt-*"}, ()),
        ({"model": "gpt-4"}, None),
        ({"model": "claude-*"}, None),
        ({"metadata_key": "team", "metadata_value": "search"}, ()),
        ({"metadata_key": "team", "metadata_value": "ads"}, None),
        ({"metadata_key": "team", "metadata_value": "*"}, ("search",)),
        ({"metadata_key": "project", "metadata_value": "*"}, None),
    ],
)
def test_limit_covers_only_requests_in_its_scope(scope: dict[str, str], each: tuple[str, ...] | None) -> None:
    assert scopes.subject(limit(**scope), REQUEST) == each


def test_limit_of_another_account_covers_nothing() -> None:
    assert scopes.subject(limit(account="other"), REQUEST) is None


def test_requests_without_requester_are_in_no_limit_of_each_requester() -> None:
    anonymous = msgspec.structs.replace(REQUEST, requester="")
    assert scopes.subject(limit(requester="*"), anonymous) is None


def test_limit_of_a_named_token_replaces_the_one_of_each_token() -> None:
    limits = [
        limit("each", token="*"),
        limit("named", token="app"),
        limit("all"),
        limit("mini", token="*", model="gpt-*"),
    ]
    assert {found.name for found, _ in scopes.applicable(limits, REQUEST)} == {"named", "all", "mini"}


def test_limits_of_a_token_are_its_own_those_of_each_and_those_of_all() -> None:
    limits = [
        limit("each", token="*"),
        limit("named", token="app"),
        limit("other", token="ci"),
        limit("all"),
        limit("people", requester="*"),
        limit("mini", token="*", model="gpt-*"),
    ]
    assert [found.name for found in scopes.of_token(limits, "app")] == ["named", "all", "people", "mini"]
    assert [found.name for found in scopes.of_token(limits, "new")] == ["each", "all", "people", "mini"]


def test_counter_is_kept_when_the_amount_changes_and_new_when_the_scope_changes() -> None:
    assert scopes.counter(limit(token="*"), ("app",)) == scopes.counter(limit(token="*", amount=5), ("app",))
    assert scopes.counter(limit(token="*"), ("app",)) != scopes.counter(limit(token="*"), ("other",))
    assert scopes.counter(limit(), ()) != scopes.counter(limit(model="gpt-*"), ())
    assert not set(" >*") & set(scopes.counter(limit(token="*"), ("a.b > *",)))
