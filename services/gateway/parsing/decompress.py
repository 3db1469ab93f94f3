"""Bounded decompression of a response as it passes, by its Content-Encoding."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import brotli
import zstandard

Decompressor = Callable[[bytes], bytes]

_Step = Callable[[bytes, int], bytes]  # of one coding: (data, bytes that it may become)

STEP = 16 << 10  # bytes that are taken at once
_MOST_CODINGS = 3  # one upon another
_BROTLI_WINDOW = 22  # bits; a larger window is filled before the first byte comes out: 28 ms for the largest
_ZSTD_OUTPUT = 128 << 10  # bytes by which it is checked how many there are
_ZSTD_WINDOW = 8 << 20  # bytes that a frame may refer back: RFC 9659 allows no more on the web
_MOST_MEMBERS = 20_000
_AUTO, _RAW = 47, -15  # wbits: gzip or zlib told by the first bytes; deflate without a header


class DecompressionBomb(Exception):
    """A few bytes that would become very many."""


class Bounds(NamedTuple):
    """How many bytes compressed ones may become.

    `free`, or `times` their number if that is more.
    """

    free: int
    times: int

    def room(self, taken: int) -> int:
        """Bytes that `taken` bytes may become."""
        return max(self.free, taken * self.times)


# For accounting. JSON becomes 5 to 20 times as large, at most 50 times. Brotli's usual window, 4 MiB, is filled twice
# for a byte more than `free`, which takes 8 ms each time.
READ = Bounds(free=4_000_000, times=50)
PASSED = Bounds(free=16 << 20, times=200)  # for a response that the client gets decompressed

# Raised when the bytes are not what Content-Encoding says, or too many.
CORRUPT = (zlib.error, brotli.error, zstandard.ZstdError, DecompressionBomb)


def inflater(encoding: str, bounds: Bounds = READ) -> Decompressor | None:
    """A streaming decompressor for a Content-Encoding; None for identity.

    It may list several codings. LookupError for a coding that is unknown, and for too many.
    """
    if not encoding or encoding == "identity":
        return None
    codings = [coding for one in encoding.lower().split(",") if (coding := one.strip()) not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > _MOST_CODINGS:
        raise LookupError(encoding)
    return _Chain([_KNOWN[coding]() for coding in reversed(codings)], bounds)


class Opening:
    """The first bytes of a response, decompressed once for two readers.

    `inflate` goes on from there.
    """

    def __init__(self, data: bytes, encoding: str) -> None:
        """LookupError as `inflater`; what is CORRUPT is so for the next reader, too."""
        self._inflate = inflater(encoding)
        self._error: Exception | None = None
        self._is_taken = False
        self.text = data
        if self._inflate is not None:
            try:
                self.text = self._inflate(data)
            except CORRUPT as error:
                self.text, self._error = b"", error.with_traceback(None)

    @property
    def inflate(self) -> Decompressor | None:
        """The decompressor of the whole response, to be called with the first bytes again."""
        return None if self._inflate is None else self._take

    def _take(self, data: bytes) -> bytes:
        if self._error is not None:
            raise self._error
        if not self._is_taken:
            self._is_taken = True
            text, self.text = self.text, b""
            return text
        return self._inflate(data) if self._inflate else data


class _Chain:
    """Undoes codings, the last one first. Raises one of CORRUPT."""

    def __init__(self, steps: list[_Step], bounds: Bounds) -> None:
        self._steps = steps
        self._bounds = bounds
        self._taken = 0
        self._given = 0  # by all codings together

    def __call__(self, data: bytes) -> bytes:
        if len(data) <= STEP:
            return self._take(data)
        return b"".join(self._take(data[start : start + STEP]) for start in range(0, len(data), STEP))

    def _take(self, data: bytes) -> bytes:
        self._taken += len(data)
        room = self._bounds.room(self._taken) - self._given
        for step in self._steps:
            if not data:
                break
            data = step(data, room)
            self._given += len(data)
            room -= len(data)
        return data


class _Zlib:
    """Reads gzip, also of several members, zlib, and deflate without a header, which some servers call deflate."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._start = b""  # a first byte, which does not tell the format yet
        self._members = 0
        self._padded = False  # behind the last member

    def __call__(self, data: bytes, room: int) -> bytes:
        if self._stream is None:
            self._start += data
            if len(self._start) < 2:
                return b""
            data = self._start
            self._stream = zlib.decompressobj(wbits=_AUTO if _has_header(data) else _RAW)
        if self._members:
            return self._pieces(data, room)
        found: bytes = self._stream.decompress(data, room + 1)
        if len(found) > room or self._stream.unconsumed_tail:
            raise DecompressionBomb
        if self._stream.eof:
            self._members = 1
            return found + self._pieces(self._stream.unused_data, room - len(found))
        return found

    def _pieces(self, data: bytes, room: int) -> bytes:
        """What further members hold, of which there may be very many."""
        found: list[bytes] = []
        for start in range(0, len(data), STEP):
            rest = data[start : start + STEP]
            while rest and not self._padded:
                if self._stream.eof:
                    rest = self._next_member(rest)
                    continue
                part = self._stream.decompress(rest, room + 1)
                room -= len(part)
                if room < 0 or self._stream.unconsumed_tail:
                    raise DecompressionBomb
                found.append(part)
                rest = self._stream.unused_data
        return b"".join(found)

    def _next_member(self, rest: bytes) -> bytes:
        """Begin the next member; anything else behind the last one is padding, as gzip itself has it."""
        if not rest.startswith(b"\x1f"):
            self._padded = True
            return b""
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise DecompressionBomb
        self._stream = zlib.decompressobj(wbits=_AUTO)
        return rest


def _has_header(data: bytes) -> bool:
    """Whether these bytes begin gzip or zlib."""
    if data.startswith(b"\x1f\x8b"):
        return True
    return data[0] & 15 == 8 and data[0] >> 4 <= 7 and (data[0] << 8 | data[1]) % 31 == 0


def has_large_window(data: bytes) -> bool:
    """Whether a brotli stream has an unusually large window (RFC 7932, 9.1)."""
    return bool(data) and data[0] & 1 == 1 and data[0] >> 1 & 7 > _BROTLI_WINDOW - 17


def _brotli() -> _Step:
    stream = brotli.Decompressor()
    has_begun = False

    def inflate(data: bytes, room: int) -> bytes:
        nonlocal has_begun
        if not has_begun and has_large_window(data):
            raise DecompressionBomb
        has_begun = True
        found: bytes = stream.process(data, output_buffer_limit=max(room, 1))
        if len(found) > room or (not stream.can_accept_more_data() and not stream.is_finished()):
            raise DecompressionBomb
        return found

    return inflate


class _Zstd:
    """Reads zstd, also of several frames. The library has no limit of its own: it writes here bit by bit."""

    def __init__(self) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._stream = decompressor.stream_writer(self, write_size=_ZSTD_OUTPUT)  # type: ignore[arg-type]
        self._found: list[bytes] = []
        self._room = 0

    def write(self, data: bytes) -> int:
        """Take decompressed bytes."""
        self._room -= len(data)
        if self._room < 0:
            raise DecompressionBomb
        self._found.append(bytes(data))
        return len(data)

    def __call__(self, data: bytes, room: int) -> bytes:
        self._found, self._room = [], room
        self._stream.write(data)
        return b"".join(self._found)


_KNOWN: dict[str, Callable[[], _Step]] = {
    "gzip": _Zlib,
    "x-gzip": _Zlib,
    "deflate": _Zlib,
    "br": _brotli,
    "zstd": _Zstd,
}
