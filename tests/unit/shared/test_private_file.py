"""Secrets on disk must stay their owner's, and a write that fails must not cost what was there."""

import os
import stat
from pathlib import Path

import pytest

from shared import private_file


@pytest.mark.parametrize("there", [False, True])
def test_only_the_owner_can_read_it_whatever_the_umask_and_the_file_before(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "secrets"
    if there:
        path.write_text("longer than what comes")
        path.chmod(0o666)
    before = os.umask(0)
    try:
        private_file.replace(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secrets"
    private_file.replace(path, b"old")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        private_file.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
