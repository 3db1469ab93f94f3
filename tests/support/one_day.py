"""A calendar day in UTC that does not end while a test counts in it."""

import time
from datetime import UTC, datetime, timedelta

_LONG_ENOUGH = timedelta(minutes=5)


def begin() -> datetime:
    """The present time; shortly before midnight, wait for the new day."""
    while (now := datetime.now(UTC)).date() != (now + _LONG_ENOUGH).date():
        time.sleep(1)
    return now
