"""A request must be charged to exactly one token, and exactly one key must go out."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.request import credentials, header_names, headers
from services.gateway.request.errors import Refusal
from services.gateway.request.routing import Router
from shared.accounts_model import Account, Token
from shared.providers import BUILT_IN

NOW = datetime.now(UTC)
GOOD, REVOKED, EXPIRED = (f"sk-metrion-{c * 32}" for c in "abc")


class Directory(dict[str, Token]):
    def find(self, token: str) -> Token | None:
        return self.get(token)

    def account(self, name: str) -> Account | None:
        return None


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


def read(items: Iterable[tuple[str, str]], query: str) -> tuple[headers.ParsedHeaders, str]:
    names = header_names.split([(name.encode(), b"") for name, _ in items])
    return headers.read(names, [value for _, value in items], query)


def caller(*items: tuple[str, str], query: str = "", open_passthrough: bool = False) -> credentials.Caller:
    intake, _ = read(items, query)
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


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("provider", "key", "billing"),
    [
        ("anthropic", "sk-ant-oat01-abc", "subscription"),
        ("anthropic", "sk-ant-api03-abc", ""),
        ("anthropic", JWT, ""),
        ("openai", JWT, "subscription"),
        ("openai", "sk-proj-eyJ.a.b", ""),
        ("openai", "eyJhbGciOiJSUzI1NiJ9", ""),
        ("openai", "", ""),
        ("grok", JWT, ""),  # other providers may use such tokens as API keys
    ],
)
def test_a_sign_in_of_a_subscription_is_distinguished_from_an_api_key(provider: str, key: str, billing: str) -> None:
    assert credentials.billing(BUILT_IN[provider], key) == billing


OWN = ("x-api-key", "sk-ant-stale")


def test_a_stale_provider_key_beside_a_token_is_neither_used_nor_forwarded() -> None:
    intake, _ = read([("Authorization", f"Bearer {GOOD}"), OWN, ("x-goog-api-key", "another")], "")
    assert list(intake.forward) == ["Host"]
    found = caller(("Authorization", f"Bearer {GOOD}"), OWN, ("x-goog-api-key", "another"))
    assert (found.account, found.provider_key) == ("acme", "stored-openai")


def test_a_short_word_in_a_credentials_place_is_not_cut_out_of_the_evidence() -> None:
    assert "usage" not in caller(("Authorization", f"Bearer {GOOD}"), ("x-api-key", "usage")).secrets


def test_the_same_provider_key_in_two_places_is_one() -> None:
    found = caller(("Authorization", "Bearer sk-own"), ("x-api-key", "sk-own"), ("x-metrion-token", GOOD))
    assert found.provider_key == "sk-own"


@pytest.mark.parametrize("open_passthrough", [False, True])
def test_two_different_provider_keys_are_refused(open_passthrough: bool) -> None:
    items = [("Authorization", "Bearer sk-own"), OWN]
    if not open_passthrough:
        items.append(("x-metrion-token", GOOD))
    with pytest.raises(Refusal) as caught:
        caller(*items, open_passthrough=open_passthrough)
    assert (caught.value.status, caught.value.code) == (400, "keys_disagree")


BASIC = base64.b64encode(f"{GOOD}:".encode()).decode()
MISPLACED: list[tuple[list[tuple[str, str]], str]] = [
    ([("Authorization", f"Token {GOOD}")], ""),
    ([("Authorization", f"Basic {BASIC}")], ""),
    ([("Authorization", f'Bearer "{GOOD}"')], ""),
    ([("Authorization", f"Bearer Bearer {GOOD}")], ""),
    ([("X-Key", GOOD)], ""),
    ([("X-Auth-Token", f"Bearer {GOOD}")], ""),
    ([("OpenAI-Organization", GOOD)], ""),
    ([], f"api_key={GOOD}"),
    ([], f"a=1&access_token={GOOD}"),
    ([], f"api_key={GOOD.replace('-', '%2D')}"),
]


@pytest.mark.parametrize(("items", "query"), MISPLACED)
@pytest.mark.parametrize("beside", [[], [("x-api-key", GOOD)], [("x-metrion-token", GOOD)]])
def test_a_token_where_the_provider_would_see_it_is_refused(
    items: list[tuple[str, str]], query: str, beside: list[tuple[str, str]]
) -> None:
    with pytest.raises(Refusal) as caught:
        caller(*items, *beside, query=query)
    assert (caught.value.status, caught.value.code) == (400, "misplaced_token")
    assert GOOD not in caught.value.message


@pytest.mark.parametrize("key", ["a%0d%0ax:%20y", "a%00b", "%7f"])
def test_a_key_that_no_header_can_hold_is_refused_before_the_provider_is_blamed(key: str) -> None:
    with pytest.raises(Refusal) as refused:
        caller(("x-metrion-token", GOOD), query=f"key={key}")
    assert (refused.value.status, refused.value.code) == (400, "invalid_key")


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        ([("x-metrion-token", GOOD), ("x-metrion-token", REVOKED)], "tokens_disagree"),
        ([("x-metrion-token", REVOKED), ("X-Metrion-Token", GOOD), ("x-api-key", "own")], "tokens_disagree"),
        ([], "missing_token"),
        ([("Authorization", "Bearer sk-own")], "missing_token"),
        ([("Authorization", "Bearer sk-metrion-" + "f" * 32)], "invalid_token"),
        ([("x-metrion-token", "nonsense")], "invalid_token"),
        ([("x-api-key", REVOKED)], "invalid_token"),
        ([("x-api-key", EXPIRED)], "expired_token"),
        ([("x-api-key", GOOD), ("x-metrion-token", REVOKED)], "tokens_disagree"),
    ],
)
def test_caller_without_an_account_is_refused(items: list[tuple[str, str]], kind: str) -> None:
    with pytest.raises(Refusal) as caught:
        caller(*items)
    assert (caught.value.status, caught.value.code) == (401, kind)


def test_open_passthrough_is_recorded_under_the_default_account() -> None:
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
