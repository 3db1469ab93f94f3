"""Dates of the token form."""

from datetime import UTC, datetime

import pytest

from services.dashboard.pages import keys
from shared.accounts_admin import AccountError


def test_a_token_that_would_be_expired_already_is_refused_in_the_page_s_own_words() -> None:
    with pytest.raises(AccountError, match=r"^expiry must be in the future$"):
        keys._expiry("2020-01-01")
    with pytest.raises(AccountError, match=r"^invalid date 'tomorrow'; use e\.g\. 2027-01-31$"):
        keys._expiry("tomorrow")
    assert keys._expiry("") is None
    assert keys._expiry("2199-01-31") == datetime(2199, 1, 31, tzinfo=UTC)
