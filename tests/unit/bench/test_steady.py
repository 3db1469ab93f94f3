"""What a run at full load comes to."""

from tests.bench.steady import Reading, line, summary

READINGS = [
    Reading(0, 60.0, 1.0, [10, 2, 1], [5, 0, 0]),
    Reading(100_000, 64.0, 21.0, [12, 3, 1], [45, 0, 0]),
    Reading(200_000, 63.0, 41.0, [14, 4, 2], [85, 10, 10]),
]


def test_the_collectors_work_is_shown_per_hundred_thousand_requests() -> None:
    assert "2.0, 1.0, 0.5 collections of generations 0, 1, 2; 50 objects found unreachable" in summary(READINGS)


def test_memory_is_shown_at_the_start_after_a_minute_and_in_the_second_half() -> None:
    assert "60.0 MB at the start, 64.0 after a minute, 63.0 at the end; 63.0 to 63.0 MB" in summary(READINGS)


def test_each_minute_shows_its_own_rate_and_cpu() -> None:
    assert line(2, READINGS) == ("minute   2:     200,000 requests,   63.0 MB, 1,667 requests/s, 200 µs of CPU each")
