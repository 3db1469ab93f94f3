"""Command line and figures of the benchmarks over a month of requests."""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import uvloop

Report = dict[str, Any]


def run(
    name: str,
    about: str | None,
    measure: Callable[..., Coroutine[Any, Any, Report]],
    text: Callable[[Report], str],
    *,
    rounds: str = "",
) -> Report:
    """Read the options of the bench of this name, measure, and print the report.

    `measure` gets a temporary folder, ClickHouse's folder, `count` of requests, and `rounds` if there is an option for
    them: what it repeats.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{name}", description=about)
    parser.add_argument("--rows", type=int, default=1_000_000, help="requests (default 1000000; 10000000 takes 4 GB)")
    if rounds:
        parser.add_argument("--rounds", type=int, default=20, help=f"times that each {rounds} (default 20)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep ClickHouse's data there, and use it again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    repeated = {"rounds": options.rounds} if rounds else {}
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "clickhouse"
        report = uvloop.run(measure(Path(folder), data, count=options.rows, **repeated))
    print(text(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return report


def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p95."""
    at = max(0, -(-95 * len(milliseconds) // 100) - 1)
    return {"p50": round(statistics.median(milliseconds), 1), "p95": round(sorted(milliseconds)[at], 1)}
