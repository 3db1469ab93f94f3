"""When passes of the rollup are due, and how their work is cut into statements."""

from datetime import UTC, datetime, timedelta

import pytest

from services.logger.rollup import last_night
from shared import rollup

START = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(("now", "due"), [("02:00", "2026-11-20"), ("01:59", "2026-11-19"), ("23:59", "2026-11-20")])
def test_a_nightly_pass_is_due_at_two(now: str, due: str) -> None:
    moment = datetime.fromisoformat(f"2026-11-20T{now}:00+00:00")
    assert last_night(moment) == datetime.fromisoformat(f"{due}T02:00:00+00:00")


def test_no_statement_reads_more_rows_than_it_may_unless_a_bucket_alone_does() -> None:
    some = rollup.STATEMENT_ROWS // 2
    sizes = [some, some, 1, 5 * some, 0, some]
    pieces = list(rollup.chunks([(START + number * rollup.BUCKET, size) for number, size in enumerate(sizes)]))
    assert [len(piece) for piece in pieces] == [2, 1, 1, 2]
    assert [bucket for piece in pieces for bucket in piece] == [START + number * rollup.BUCKET for number in range(6)]


def test_no_statement_writes_into_more_days_than_an_insert_may() -> None:
    buckets = [START + number * timedelta(days=7) for number in range(30)]
    for piece in rollup.chunks([(bucket, 1) for bucket in buckets]):
        assert piece[-1] - piece[0] <= timedelta(days=40)
    assert list(rollup.chunks([])) == []


def test_days_are_those_that_the_period_touches() -> None:
    noon = START + timedelta(hours=12)
    assert list(rollup.days(noon, noon + timedelta(days=1))) == [START, START + timedelta(days=1)]
    assert list(rollup.days(START, START + timedelta(days=1))) == [START]
    assert list(rollup.days(noon, START)) == []
