"""What a gateway has said must survive its death, a full disk and a damaged one, and be cut the same when it is replayed."""

import contextlib
import errno
import itertools
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.gateway.outbox import outbox as outbox_module
from services.gateway.outbox import spool
from services.gateway.outbox.orphans import adopt
from services.gateway.outbox.outbox import MAX_EVENT_BYTES, Outbox
from services.gateway.outbox.segment import Segment
from services.gateway.outbox.spool import SpoolLocked
from shared import events as event_types
from shared.events import Evidence, Origin, ResponseEvent
from tests.support.examples import examples
from tests.support.outboxes import append, opened, said


def cut(outbox: Outbox, most: int = 256 << 10) -> Iterator[tuple[Segment, int, int]]:
    """Every message that is not cut yet."""
    for segment in list(outbox.segments):
        while (ends := segment.next_cut(most)) is not None:
            yield segment, *ends


def shipped(outbox: Outbox) -> list[tuple[int, int]]:
    """(epoch, number) of every event, after all of them are acked."""
    numbers = []
    for segment, start, end in cut(outbox):
        for body in event_types.frames(segment.read(start, end)):
            event = event_types.decode(body)
            assert not isinstance(event, event_types.GatewayBeat)
            origin = event.origin
            numbers.append((origin.epoch, origin.sequence))
        outbox.acked(segment, start, end)
    assert outbox.pending_bytes == 0
    return numbers


def newest_log(folder: Path) -> Path:
    """The log of the newest segment that holds anything."""
    return max(path for path in folder.glob("*.log") if path.stat().st_size)


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond `size` bytes: writes become short, then fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_restart_numbers_from_one_in_a_new_epoch_and_loses_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path / "0")
    assert [append(first) for _ in range(3)] == [1, 2, 3]
    first.close()
    second = opened(tmp_path / "0")
    assert (second.spool, second.epoch) == (first.spool, first.epoch + 1)
    assert [append(second) for _ in range(2)] == [1, 2]
    assert shipped(second) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    second.close()


def test_a_message_id_is_never_used_twice_though_every_segment_was_deleted(tmp_path: Path) -> None:
    seen = set()
    for _ in range(3):
        outbox = opened(tmp_path / "0", segment_bytes=400)
        for _ in range(20):
            append(outbox)
        for segment, start, end in cut(outbox):
            assert (segment.number, start) not in seen
            seen.add((segment.number, start))
            outbox.acked(segment, start, end)
        outbox.close()


def test_an_event_torn_by_a_crash_costs_no_other_event(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    for _ in range(3):
        append(outbox)
    outbox.close()
    log = newest_log(tmp_path / "0")
    torn = log.read_bytes()[:50]
    log.write_bytes(log.read_bytes() + torn)
    outbox = opened(tmp_path / "0")
    assert outbox.torn_bytes == len(torn)
    append(outbox)
    assert shipped(outbox) == [(1, 1), (1, 2), (1, 3), (2, 1)]
    outbox.close()


def test_a_damaged_event_is_never_shipped_and_its_loss_is_counted(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    ends = []
    for _ in range(3):
        append(outbox)
        ends.append(outbox.segments[0].end)
    outbox.close()
    log = newest_log(tmp_path / "0")
    damaged = bytearray(log.read_bytes())
    damaged[ends[0] + event_types.FRAME.size + 5] ^= 0xFF
    log.write_bytes(damaged)
    outbox = opened(tmp_path / "0")
    assert outbox.torn_bytes == ends[2] - ends[0]
    assert shipped(outbox) == [(1, 1)]
    outbox.close()


def test_a_page_that_a_power_loss_left_empty_is_no_event(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    append(outbox)
    outbox.close()
    log = newest_log(tmp_path / "0")
    log.write_bytes(log.read_bytes() + bytes(4096))
    outbox = opened(tmp_path / "0")
    assert outbox.torn_bytes == 4096
    assert shipped(outbox) == [(1, 1)]
    outbox.close()


def test_events_on_disk_are_shipped_although_the_disk_is_full(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    for _ in range(100):
        append(outbox)
    notes = [*(tmp_path / "0").glob("*.idx"), *(tmp_path / "0").glob("*.ack")]
    blocks = [path.stat().st_blocks for path in notes]
    assert len(list(cut(outbox, 100))) == 100
    outbox.acked(outbox.segments[0], 0, outbox.segments[0].cuts[0])
    assert [path.stat().st_blocks for path in notes] == blocks, "shipping needs room on the disk"
    outbox.close()


def test_an_event_half_written_on_a_full_disk_is_dropped_counted_and_spoils_no_other(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    append(outbox)
    with files_end_at(outbox.segments[0].end + 30):
        assert not outbox.append(said(outbox))  # 30 bytes of it fit
        assert not outbox.append(said(outbox))
    assert (outbox.dropped, outbox.appended, outbox.last_sequence) == (2, 1, 3)
    append(outbox)
    outbox.close()
    outbox = opened(tmp_path / "0")
    assert shipped(outbox) == [(1, 1), (1, 4)]  # what was dropped used up its numbers: the gap can be seen
    outbox.close()


def test_an_imported_event_without_a_number_is_not_counted_as_dropped(tmp_path: Path) -> None:
    """Its client sends it again; a count would hide a missing event."""
    outbox = opened(tmp_path / "0")
    append(outbox)
    event = msgspec.structs.replace(said(outbox), origin=Origin("", 0, 0))
    with files_end_at(outbox.segments[0].end + 30):
        assert not outbox.append(event)
    assert (outbox.dropped, outbox.appended) == (0, 1)
    outbox.close()


def test_a_torn_event_at_the_end_of_a_killed_gateway_with_a_full_disk_is_cut_off(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    append(outbox)
    with files_end_at(outbox.segments[0].end + 30):
        assert not outbox.append(said(outbox))
    outbox.close()
    outbox = opened(tmp_path / "0")
    assert outbox.torn_bytes == 30
    assert shipped(outbox) == [(1, 1)]
    outbox.close()


def test_a_full_disk_shows_and_is_over_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = opened(tmp_path / "0")
    append(outbox)
    assert not outbox.full

    def full_disk(fd: int, buffers: tuple[bytes, bytes]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", full_disk)
        assert not outbox.append(said(outbox))
        assert outbox.full, "who asked for refusal would go on serving unaccounted"
        assert outbox.dropped == 1
    assert outbox.append(outbox.beat())
    assert not outbox.full
    outbox.close()


def test_a_disk_that_has_no_room_for_a_new_file_drops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = opened(tmp_path / "0", segment_bytes=500)

    def no_file(folder: Path, number: int) -> Segment:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(outbox_module, "Segment", no_file)
        for _ in range(30):
            append(outbox)
    for _ in range(30):
        append(outbox)
    assert len(outbox.segments) > 1, "the outbox never rotates again"
    assert [number for _, number in shipped(outbox)] == list(range(1, 61))
    outbox.close()


def test_a_disk_that_the_outbox_itself_has_filled_has_room_again_once_nats_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is smaller than a segment, and no file can be created before the one in use gives bytes back."""
    outbox = opened(tmp_path / "0")
    room = 100_000

    def writev(fd: int, buffers: tuple[bytes, bytes]) -> int:
        if os.fstat(fd).st_size + sum(map(len, buffers)) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, buffers)

    def create(folder: Path, number: int) -> Segment:
        if sum(path.stat().st_size for path in folder.glob("*.log")) > room // 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Segment(folder, number)

    write = os.writev
    monkeypatch.setattr(os, "writev", writev)
    monkeypatch.setattr(outbox_module, "Segment", create)
    kept = 0
    for _ in range(2):
        while outbox.append(said(outbox, 1000)):
            kept += 1
        assert outbox.full
        shipped(outbox)
        assert not outbox.full
    assert (outbox.dropped, kept > 150) == (2, True)
    last = append(outbox)
    outbox.close()
    again = opened(tmp_path / "0")
    assert shipped(again) == [(1, last)], "and nothing is shipped twice"
    again.close()


def test_a_full_disk_that_stays_full_drops_events_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = opened(tmp_path / "0")
    append(outbox)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", refuse)
        patched.setattr(outbox_module, "Segment", refuse)
        assert not outbox.append(said(outbox))
        shipped(outbox)
        for _ in range(5):
            assert not outbox.append(said(outbox))
    last = append(outbox)  # the room of the old segment is given back: a new one is made now
    assert (outbox.dropped, outbox.full) == (6, False)
    outbox.close()
    again = opened(tmp_path / "0")
    assert shipped(again) == [(1, last)]
    again.close()


def test_failure_to_record_an_ack_does_not_stop_shipping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = opened(tmp_path / "0")
    append(outbox)
    [(segment, start, end)] = cut(outbox)

    def full_disk(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full_disk)
        outbox.acked(segment, start, end)
    assert outbox.pending_bytes == 0
    outbox.close()
    outbox = opened(tmp_path / "0")
    assert [(s.number, *ends) for s, *ends in cut(outbox)] == [(segment.number, start, end)]  # again, under the same id
    outbox.close()


def test_a_full_spool_drops_and_counts_then_takes_events_again_once_nats_has_them(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0", max_bytes=1 << 20)
    kept = 0
    while outbox.append(said(outbox, 1000, account=f"account-{kept}")):
        kept += 1
    assert outbox.full
    assert outbox.dropped == 1
    assert sum(path.stat().st_size for path in (tmp_path / "0").glob("*.log")) <= 1 << 20
    assert len(shipped(outbox)) == kept
    assert not outbox.full
    append(outbox)
    outbox.close()


def test_a_small_spool_drops_nothing_as_long_as_nats_keeps_up(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0", max_bytes=1 << 20)
    numbers = []
    for _ in range(80):
        for _ in range(50):
            numbers.append(append(outbox, 1000))
        messages = list(cut(outbox))
        append(outbox)  # something is always pending when an ack comes
        for segment, start, end in messages:
            outbox.acked(segment, start, end)
        assert not outbox.full
    assert outbox.dropped == 0
    outbox.close()


def test_oversized_event_is_dropped_without_blocking_the_outbox(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    assert not outbox.append(said(outbox, MAX_EVENT_BYTES))
    assert outbox.dropped == 1
    assert not outbox.full
    append(outbox)
    assert shipped(outbox) == [(1, 2)]
    outbox.close()


def test_segments_that_nats_has_stored_leave_the_disk(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0", segment_bytes=2000)
    for _ in range(100):
        append(outbox)
    assert len(list((tmp_path / "0").glob("*.log"))) > 3
    shipped(outbox)
    assert len(list((tmp_path / "0").glob("*.log"))) == 1
    assert sum(path.stat().st_size for path in (tmp_path / "0").glob("*.log")) < 500
    outbox.close()


def test_numbers_of_stored_events_begin_anew_with_a_new_stream(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    known = []
    for sequence in (1000, 1001, 999, 3, 4):  # the third ack was overtaken; then the stream was created again
        append(outbox)
        for segment, start, end in cut(outbox):
            outbox.acked(segment, start, end, sequence=sequence)
        known.append(outbox.stored(outbox.position()))
    assert known == [1000, 1001, 1001, 3, 4]
    outbox.close()


def test_a_replay_cuts_messages_as_before_although_events_were_added_since(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    for _ in range(10):
        append(outbox)
    before = [(s.number, start, end, s.read(start, end)) for s, start, end in cut(outbox, 500)]
    append(outbox)
    outbox.close()
    outbox = opened(tmp_path / "0")
    after = [(s.number, start, end, s.read(start, end)) for s, start, end in cut(outbox, 100_000)]
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    outbox.close()


def test_an_acked_message_is_not_shipped_again_after_a_restart(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    for _ in range(10):
        append(outbox)
    first, second, third, *rest = cut(outbox, 300)
    outbox.acked(*third)  # behind a gap: forgotten at a restart, and deduplicated by its id
    outbox.acked(*first)
    pending = outbox.pending_bytes
    outbox.close()
    outbox = opened(tmp_path / "0")
    assert outbox.pending_bytes == pending
    assert [ends for _, *ends in cut(outbox, 300)] == [ends for _, *ends in (second, third, *rest)]
    outbox.close()


def test_outbox_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        outbox = opened(tmp_path / "spools" / "0")
    finally:
        os.umask(before)
    append(outbox)
    assert stat.S_IMODE((tmp_path / "spools" / "0").stat().st_mode) == 0o700
    files = list((tmp_path / "spools" / "0").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    outbox.close()


def test_two_gateways_never_write_one_spool(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    with pytest.raises(SpoolLocked, match="another gateway"):
        opened(tmp_path / "0")
    append(outbox)
    outbox.close()
    opened(tmp_path / "0").close()


def test_a_start_that_fails_gives_the_spool_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_epoch(path: Path) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(spool, "next_epoch", no_epoch)
        with pytest.raises(OSError, match="No space"):
            opened(tmp_path / "0")
    opened(tmp_path / "0").close()


def test_an_event_after_the_end_is_dropped_and_spoils_no_file_opened_since(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0")
    append(outbox)
    outbox.close()
    others = [(tmp_path / f"other{n}").open("w+b") for n in range(6)]  # they get the closed files' numbers
    assert not outbox.append(said(outbox))
    outbox.close()
    for other in others:
        assert os.fstat(other.fileno()).st_size == 0
        other.close()


def test_events_of_a_retired_gateway_are_shipped_and_its_folder_is_removed(tmp_path: Path) -> None:
    for number in (0, 1, 2, 3):
        outbox = opened(tmp_path / str(number))
        append(outbox)
        outbox.close()
    running = opened(tmp_path / "3")
    (tmp_path / "notes").mkdir()
    (tmp_path / "9").write_text("no spool")
    found = []
    for orphan in adopt(tmp_path, own=0, workers=2):
        found.append(orphan.folder.name)
        assert not (tmp_path / "2" / "00000000.log").exists()
        assert shipped(orphan) == [(1, 1)]
        orphan.remove()
        orphan.close()
    assert found == ["2"]
    assert not (tmp_path / "2").exists()
    assert (tmp_path / "1").exists()
    running.close()


def test_an_orphan_is_not_removed_before_all_of_it_is_stored(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "5")
    append(outbox)
    outbox.close()
    epoch = (tmp_path / "5" / "epoch").read_text()
    for _ in range(2):
        [orphan] = adopt(tmp_path, own=0, workers=1)
        orphan.remove()
        orphan.close()
    assert (tmp_path / "5" / "epoch").read_text() == epoch
    again = opened(tmp_path / "5")
    assert shipped(again) == [(1, 1)]
    again.close()


def test_a_heartbeat_carries_the_last_event_number_and_the_dropped_count(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0", max_bytes=1000)
    append(outbox)
    outbox.append(said(outbox, 2000))
    beat = outbox.beat(closing=True)
    assert (beat.spool, beat.epoch, beat.gateway) == (outbox.spool, 1, "g-0")
    assert (beat.sequence, beat.dropped, beat.closing, beat.pending_bytes) == (2, 1, True, outbox.pending_bytes)
    outbox.close()


def ended(outbox: Outbox, *, account: str, upstream: bool, size: int = 1000) -> ResponseEvent:
    """The end of a request, not yet appended."""
    envelope = said(outbox, size, account=account).envelope
    return ResponseEvent(
        origin=outbox.origin(),
        envelope=envelope,
        status=200 if upstream else 403,
        outcome=event_types.COMPLETE,
        error_type="",
        error_message="",
        provider_request_id="",
        latency_ms=1,
        ttfb_ms=None,
        request_bytes=0,
        response_bytes=0,
        cache="",
        drained=False,
        upstream=upstream,
        evidence=Evidence(),
    )


def test_one_account_that_fills_the_outbox_leaves_room_for_others(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0", max_bytes=1 << 20)
    while outbox.append(said(outbox, 1000, account="hog")):
        pass
    assert outbox.disk_bytes < 0.8 * (1 << 20)
    assert outbox.is_full_for("hog") and outbox.is_full_for_some
    assert not outbox.is_full_for("other")
    kept = 0
    while outbox.append(said(outbox, 1000, account="other")):
        kept += 1
    assert kept > 100
    shipped(outbox)
    assert not outbox.is_full_for("hog")
    assert outbox.append(said(outbox, 1000, account="hog"))
    outbox.close()


def test_refused_requests_take_no_place_of_their_own_accounts_paid_ones(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0", max_bytes=1 << 20)
    while outbox.append(ended(outbox, account="acme", upstream=False)):
        pass
    assert outbox.disk_bytes < 0.1 * (1 << 20)
    assert not outbox.is_full_for("acme")
    assert outbox.append(said(outbox, 1000)) and outbox.append(ended(outbox, account="acme", upstream=True))
    outbox.close()


def test_responses_of_started_requests_are_recorded_even_if_the_share_is_full(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "0", max_bytes=1 << 20)
    while outbox.append(said(outbox, 1000)):
        pass
    assert all(outbox.append(ended(outbox, account="acme", upstream=True)) for _ in range(20))
    outbox.close()


@settings(max_examples=examples(30), deadline=None)
@given(sizes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3000)), max_size=300), shares=st.data())
def test_account_shares_equal_the_bytes_on_disk(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[str, int]], shares: st.DataObject
) -> None:
    outbox = opened(tmp_path_factory.mktemp("outbox") / "0", max_bytes=1 << 19, segment_bytes=20_000)
    for account, size in sizes:
        outbox.append(said(outbox, size, account=account))
        if shares.draw(st.integers(0, 20)) == 0:
            for segment, start, end in cut(outbox):
                outbox.acked(segment, start, end)
    held = outbox._shares._held
    assert sum(held.values()) == outbox.disk_bytes
    shipped(outbox)
    assert sum(held.values()) == outbox.disk_bytes
    outbox.close()


class Life(RuleBasedStateMachine):
    """A gateway that speaks, ships, hears acks in any order and is killed: each event is stored once, under one id."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.outbox = opened(self.folder / "0", segment_bytes=3000)
        self.said: list[tuple[int, int]] = []
        self.stored: dict[tuple[int, int], bytes] = {}  # what JetStream holds, by message id
        self.flights: list[tuple[Segment, int, int]] = []

    @rule(sizes=st.lists(st.integers(0, 2500), min_size=1, max_size=5))
    def speak(self, sizes: list[int]) -> None:
        for size in sizes:
            self.said.append((self.outbox.epoch, append(self.outbox, size)))

    @rule(most=st.integers(1, 3000), messages=st.integers(1, 6))
    def ship(self, most: int, messages: int) -> None:
        self.flights += itertools.islice(cut(self.outbox, most), messages)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), heard=st.booleans())
    def store(self, data: st.DataObject, heard: bool) -> None:
        at = data.draw(st.integers(0, len(self.flights) - 1))
        segment, start, end = self.flights[at]
        message = segment.read(start, end)
        assert self.stored.setdefault((segment.number, start), message) == message, "another message under the same id"
        if heard:
            del self.flights[at]
            self.outbox.acked(segment, start, end)

    @rule(torn=st.binary(max_size=40))
    def killed(self, torn: bytes) -> None:
        current = self.outbox.segments[-1]
        path = self.folder / "0" / f"{current.number:08d}.log"
        self.outbox.close()
        with path.open("ab") as log:
            log.write(event_types.FRAME.pack(4000, 1) + torn)
        self.flights.clear()
        self.outbox = opened(self.folder / "0", segment_bytes=3000)

    @invariant()
    def pending_is_what_is_not_acked(self) -> None:
        assert self.outbox.pending_bytes == sum(segment.end - segment.acked for segment in self.outbox.segments)
        assert self.outbox.dropped == 0

    def teardown(self) -> None:
        self.flights += cut(self.outbox)
        for segment, start, end in self.flights:
            self.stored.setdefault((segment.number, start), segment.read(start, end))
        for flight in self.flights:
            self.outbox.acked(*flight)
        events = [event_types.decode(body) for data in self.stored.values() for body in event_types.frames(data)]
        origins = [event.origin for event in events if not isinstance(event, event_types.GatewayBeat)]
        assert len(origins) == len(events)
        assert sorted((origin.epoch, origin.sequence) for origin in origins) == self.said
        assert self.outbox.pending_bytes == 0
        self.outbox.close()
        shutil.rmtree(self.folder)


test_each_event_is_stored_once_whatever_happens_in_between = Life.TestCase
Life.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=30)


def test_the_number_of_an_event_that_cannot_be_written_is_declared_as_dropped(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, gateway="gw-0", max_bytes=1 << 20)
    origin = outbox.origin()
    outbox.count_dropped(origin)
    beat = outbox.beat()
    assert (beat.sequence, beat.dropped) == (origin.sequence, 1)
    outbox.close()
    later = Outbox(tmp_path, gateway="gw-0", max_bytes=1 << 20)
    assert [(one.sequence, one.dropped) for one in later.last_beats] == [(1, 1)]
    later.close()
