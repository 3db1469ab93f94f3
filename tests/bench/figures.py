"""Medians and ratios of the rounds of a bench, as data and as a table."""

import statistics
from typing import Any, NamedTuple

from tests.bench.load import Outcome

GOALS = {"cpu": 1.0, "first_byte": 1.3, "cpu_per_chunk": 1.1}
MEMORY_GOAL = 100  # MB
_COLUMNS = ("CPU µs", "p50 ms", "p95 ms", "first ms", "first p95", "added ms", "req/s", "reads")


class Sample(NamedTuple):
    """One round of one peer: CPU seconds a request, and what was seen at full load and with one request at a time."""

    cpu: float
    nats_cpu: float  # of the nats-server, in the same time
    busy: Outcome
    single: Outcome


def summary(rounds: list[dict[str, Sample]], *, chunks: int) -> dict[str, Any]:
    """Of one case: each peer's medians, and the median of the rounds' ratios. `chunks` of an answer, 0 for JSON."""
    found: dict[str, Any] = {name: _medians([one[name] for one in rounds]) for name in rounds[0]}
    for values in found.values():
        values["added_ms"] = round(values["p50_ms"] - found["direct"]["p50_ms"], 3)
        if chunks:
            values["cpu_us_per_chunk"] = round(values["cpu_us"] / chunks, 2)
    found["gateway"]["nats_cpu_us"] = round(statistics.median(one["gateway"].nats_cpu for one in rounds) * 1e6, 1)
    cpu = sorted(one["gateway"].cpu / one["bare"].cpu for one in rounds)
    first = [one["gateway"].single.first_p50 / one["bare"].single.first_p50 for one in rounds]
    found["gateway / bare"] = {
        "cpu_per_chunk" if chunks else "cpu": round(statistics.median(cpu), 3),
        "spread": [round(cpu[len(cpu) // 4], 3), round(cpu[-1 - len(cpu) // 4], 3)],
        "first_byte": round(statistics.median(first), 3),
    }
    return found


def _medians(samples: list[Sample]) -> dict[str, float]:
    def median(values: list[float], digits: int) -> float:
        return round(statistics.median(values), digits)

    return {
        "cpu_us": median([one.cpu * 1e6 for one in samples], 1),
        "p50_ms": median([one.single.p50 * 1e3 for one in samples], 3),
        "p95_ms": median([one.single.p95 * 1e3 for one in samples], 3),
        "first_ms": median([one.single.first_p50 * 1e3 for one in samples], 3),
        "first_p95_ms": median([one.single.first_p95 * 1e3 for one in samples], 3),
        "requests_per_second": median([one.busy.rate for one in samples], 0),
        "reads": median([one.busy.reads for one in samples], 1),
    }


def table(report: dict[str, Any]) -> str:
    """The report as text: a row a peer, the ratios below each case."""
    lines = [f"{'':18}" + "".join(f"{column:>11}" for column in _COLUMNS)]
    for case, figures in report["cases"].items():
        lines.append(case)
        for name in ("direct", "bare", "gateway"):
            one = figures[name]
            values = (
                f"{one['cpu_us']:.0f}" if one["cpu_us"] else "–",
                *(f"{one[key]:.2f}" for key in ("p50_ms", "p95_ms", "first_ms", "first_p95_ms", "added_ms")),
                f"{one['requests_per_second']:.0f}",
                f"{one['reads']:.0f}",
            )
            lines.append(f"  {name:16}" + "".join(f"{value:>11}" for value in values))
        ratios = figures["gateway / bare"]
        low, high = ratios["spread"]
        goals = [
            f"{name.replace('_', ' ')} {ratios[name]:.2f} × (aim {GOALS[name]})" for name in GOALS if name in ratios
        ]
        lines.append(f"  gateway / bare: {', '.join(goals)}; CPU's middle half {low:.2f}–{high:.2f}")
    memory = ", ".join(f"{name} {size:.0f} MB" for name, size in report["memory_mb"].items())
    events = report["events"]
    lines.append(f"memory at its peak: {memory} (aim under {MEMORY_GOAL})")
    lines.append(f"events: {events['stored']} of {events['expected']} stored, {events['distinct']} distinct")
    lines.append("CPU and req/s with 32 requests at a time, latencies with one at a time (of a stream: a short one).")
    return "\n".join(lines)
