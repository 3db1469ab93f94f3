"""Durations of one kind go in, counted in buckets; Prometheus histograms come out: a bisect and an addition each."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily


class Durations:
    """Seconds, counted by upper bounds."""

    __slots__ = ("_bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` in seconds, ascending; what is longer than all of them counts too."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds with the counts up to each, as Prometheus wants them."""
        bounds = [*map(str, self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


def histogram(
    name: str, meaning: str, *, labels: Sequence[str], by: Mapping[tuple[str, ...], Durations]
) -> HistogramMetricFamily:
    """The durations by the values of `labels`, as one metric."""
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for values, found in by.items():
        family.add_metric(values, found.buckets(), sum_value=found.seconds)
    return family
