"""Writing accounts and tokens to a real nats-server: what two administrators do at once, and what a crash leaves."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext

from shared import accounts_admin, nats_client
from shared.accounts_admin import AccountError
from shared.accounts_model import Token
from tests.support import servers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def js(server: servers.NatsServer) -> AsyncIterator[JetStreamContext]:
    await servers.provision(server)
    nc = await nats_client.connect(server.url("admin"), service="admin")
    await accounts_admin.ensure_account(nc.jetstream(), "default")
    yield nc.jetstream()
    await nc.close()


async def active(js: JetStreamContext, name: str | None = None) -> dict[str, Token]:
    return (await accounts_admin.read(js)).active("default", name)


async def test_two_administrators_cannot_make_two_tokens_of_one_name(js: JetStreamContext) -> None:
    tries = [accounts_admin.create_token(js, account="default", name="same") for _ in range(6)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    tokens = [result for result in results if isinstance(result, str)]
    refused = [result for result in results if isinstance(result, AccountError)]
    assert (len(tokens), len(refused)) == (1, 5)
    assert list(await active(js, "same")) == [accounts_admin.token_hash(tokens[0])]


async def test_concurrent_creators_of_different_tokens_all_succeed(js: JetStreamContext) -> None:
    names = [f"app-{number}" for number in range(8)]
    tokens = await asyncio.gather(*(accounts_admin.create_token(js, account="default", name=name) for name in names))
    assert {token.name for token in (await active(js)).values()} == set(names)
    assert len(set(tokens)) == len(names)


async def test_seeding_a_known_token_again_changes_nothing_and_never_revives_it(js: JetStreamContext) -> None:
    token = accounts_admin.new_token()
    for _ in range(2):
        await accounts_admin.ensure_token(js, account="default", name="local", token=token, requester="me")
    before = await accounts_admin.read(js)
    assert [found.requester for found in before.tokens.values()] == ["me"]
    await accounts_admin.revoke_token(js, account="default", name="local")
    await accounts_admin.ensure_token(js, account="default", name="local", token=token)
    assert not await active(js)
    with pytest.raises(AccountError, match="32 lower-case hex"):
        await accounts_admin.ensure_token(js, account="default", name="x", token="sk-metrion-short")


async def test_a_revoked_name_is_free_again_and_the_old_token_stays_on_record(js: JetStreamContext) -> None:
    await accounts_admin.create_token(js, account="default", name="app")
    await accounts_admin.revoke_token(js, account="default", name="app")
    await accounts_admin.create_token(js, account="default", name="app")
    assert len((await accounts_admin.read(js)).tokens) == 2
    assert len(await active(js, "app")) == 1
    with pytest.raises(AccountError, match="no active token"):
        await accounts_admin.revoke_token(js, account="default", name="other")


async def test_regenerating_keeps_what_a_token_may_do(js: JetStreamContext) -> None:
    until = datetime.now(UTC) + timedelta(days=3)
    fields: dict[str, Any] = {
        "providers": ("openai", "xai"),
        "models": ("gpt-*",),
        "requester": "bot",
        "expires_at": until,
    }
    old = await accounts_admin.create_token(js, account="default", name="app", **fields)
    new = await accounts_admin.regenerate_token(js, account="default", name="app")
    tokens = (await accounts_admin.read(js)).tokens
    before, after = tokens[accounts_admin.token_hash(old)], tokens[accounts_admin.token_hash(new)]
    assert before.revoked_at and not after.revoked_at
    assert after.hint == new[-4:]
    assert after.providers == before.providers == ("openai", "grok")
    assert (after.models, after.requester, after.expires_at) == (("gpt-*",), "bot", until)


async def test_a_crash_amid_regeneration_leaves_a_valid_token_and_a_second_try_cleans_up(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts_admin.create_token(js, account="default", name="app")

    async def crash(*_: object) -> int:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(accounts_admin, "_revoke", crash)
        with pytest.raises(ConnectionError):
            await accounts_admin.regenerate_token(js, account="default", name="app")
    assert len(await active(js, "app")) == 2
    token = await accounts_admin.regenerate_token(js, account="default", name="app")
    assert list(await active(js, "app")) == [accounts_admin.token_hash(token)]


async def test_an_expired_token_is_not_regenerated_into_another_expired_one(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    await accounts_admin.create_token(js, account="default", name="app", expires_at=until)
    monkeypatch.setattr(accounts_admin, "_now", lambda: until)
    with pytest.raises(AccountError, match="expired already"):
        await accounts_admin.regenerate_token(js, account="default", name="app")
    assert await accounts_admin.regenerate_token(js, account="default", name="app", expires_at=None)


async def test_revoking_an_account_revokes_all_its_tokens_and_no_others(js: JetStreamContext) -> None:
    await accounts_admin.create_account(js, "other")
    for account in ("default", "other"):
        for name in ("one", "two"):
            await accounts_admin.create_token(js, account=account, name=name)
    assert await accounts_admin.revoke_account(js, "default") == 2
    found = await accounts_admin.read(js)
    assert not found.active("default") and len(found.active("other")) == 2
    with pytest.raises(AccountError, match="account 'nobody' does not exist"):
        await accounts_admin.revoke_account(js, "nobody")


async def test_an_error_about_a_taken_or_unknown_name_says_what_to_do(js: JetStreamContext) -> None:
    with pytest.raises(AccountError, match="already exists"):
        await accounts_admin.create_account(js, "default")
    with pytest.raises(AccountError, match="metrion account create team-a"):
        await accounts_admin.create_token(js, account="team-a", name="app")
    with pytest.raises(AccountError, match="'Antropic' is not a valid provider name"):
        await accounts_admin.create_token(js, account="default", name="app", providers=("Antropic",))


async def test_a_lost_acknowledgement_does_not_make_a_second_token_nor_an_error(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = js.publish
    lost: list[Any] = []

    async def publish_and_lose(*args: Any, **kwargs: Any) -> Any:
        answer = await publish(*args, **kwargs)
        if not lost:
            lost.append(answer)
            raise NatsTimeout
        return answer

    monkeypatch.setattr(js, "publish", publish_and_lose)
    token = await accounts_admin.create_token(js, account="default", name="app")
    assert lost and list(await active(js, "app")) == [accounts_admin.token_hash(token)]


async def test_without_a_bucket_the_error_says_who_makes_it(server: servers.NatsServer) -> None:
    nc = await nats_client.connect(server.url("admin"), service="admin")
    with pytest.raises(AccountError, match="provisioning job"):
        await accounts_admin.read(nc.jetstream())
    await nc.close()
