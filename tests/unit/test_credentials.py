"""A request must be charged to exactly one token, and exactly one key must go out."""

from datetime import UTC, datetime, timedelta

import pytest

from services.gateway import credentials, headers
from services.gateway.errors import Refusal
from services.gateway.routing import Router
from shared.directory import Token
from shared.providers import BUILT_IN

NOW = datetime.now(UTC)
GOOD, REVOKED, EXPIRED = (f"sk-metrion-{c * 32}" for c in "abc")


class Directory(dict[str, Token]):
    def find(self, token: str) -> Token | None:
        return self.get(token)


class Keys(dict[str, str]):
    def find(self, account: str, provider: str) -> str:
        assert account == "acme"
        return self.get(provider, "")


KEYS = Keys({"openai": "stored-openai", "anthropic": "stored-anthropic"})
TOKENS = Directory(
    {
        GOOD: Token("acme", "ci", NOW),
        REVOKED: Token("acme", "old", NOW, revoked_at=NOW),
        EXPIRED: Token("acme", "brief", NOW, expires_at=NOW - timedelta(seconds=1)),
    }
)


def caller(*items: tuple[str, str], query: str = "", open_passthrough: bool = False) -> credentials.Caller:
    intake, _ = headers.read(items, query)
    return credentials.authenticate(
        intake, provider=BUILT_IN["openai"], directory=TOKENS, keys=KEYS, open_passthrough=open_passthrough
    )


@pytest.mark.parametrize(
    ("items", "query"),
    [
        ([("Authorization", f"Bearer {GOOD}")], ""),
        ([("authorization", f"bearer  {GOOD} ")], ""),
        ([("x-api-key", GOOD)], ""),
        ([("x-goog-api-key", GOOD)], ""),
        ([], f"key={GOOD}"),
        ([("x-api-key", GOOD), ("Authorization", f"Bearer {GOOD}"), ("x-metrion-token", GOOD)], ""),
        ([("x-metrion-token", GOOD)], ""),
    ],
)
def test_a_token_in_any_place_means_stored_mode(items: list[tuple[str, str]], query: str) -> None:
    found = caller(*items, query=query)
    assert (found.account, found.provider_key) == ("acme", "stored-openai")
    assert {GOOD, "stored-openai"} <= set(found.secrets)


def test_a_provider_key_with_a_token_beside_it_is_passed_through() -> None:
    found = caller(("Authorization", "Bearer sk-own"), ("x-metrion-token", GOOD))
    assert (found.account, found.provider_key) == ("acme", "sk-own")
    assert "stored-openai" not in found.secrets


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        ([], "missing_token"),
        ([("Authorization", "Bearer sk-own")], "missing_token"),
        ([("Authorization", "Bearer sk-metrion-" + "f" * 32)], "invalid_token"),
        ([("x-metrion-token", "nonsense")], "invalid_token"),
        ([("x-api-key", REVOKED)], "invalid_token"),
        ([("x-api-key", EXPIRED)], "expired_token"),
        ([("x-api-key", GOOD), ("x-metrion-token", REVOKED)], "tokens_disagree"),
    ],
)
def test_who_cannot_be_charged_is_refused(items: list[tuple[str, str]], kind: str) -> None:
    with pytest.raises(Refusal) as caught:
        caller(*items)
    assert (caught.value.status, caught.value.kind) == (401, kind)


def test_open_passthrough_books_to_default() -> None:
    found = caller(("Authorization", "Bearer sk-own"), open_passthrough=True)
    assert (found.account, found.token, found.provider_key) == ("default", None, "sk-own")


@pytest.mark.parametrize(
    ("path", "key", "header"),
    [
        ("v1/messages", "sk-ant-api1", ("x-api-key", "sk-ant-api1")),
        ("v1/messages", "sk-ant-oat01-x", ("Authorization", "Bearer sk-ant-oat01-x")),
        ("v1/chat/completions", "sk-ant-api1", ("Authorization", "Bearer sk-ant-api1")),
        ("openai/v1/responses", "k", ("Authorization", "Bearer k")),
        ("gemini/v1beta/models/m:generateContent", "k", ("x-goog-api-key", "k")),
        ("gemini/v1/chat/completions", "k", ("Authorization", "Bearer k")),
    ],
)
def test_the_key_goes_out_the_way_the_provider_takes_it(path: str, key: str, header: tuple[str, str]) -> None:
    route = Router(BUILT_IN).find(f"/api/proxy/{path}", native_key=False)
    assert route is not None
    assert credentials.credential_header(route.key_header, key) == header
