"""What can be typed after `python -m deploy.demo` in, checked options out."""

import argparse
import re
from pathlib import Path

ROWS_A_DAY = 10_000
_MOST_DAYS = 365  # rows are kept for 400
_SPAN = re.compile(r"(\d{1,3})([dw])")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; ends the program with a message for wrong ones."""
    parser = argparse.ArgumentParser(
        prog="make demo ARGS='…'",
        description="Metrion at work without a provider's key: traffic through the real gateway to a bundled provider.",
    )
    parser.add_argument("--seconds", type=_positive, default=55, help="of traffic (default 55; 0 for none)")
    parser.add_argument("--rate", type=float, default=15.0, help="requests a second (default 15)")
    parser.add_argument(
        "--history", type=_days, default=0, metavar="SPAN", help="fill the past first: 30d, 4w, 365d at most"
    )
    parser.add_argument("--rows", type=_positive, default=0, help=f"of the history (default {ROWS_A_DAY} a day)")
    parser.add_argument("--seed", type=int, default=1, help="another one tells another story (default 1)")
    parser.add_argument("--keep", action="store_true", help="stay up after the report, until Ctrl-C")
    parser.add_argument("--data-dir", type=Path, default=Path(".metrion-demo"), help="default .metrion-demo")
    return parser.parse_args(arguments)


def _days(text: str) -> int:
    match = _SPAN.fullmatch(text)
    days = int(match[1]) * (7 if match[2] == "w" else 1) if match else 0
    if not 0 < days <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"a span like 30d or 4w, at most {_MOST_DAYS}d")
    return days


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) > 100_000_000:
        raise argparse.ArgumentTypeError("a whole number, not negative")
    return int(text)
