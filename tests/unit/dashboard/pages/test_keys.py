"""The form of a token: dates in the viewer's zone, and models that are probably misspelt."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.dashboard import token_form
from shared import providers
from shared.accounts_admin import AccountError
from shared.accounts_model import Token

ZURICH = ZoneInfo("Europe/Zurich")


def test_a_token_that_would_be_expired_already_is_refused_in_the_page_s_own_words() -> None:
    with pytest.raises(AccountError, match=r"^expiry must be in the future$"):
        token_form.expiry("2020-01-01", ZURICH)
    for text in ("tomorrow", "9999-12-31"):
        with pytest.raises(AccountError, match=rf"^invalid date '{text}'; use e\.g\. 2027-01-31$"):
            token_form.expiry(text, ZURICH)
    assert token_form.expiry("", ZURICH) is None


@pytest.mark.parametrize(
    ("zone", "end"),
    [
        ("UTC", datetime(2199, 2, 1, tzinfo=UTC)),
        ("Europe/Zurich", datetime(2199, 1, 31, 23, tzinfo=UTC)),
        ("America/New_York", datetime(2199, 2, 1, 5, tzinfo=UTC)),
    ],
)
def test_a_token_can_be_used_until_the_end_of_its_last_day_where_the_user_is(zone: str, end: datetime) -> None:
    assert token_form.expiry("2199-01-31", ZoneInfo(zone)) == end
    token = Token(account="a", name="n", created_at=end, expires_at=end)
    assert token_form.values(token, ZoneInfo(zone))["expires"] == "2199-01-31"


@pytest.mark.parametrize(
    ("models", "of", "strange"),
    [
        (("gpt-4o", "claude-*", "gpt-4o-2024-08-06"), (), ""),
        (("gpt-4o-mni", "claud-*"), (), "gpt-4o-mni, claud-*"),
        (("claude-*",), ("openai",), "claude-*"),
        (("my-llama",), ("own",), ""),
        ((), (), ""),
    ],
)
def test_a_model_that_no_provider_has_gets_a_warning(
    models: tuple[str, ...], of: tuple[str, ...], strange: str
) -> None:
    said = token_form.warnings({"models": models, "providers": of}, providers.load(None))
    assert said == (f" No known model matches {strange}: check the spelling." if strange else "")
