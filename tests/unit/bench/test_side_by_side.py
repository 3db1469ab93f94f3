"""Summary and table of the gateway beside other products."""

from tests.bench.side_by_side import Sample, summary, table

ROUNDS = {
    "metrion": [Sample(150.0, 1.0), Sample(330.0, 3.0), Sample(100.0, 2.0)],
    "sglang-router": [Sample(100.0, 1.0), Sample(300.0, 1.0), Sample(200.0, 1.0)],
}


def test_ratios_are_those_within_a_round_to_the_rust_router() -> None:
    found = summary(ROUNDS)
    assert found["metrion"] == {"cpu_us": 150, "ratio": 1.1, "ratio_low": 0.5, "ratio_high": 1.5, "first_ms": 2.0}
    assert found["sglang-router"]["ratio"] == 1.0


def test_without_the_router_ratios_are_to_the_first_peer() -> None:
    found = summary(dict.fromkeys(("first", "second"), ROUNDS["metrion"]))
    assert found["second"]["ratio"] == 1.0


def test_cpu_of_a_stream_is_also_shown_per_thousand_chunks() -> None:
    found = summary(ROUNDS, chunks=200)
    assert found["metrion"]["ms_per_1000_chunks"] == 0.75


def test_the_table_has_a_row_for_each_peer_of_each_case() -> None:
    report = {
        "cases": {"1 KB JSON": summary(ROUNDS), "stream": summary(ROUNDS, chunks=200)},
        "records": {"metrion": "everything", "sglang-router": "nothing"},
        "memory_mb": {"metrion": 60, "sglang-router": 20},
        "events": {"stored": 4, "distinct": 4},
        "load": 0.5,
    }
    lines = table(report).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [*ROUNDS, *ROUNDS]
    assert next(line for line in lines if line.startswith("  metrion")).split() == [
        *("metrion", "150", "1.10", "0.50–1.50", "2.00"),
    ]
    assert "metrion: records everything; 60 MB" in lines
