"""What a killed gateway had numbered must be known exactly afterwards, and never claimed when it cannot be known."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from services.gateway.outbox import event_counter
from services.gateway.outbox.event_counter import DROPPED, SEQUENCE, Count
from services.gateway.outbox.outbox import Outbox
from tests.support.outboxes import append, opened, said

KILLED = """
import os, signal, sys
from pathlib import Path
from services.gateway.outbox import event_counter as counter
numbers = counter.create(Path(sys.argv[1]), epoch=3)
for number in range(1, 1001):
    numbers[counter.SEQUENCE] = number
numbers[counter.DROPPED] = 7
os.kill(os.getpid(), signal.SIGKILL)
"""


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def counts(path: Path, *, last_epoch: int) -> list[Count]:
    return [msgspec.structs.replace(one, ended_at=NOON) for one in event_counter.read(path, last_epoch=last_epoch)]


def test_a_killed_process_leaves_its_exact_count(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "counter")], check=False)
    assert counts(tmp_path / "counter", last_epoch=3) == [Count(3, 1000, 7, NOON, exact=True)]


def test_event_count_from_before_a_reboot_is_ignored(tmp_path: Path) -> None:
    event_counter.create(tmp_path / "counter", epoch=1)[SEQUENCE] = 9
    data = bytearray((tmp_path / "counter").read_bytes())
    data[-1] ^= 1
    (tmp_path / "counter").write_bytes(data)
    assert counts(tmp_path / "counter", last_epoch=2) == [
        Count(1, 9, 0, NOON, exact=False),
        Count(2, 0, 0, NOON, exact=False),
    ]


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 500])
def test_damaged_event_counter_is_ignored(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "counter").write_bytes(data)
    assert counts(tmp_path / "counter", last_epoch=2) == []


def test_event_counter_without_a_boot_id_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_counter, "_BOOT_ID", tmp_path / "none")
    event_counter.create(tmp_path / "counter", epoch=1)[DROPPED] = 1
    assert counts(tmp_path / "counter", last_epoch=1) == [Count(1, 0, 1, NOON, exact=False)]


def _killed(outbox: Outbox) -> None:
    """End the owner of an outbox as a kill does: the folder is free, nothing else is done."""
    outbox._counter = event_counter.unmapped()
    outbox.close()


def test_the_next_start_says_how_far_a_killed_one_had_numbered(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    append(outbox)
    append(outbox)
    said(outbox)  # numbered, and killed before it was written
    _killed(outbox)
    again = opened(tmp_path)
    [beat] = again.last_beats
    assert (beat.spool, beat.epoch, beat.sequence, beat.dropped, beat.closing) == (outbox.spool, 1, 3, 0, True)
    again.append_last_beats()
    assert again.last_beats == []
    again.close()


def test_a_killed_start_is_dated_to_its_end_and_not_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its events would be looked for in the wrong period, and counted as missing there."""
    outbox = opened(tmp_path)
    beat = outbox.beat()
    outbox._counter[event_counter.BEAT_AT] -= 3600 * 1_000_000
    _killed(outbox)
    again = opened(tmp_path)
    assert abs(again.last_beats[0].at - (beat.at - timedelta(hours=1) + event_counter.BEAT_EVERY)) < timedelta(
        seconds=1
    )
    again.close()


def test_events_dropped_just_before_a_kill_are_declared_by_the_next_start(tmp_path: Path) -> None:
    outbox = opened(tmp_path, max_bytes=2000)
    while outbox.append(said(outbox, 200)):
        pass
    while outbox.append(outbox.beat()):  # until there is no room for a beat either
        pass
    _killed(outbox)
    again = opened(tmp_path, max_bytes=2000)
    [beat] = again.last_beats
    assert (beat.sequence, beat.dropped, beat.closing) == (outbox.last_sequence, 1, True)
    again.append_last_beats()
    assert again.last_beats == [beat]  # still no room: said as soon as there is
    again.close()


def test_a_start_that_was_cut_short_before_it_numbered_anything_is_accounted_for(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    append(outbox)
    _killed(outbox)
    (tmp_path / "epoch").write_text("2")  # a second start went no further than this
    again = opened(tmp_path)
    assert [(beat.epoch, beat.sequence, beat.closing) for beat in again.last_beats] == [(1, 1, True), (2, 0, True)]
    again.close()


def test_a_clean_end_is_proven_also_after_a_restart_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = opened(tmp_path)
    append(outbox)
    outbox.close()
    monkeypatch.setattr(event_counter, "boot", lambda: b"another")
    again = opened(tmp_path)
    assert [(beat.sequence, beat.closing) for beat in again.last_beats] == [(1, True)]
    again.close()
