"""Patience for all tests of the dashboard; those of what gives up set its wait themselves."""

from collections.abc import Iterator

import pytest

from services.dashboard.auth.throttle import SignInThrottle
from tests.support import patience


@pytest.fixture(scope="session", autouse=True)
def patient_dashboard() -> Iterator[None]:
    """A dashboard that waits for as long as a busy machine takes, and throttles without a clock."""
    with pytest.MonkeyPatch.context() as patch:
        patience.wait_long(patch)
        patience.stop_clock(patch, SignInThrottle)  # its first wait of a second ends between two requests
        yield
