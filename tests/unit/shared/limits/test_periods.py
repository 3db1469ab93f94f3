"""Periods of budgets in time zones, and which ones exist."""

from datetime import UTC, datetime

import pytest

from shared.limits import periods


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "zone", "now", "start", "end"),
    [
        ("day", "UTC", "2026-11-29T23:59", "2026-11-29T00:00", "2026-11-30T00:00"),
        ("day", "Europe/Vienna", "2026-11-29T23:30", "2026-11-29T23:00", "2026-11-30T23:00"),
        ("day", "Asia/Kolkata", "2026-11-29T00:00", "2026-11-28T18:30", "2026-11-29T18:30"),
        ("day", "Europe/Vienna", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("day", "Europe/Vienna", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours
        ("day", "Atlantic/Azores", "2026-10-25T01:30", "2026-10-25T00:00", "2026-10-26T01:00"),  # its second midnight
        ("month", "America/Havana", "2026-11-01T05:30", "2026-11-01T04:00", "2026-12-01T05:00"),  # its second midnight
        ("week", "UTC", "2026-11-29T12:00", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("week", "UTC", "2026-11-30T00:00", "2026-11-30T00:00", "2026-12-07T00:00"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "America/Los_Angeles", "2026-12-01T07:59", "2026-11-01T07:00", "2026-12-01T08:00"),
        ("month", "UTC", "2028-02-29T00:00", "2028-02-01T00:00", "2028-03-01T00:00"),
    ],
)
def test_calendar_period_begins_and_ends_in_its_time_zone(
    period: str, zone: str, now: str, start: str, end: str
) -> None:
    assert periods.span(period, zone, at(now)) == (at(start), at(end))


def test_rolling_days_begin_at_a_quarter_of_an_hour_and_have_no_end() -> None:
    assert periods.span("30d", "Europe/Vienna", at("2026-11-29T10:29:59")) == (at("2026-10-30T10:15"), None)


@pytest.mark.parametrize("period", ["", "minute", "hour", "0d", "367d", "1.5d", "-1d", "30", "d", "month ", "Month"])
def test_unknown_periods_are_refused(period: str) -> None:
    with pytest.raises(ValueError, match="unknown period"):
        periods.check(period)


@pytest.mark.parametrize(
    "zone",
    ["localtime", "Factory", "posixrules", "", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe", "a" * 300],
)
def test_unknown_time_zones_are_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        periods.span("day", zone, at("2026-11-29T10:00"))
