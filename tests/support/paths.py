"""Paths within the repository that tests need, wherever a test's own file lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "recordings"
