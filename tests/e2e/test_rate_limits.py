"""A limit set on the command line stops SDKs with their own rate-limit exception, and its refusals are rows."""

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google.genai import errors as genai_errors

from tests.e2e.sdk_calls import HELLO, Way
from tests.support import cli, servers
from tests.support.system import System, system


def metrion_cli(system: System, *arguments: str) -> str:
    """Run `metrion` as an administrator; its standard error."""

    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    done = cli.run(
        *arguments, env=kept | {"METRION_NATS_URL": system.nats.url("admin"), "METRION_DATA_DIR": "/nowhere"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def way(metrion: System) -> Way:
    return Way(metrion, through=True)


def openai_call(way: Way) -> None:
    way.openai().chat.completions.create(model="gpt-4o-mini", messages=[HELLO])


def anthropic_call(way: Way) -> None:
    way.anthropic().messages.create(model="claude-haiku-4-5", max_tokens=50, messages=[HELLO])


def gemini_call(way: Way) -> None:
    way.gemini().models.generate_content(model="gemini-3.8-flash", contents="x")


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        (openai_call, openai.RateLimitError),
        (anthropic_call, anthropic.RateLimitError),
        (gemini_call, genai_errors.ClientError),
    ],
    ids=["openai", "anthropic", "gemini"],
)
def test_sdk_raises_its_rate_limit_error_beyond_the_limit(
    metrion: System, way: Way, call: Callable[[Way], None], refused: type[Exception]
) -> None:
    name = f"one-{refused.__module__.split('.')[0]}"
    metrion_cli(metrion, "limit", "set", name, "--requests", "2", "--requester", way.user)
    assert way.user in metrion_cli(metrion, "limit", "list", "--json")
    asked = len(metrion.provider.requests)
    refusals: list[Exception] = []

    def is_refused() -> bool:  # the limit arrives within a second, and a new minute may begin
        try:
            call(way)
        except refused as error:
            refusals.append(error)
        return bool(refusals)

    servers.wait_for(is_refused, "a refusal")
    error = refusals[0]
    response: Any = error.response  # type: ignore[attr-defined]
    assert (response.status_code, response.headers["retry-after"].isdigit()) == (429, True)
    assert f"The limit {name} of 2 requests per minute is reached" in str(error)
    (row,) = metrion.wait_for_rows(1, f"requester = '{way.user}' AND status = 429")
    assert (row["error_type"], Decimal(row["cost"])) == ("rate_limit_exceeded", Decimal(0))
    allowed = metrion.wait_for_rows(2, f"requester = '{way.user}' AND status = 200")
    assert len(metrion.provider.requests) - asked == len(allowed)
    metrion_cli(metrion, "limit", "delete", name)
    servers.wait_for(lambda: _passes(call, way, refused), "requests to pass again")
    way.close()


def _passes(call: Callable[[Way], None], way: Way, refused: type[Exception]) -> bool:
    try:
        call(way)
    except refused:
        return False
    return True


def test_new_installation_limits_each_token_until_an_account_says_otherwise(tmp_path: Path) -> None:
    with system(tmp_path, default_requests_per_minute="") as new:  # as if it was not set
        way = Way(new, through=True)
        client = way.openai()

        def policies(tries: int) -> list[tuple[int, str]]:
            """Status and RateLimit-Policy of so many responses."""
            found = []
            for _ in range(tries):
                try:
                    response = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=[HELLO])
                    found.append((response.status_code, response.headers["ratelimit-policy"]))
                except openai.RateLimitError as error:
                    found.append((429, error.response.headers["ratelimit-policy"]))
            return found

        default = '"default";q=100;w=60'
        first = policies(100)
        assert {policy for _, policy in first} == {default}
        assert [status for status, _ in first].count(429) < 5, "a new minute may have begun, and it weighs the last one"
        servers.wait_for(lambda: (429, default) in policies(20), "a refusal")
        metrion_cli(new, "limit", "set", "own", "--requests", "5000", "--token", "test")
        servers.wait_for(lambda: policies(1) == [(200, '"own";q=5000;w=60')], "the account's own limit")
        way.close()
