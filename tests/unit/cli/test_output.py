"""Output that a terminal or a disk does not take ends a command with a sentence, never with a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = f"{sys.executable} -m services.cli prices show --provider openai --model gpt-4o"


def shell(command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "METRION_DATA_DIR": str(folder), **environ}
    return subprocess.run(["sh", "-c", command], capture_output=True, env=environment, timeout=120)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_full_disk_is_reported_in_one_line(tmp_path: Path) -> None:
    found = shell(f"{SHOW} > /dev/full", tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith(b"metrion: cannot write the output: No space left on device")
    assert b"Traceback" not in found.stderr


def test_closed_output_is_reported_before_the_command_runs(tmp_path: Path) -> None:
    found = shell(f"{SHOW} >&-", tmp_path)
    assert (found.returncode, found.stderr) == (2, b"metrion: standard output is closed\n")


def test_characters_that_the_output_cannot_encode_are_escaped(tmp_path: Path) -> None:
    found = shell(SHOW, tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"\\u2026" in found.stdout


def test_remarks_never_land_in_the_output(tmp_path: Path) -> None:
    found = shell(f"{SHOW}-none 2>&-", tmp_path)
    assert found.returncode == 1
    assert b"No price for this model" not in found.stdout
