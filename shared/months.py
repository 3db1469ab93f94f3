"""Months of the calendar, as people write them: 2026-11."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo

FIRST_YEAR, LAST_YEAR = 1990, 2105  # ClickHouse's DateTime ends in 2106


def bounds(text: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the start of a month in the zone, and of the next month, as UTC.

    Raises ValueError unless the text is a month within these years.
    """
    first = date.fromisoformat(f"{text}-01")
    if not FIRST_YEAR <= first.year <= LAST_YEAR:
        raise ValueError(f"{text}: not between {FIRST_YEAR} and {LAST_YEAR}")
    following = (first + timedelta(days=31)).replace(day=1)
    start, end = (datetime.combine(day, time(), tzinfo=zone).astimezone(UTC) for day in (first, following))
    return start, end
