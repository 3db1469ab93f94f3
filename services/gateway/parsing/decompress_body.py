"""Bounded decompression of a request's body, for reading only.

The bytes that are forwarded stay as they came.
"""

import zlib
from collections.abc import Callable

import brotli
import zstandard

from services.gateway.parsing.decompress import CORRUPT, READ, DecompressionBomb, has_large_window

MOST = 6 << 20  # bytes of text that are read
_MOST_LAYERS = 2
_MOST_MEMBERS = 8  # of one gzip file
_PIECE = 512 << 10  # bytes of text after which it is checked how much they took
_ZSTD_SLICE = 512  # bytes; each may become 16 MB, and the library takes no limit of its own
_ZSTD_WINDOW = 8 << 20  # bytes, the largest that a decoder must support (RFC 8878)


def unpack(data: bytes, encoding: str) -> tuple[bytes, bool] | None:
    """(text, whether every server reads the same one) of a compressed body.

    None for an encoding that is unknown, bytes that are corrupt or cut short, a text of more than MOST bytes, and one
    that is larger than JSON could become.
    """
    layers = [layer for part in encoding.split(",") if (layer := part.strip().lower()) not in ("", "identity")]
    if len(layers) > _MOST_LAYERS or (layers and len(data) > MOST):
        return None
    certain = len(layers) < 2
    for layer in reversed(layers):
        try:
            found = _UNPACKERS[layer](data)
        except (*CORRUPT, KeyError, EOFError):
            return None
        data, certain = found[0], certain and found[1]
    return data, certain


def _most(taken: int) -> int:
    """Bytes that `taken` bytes may become."""
    return min(READ.room(taken), MOST)


def _gzip(data: bytes) -> tuple[bytes, bool]:
    text, members = b"", 0
    while data:
        if members == _MOST_MEMBERS:
            raise DecompressionBomb
        stream = zlib.decompressobj(wbits=31)
        text += _bounded(stream, data, len(text))
        data, members = stream.unused_data, members + 1
        if members > 1 and not data.strip(b"\0"):
            break  # padding
    return text, members == 1


def _deflate(data: bytes) -> tuple[bytes, bool]:
    """Zlib's format, as the standard has it, or the raw one that some clients send; servers differ in this."""
    try:
        return _bounded(zlib.decompressobj(wbits=15), data), False
    except zlib.error:
        return _bounded(zlib.decompressobj(wbits=-15), data), False


def _bounded(stream: "zlib._Decompress", data: bytes, size: int = 0) -> bytes:
    """The text of one member; `size`: of those before it."""
    found: list[bytes] = []
    rest = data
    while not stream.eof:
        found.append(stream.decompress(rest, _PIECE))
        rest = stream.unconsumed_tail
        size += len(found[-1])
        if size > _most(len(data) - len(rest)):
            raise DecompressionBomb
        if not found[-1] and not rest and not stream.eof:
            raise EOFError
    return b"".join(found)


def _zstd(data: bytes) -> tuple[bytes, bool]:
    stream = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    found: list[bytes] = []
    size = 0
    for start in range(0, len(data), _ZSTD_SLICE):
        if stream.eof:
            return b"".join(found), False  # something follows the frame
        found.append(stream.decompress(data[start : start + _ZSTD_SLICE]))
        size += len(found[-1])
        if size > _most(start + _ZSTD_SLICE):
            raise DecompressionBomb
    if not stream.eof:
        raise EOFError
    return b"".join(found), not stream.unused_data


def _brotli(data: bytes) -> tuple[bytes, bool]:
    """Whether something follows the end is not known."""
    if has_large_window(data):
        raise DecompressionBomb
    stream = brotli.Decompressor()
    most = _most(len(data))
    text: bytes = stream.process(data, output_buffer_limit=most + 1)
    if len(text) > most:
        raise DecompressionBomb
    if not stream.is_finished():
        raise EOFError
    return text, False


_UNPACKERS: dict[str, Callable[[bytes], tuple[bytes, bool]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
