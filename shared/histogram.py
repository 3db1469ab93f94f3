"""Cheap duration histograms: one bisect and one addition per observation."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily


class Durations:
    """Durations in seconds, counted in buckets."""

    __slots__ = ("_bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: upper bounds of the buckets in seconds, ascending; +Inf is implied."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Observe a duration."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds with cumulative counts, as Prometheus expects them."""
        bounds = [*map(str, self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


def histogram(
    name: str, documentation: str, *, labels: Sequence[str], by: Mapping[tuple[str, ...], Durations]
) -> HistogramMetricFamily:
    """Build one metric from durations by label values."""
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for values, durations in by.items():
        family.add_metric(values, durations.buckets(), sum_value=durations.seconds)
    return family
