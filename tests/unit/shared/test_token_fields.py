"""What a token may contain is checked before anything is written."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from nats.js import JetStreamContext

from shared import accounts_admin, api_keys
from shared.accounts_admin import AccountError

NOT_REACHED = cast(JetStreamContext, None)
BEYOND = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=12)))  # its time in UTC is in year 10000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expires_at": BEYOND}, "before the year 10000"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expired already"),
        ({"requester": "ann\r\nx-metrion-user: bob"}, "a requester has at most"),
        ({"requester": "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 129}, "256 bytes"),
        ({"models": ("gpt-*", "a\0b")}, "a model has at most"),
        ({"models": ("x" * 257,)}, "a model has at most"),
        ({"models": ("",)}, "none of them empty"),
        ({"models": ("x",) * 201}, "at most 200 models"),
    ],
)
async def test_a_token_that_could_not_be_shown_or_used_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(AccountError, match=reason):
        await accounts_admin.create_token(NOT_REACHED, account="default", name="x", **fields)


async def test_an_api_key_does_not_expire_beyond_the_calendar() -> None:
    with pytest.raises(AccountError, match="before the year 10000"):
        await api_keys.create(NOT_REACHED, name="x", role="read", expires_at=BEYOND)


def test_an_expiry_is_kept_in_utc() -> None:
    later = datetime(2999, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    kept = accounts_admin.expiry(later, "it")
    assert kept == later and kept is not None and kept.tzinfo is UTC
