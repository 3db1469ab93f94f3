"""Reading of a finished batch's JSON Lines output, whose usage is summed by model."""

import codecs
import re
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.parsing.decompress import CORRUPT, Decompressor
from services.gateway.parsing.json_skeleton import Skeleton
from services.gateway.usage import batch_lines, usage_names
from services.gateway.usage.batch_lines import FREE_LINES, MAX_LINE, USAGE, body_of
from services.gateway.usage.batch_sums import BatchSums
from services.gateway.usage.count_shape import Counts, CountShape
from services.gateway.usage.gap import Gap, unread_reason
from shared.events import GAP_NAMES, UNREAD_CORRUPT, UNREAD_TOO_LARGE, UNREAD_TOO_MANY

# JSON Lines as providers call them; files are served as mere bytes.
KINDS = frozenset(
    {
        "application/x-jsonl",
        "application/jsonl",
        "application/x-ndjson",
        "application/ndjson",
        "application/json-lines",
        "application/x-jsonlines",
        "application/binary",
        "application/octet-stream",
    }
)
# Lines are decoded a block at a time, some 0.5 µs each. Beyond FREE_LINES they are read as long as they are in
# proportion to the bytes of the response as received.
_BYTES_A_LINE = 24
_SAMPLE = 16 << 10  # bytes of a block that tell whether most lines state usage
_FEW = 16  # lines without usage that are decoded with the others
# Lines that do not fit are read one by one, some 10 µs each.
FREE_ODD_LINES = 2_000
_BYTES_AN_ODD_LINE = 4096
_MAX_ODD_IN_BLOCK = 8  # beyond which the rest of a block is decoded line by line
_MAX_USAGE = 4 << 10  # bytes of a usage object that is read whole; of a larger one the known counts
_FREE_LARGE_USAGE = 1 << 20  # bytes of larger ones that are read
_MOST_OPENING = 8  # bytes by which JSON Lines are told from other files
_ESCAPED = b"\\u00"
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_LINE_NUMBER = re.compile(r"at `\$\[(\d+)\]")
_BYTE_NUMBER = re.compile(r"\(byte (\d+)\)")


class BatchTap:
    """Reads a batch's output as it passes; any other file leaves no evidence."""

    ended = failed = usage = False

    def __init__(self, inflate: Decompressor | None) -> None:
        self._inflate = inflate
        self._begun = False
        self._other = False  # not JSON Lines, or not readable any more
        self._decode: codecs.IncrementalDecoder | None = None  # of UTF-16 and UTF-32
        self._rest: list[bytes] = []  # an unfinished line
        self._held = 0
        self._skeleton: Skeleton | None = None  # of an unfinished line that is too long to be kept whole
        self._left = FREE_LINES  # lines that may still be read
        self._odd_left = FREE_ODD_LINES  # of these, lines that do not fit the shape
        self._large_left = _FREE_LARGE_USAGE
        self._shape = CountShape()
        self._odd = 0  # lines that did not fit, read by themselves
        self._learnt = 1  # the shape is built anew after so many of them
        self._decoder: msgspec.json.Decoder[Any] | None = None  # of lines whose usage has the shape
        self._unread = 0  # lines that may state usage and are no JSON
        self._sums = BatchSums()

    @property
    def gap(self) -> Gap | None:
        """What could not be read."""
        return self._sums.gap

    def feed(self, data: bytes) -> None:
        """Read bytes of the file as they pass."""
        if self._other:
            return
        self._left += len(data) // _BYTES_A_LINE
        self._odd_left += len(data) // _BYTES_AN_ODD_LINE
        if self._inflate:
            try:
                data = self._inflate(data)
            except CORRUPT as error:
                self._other = True
                self._sums.miss(unread_reason(error))
                return
        if not self._begun:
            data = self._begin(data)
        if self._decode is not None:
            data = self._decode.decode(data).encode()
        end = data.rfind(b"\n") + 1
        if end:
            self._lines(data[:end])
            data = data[end:]
        self._hold(data)

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """(One pick a model, no tools, whether something is missing)."""
        if not self._other:
            self._lines(b"\n")
        if self._sums and self._unread:
            self._sums.miss(UNREAD_CORRUPT)
        return self._sums.picks(), {}, self.gap is not None

    def events(self) -> tuple[list[bytes], float] | None:
        """None, because a file is not a stream."""
        return None

    def text(self, limit: int) -> bytes:
        """Nothing, because a file is not an error."""
        return b""

    def _begin(self, data: bytes) -> bytes:
        """Tell JSON Lines from other files by the first bytes."""
        data = b"".join((*self._rest, data)).lstrip()
        self._rest = []
        if len(data) < _MOST_OPENING and not data.startswith(b"{"):
            self._rest = [data]
            return b""
        self._begun = True
        self._decode = lenient_json.transcoder(data)
        if self._decode is None:
            data = data.removeprefix(codecs.BOM_UTF8)
            self._other = not data.startswith(b"{")
        return b"" if self._other else data

    def _hold(self, data: bytes) -> None:
        """Keep an unfinished line; of one that grows too long only its skeleton."""
        if self._skeleton is not None:
            self._skeleton.feed(data)
            return
        if data:
            self._rest.append(data)
            self._held += len(data)
        if self._held > MAX_LINE:
            self._skeleton = Skeleton()
            for part in self._rest:
                self._skeleton.feed(part)
            self._rest = []
            self._held = 0

    def _lines(self, block: bytes) -> None:
        """Read whole lines, what was held back of the first included."""
        if self._skeleton is not None:
            line, _, block = block.partition(b"\n")
            self._skeleton.feed(line)
            if self._skeleton.full:
                self._sums.miss(UNREAD_TOO_LARGE)
            else:
                self._take(self._skeleton.json())
            self._skeleton = None
        elif self._rest:
            line, _, block = block.partition(b"\n")
            self._take(b"".join((*self._rest, line)))
            self._rest = []
            self._held = 0
        self._read(block)

    def _read(self, block: bytes) -> None:
        """Read whole lines, those without usage left out where they are most of them."""
        if block.rfind(USAGE) < 0 and not _has_escapes(block):
            return
        lines = block.count(b"\n") + 1
        few = block.count(b"\n", 0, _SAMPLE) > 2 * block.count(USAGE, 0, _SAMPLE) + _FEW
        if few or lines > self._left:
            block = b"\n".join(_marked(block))
            lines = block.count(b"\n") + 1
        if lines > self._left:  # short lines in very few bytes, as a compressed bomb has them
            block = b"\n".join(block.split(b"\n", max(self._left, 0))[:-1])
            self._sums.miss(UNREAD_TOO_MANY)
        self._left -= lines
        if self._decoder is None or not self._read_at_once(self._decoder, block):
            self._read_lines([line for line in block.split(b"\n") if line.strip()])

    def _read_at_once(self, decoder: msgspec.json.Decoder[Any], block: bytes) -> bool:
        try:
            lines = decoder.decode_lines(block)
        except _UNREADABLE:
            return False
        self._add_lines(lines)
        return True

    def _read_lines(self, lines: list[bytes]) -> None:
        """Read lines of which some do not fit: up to the first of these at once, and that by itself."""
        failures = 0
        if self._decoder is None:
            self._read_unusual(lines[:1])
            lines = lines[1:]
        while lines and self._decoder is not None and failures < _MAX_ODD_IN_BLOCK:
            block = b"\n".join(lines)
            try:
                found = self._decoder.decode_lines(block)
            except _UNREADABLE as error:
                at = _position(error, block)
            else:
                self._add_lines(found)
                return
            failures += 1
            if at and not self._read_at_once(self._decoder, b"\n".join(lines[:at])):
                break
            self._read_unusual(lines[at : at + 1])
            lines = lines[at + 1 :]
        self._read_unusual(lines)

    def _read_unusual(self, lines: list[bytes]) -> None:
        for line in lines:
            self._take(line)
            if self._other:
                return

    def _take(self, line: bytes) -> None:
        """Read a line by itself, leniently where that is needed."""
        if USAGE not in line and not _has_escapes(line):
            return
        if self._decoder is not None and self._read_at_once(self._decoder, line):
            return
        self._odd_left -= 1
        if self._odd_left < 0:
            self._stop()
            return
        try:
            parsed = lenient_json.read(line, batch_lines.line_decoder)
        except lenient_json.WorkLimitExceeded:
            self._sums.miss(UNREAD_TOO_MANY)
            return
        if parsed is None:
            self._unread += USAGE in line
            return
        if (body := body_of(parsed)) is None:
            return
        for name, raw in (("usage", body.usage), ("usageMetadata", body.usageMetadata)):
            if raw and (usage := self._usage(bytes(raw))):
                self._widen_shape(usage)
                self._sums.add((body.model or body.modelVersion, name), usage, [body])

    def _usage(self, raw: bytes) -> Counts | None:
        """A usage object, as far as it is read; None for anything else."""
        if len(raw) > _MAX_USAGE:
            self._large_left -= len(raw)
            if self._large_left < 0:
                self._stop()
                return None
            raw, _ = usage_names.known_counts(raw)
            self._sums.miss(UNREAD_TOO_MANY, missing=GAP_NAMES)
        return lenient_json.decode(raw, batch_lines.counts_decoder)

    def _stop(self) -> None:
        """Read no more: what came takes more work than any batch's output."""
        self._sums.miss(UNREAD_TOO_MANY)
        self._other = True
        self._rest = []
        self._skeleton = None

    def _widen_shape(self, usage: Counts) -> None:
        """Fit the shape to one more usage object, and build it anew ever more seldom."""
        self._shape.widen(usage)
        self._odd += 1
        if self._odd < self._learnt or not self._shape.usable:
            return
        self._learnt = 2 * self._odd
        struct = self._shape.build(strict=not self._sums.is_full)
        fields = [(name, struct | None, None) for name in ("usage", "usageMetadata")]
        texts = [(name, str, "") for name in ("model", "modelVersion")]
        raws = [(name, msgspec.Raw, msgspec.Raw()) for name in ("output", "tools", "candidates")]
        self._decoder = msgspec.json.Decoder(
            batch_lines.line_of(msgspec.defstruct("Body", [*texts, *fields, *raws], gc=False))
        )

    def _add_lines(self, lines: list[Any]) -> None:
        """Add up lines whose usage has the shape."""
        bodies = [body for line in lines if (body := body_of(line)) is not None]
        for name in ("usage", "usageMetadata"):
            usage_of = attrgetter(name)  # much faster than `getattr`
            usages = [usage for usage in map(usage_of, bodies) if usage is not None]
            if not usages:
                continue
            stated = bodies
            if len(usages) < len(bodies):
                stated = [body for body in bodies if usage_of(body) is not None]
            for model, of_model in _by_model(stated).items():
                if usage := self._shape.total([*map(usage_of, of_model)]):
                    calling = [body for body in of_model if body.output or body.candidates]
                    self._sums.add((model, name), usage, calling)


def _by_model(bodies: list[Any]) -> dict[str, list[Any]]:
    models = [body.model or body.modelVersion for body in bodies]
    if len(set(models)) == 1:  # the usual
        return {models[0]: bodies}
    groups: dict[str, list[Any]] = {}
    for model, body in zip(models, bodies, strict=True):
        groups.setdefault(model, []).append(body)
    return groups


def _position(error: Exception, block: bytes) -> int:
    """Which line the decoder could not read; 0 where it does not say."""
    text = str(error)
    if match := _LINE_NUMBER.search(text):
        return min(int(match.group(1)), block.count(b"\n"))
    if match := _BYTE_NUMBER.search(text):
        return block.count(b"\n", 0, int(match.group(1)))
    return 0


def _has_escapes(block: bytes) -> bool:
    """Whether a name may be written with escapes. A search for one byte is far faster than for more."""
    return block.find(b"\\") >= 0 and block.rfind(_ESCAPED) >= 0


def _marked(block: bytes) -> Iterator[bytes]:
    """The lines that may state usage: by its name, as it is or with escapes."""
    start = 0
    marks = {USAGE: 0, _ESCAPED: 0}
    while True:
        for mark, at in marks.items():
            if 0 <= at < start or not start:
                marks[mark] = block.find(mark, start)
        positions = [at for at in marks.values() if at >= 0]
        if not positions:
            return
        at = min(positions)
        begin = max(block.rfind(b"\n", start, at) + 1, start)
        end = block.find(b"\n", at)
        yield block[begin : end if end >= 0 else len(block)]
        if end < 0:
            return
        start = end + 1
