"""Table of gateways side by side."""

from tests.bench.fleet import Figures, table


def figures(gateways: int, *, rate: float, all_us: float) -> Figures:
    return Figures(gateways, rate, 5.0, 9.0, 150.0, all_us, 1.0, 100, 100, 100)


def test_ratios_compare_sizes_within_a_round() -> None:
    one = [figures(1, rate=rate, all_us=200.0) for rate in (1000.0, 2000.0, 3000.0)]
    two = [figures(2, rate=rate, all_us=250.0) for rate in (1900.0, 3600.0, 5100.0)]
    _, first, second = table({1: one, 2: two}).splitlines()
    assert first.split() == ["1", "2,000", "1.00", "1.00", "5.0", "9.0", "150", "200", "1.00", "300,", "300,", "300"]
    assert second.split() == ["2", "3,600", "1.80", "1.60", "5.0", "9.0", "150", "250", "1.00", "300,", "300,", "300"]
