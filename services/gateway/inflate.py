"""A Content-Encoding goes in, a decompressor for an answer's bytes as they pass comes out, with a bound."""

import zlib
from collections.abc import Callable

import brotli
import zstandard

Inflate = Callable[[bytes], bytes]

MOST = 32 << 20  # bytes that what arrives at once may become; honest answers grow a tenth as much
_ZSTD_SLICE = 512  # bytes; each may become 16 MB, and the library takes no limit of its own


class Bomb(Exception):
    """A few bytes that would become very many."""


# What one raises when the bytes are not what was said, or too many.
CORRUPT = (zlib.error, brotli.error, zstandard.ZstdError, Bomb)


def inflater(encoding: str) -> Inflate | None:
    """A streaming decompressor for a Content-Encoding; None for identity. LookupError for one we don't know."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _zlib()
    if encoding == "br":
        return _brotli()
    if encoding == "zstd":
        return _zstd()
    raise LookupError(encoding)


def _zlib() -> Inflate:
    stream = zlib.decompressobj(wbits=47)  # gzip or zlib, told by the first bytes

    def inflate(data: bytes) -> bytes:
        found = stream.decompress(data, MOST)
        if stream.unconsumed_tail:
            raise Bomb
        return found

    return inflate


def _brotli() -> Inflate:
    stream = brotli.Decompressor()

    def inflate(data: bytes) -> bytes:
        found: bytes = stream.process(data, output_buffer_limit=MOST)
        if not stream.can_accept_more_data():
            raise Bomb
        return found

    return inflate


def _zstd() -> Inflate:
    stream = zstandard.ZstdDecompressor().decompressobj()

    def inflate(data: bytes) -> bytes:
        found, size = [], 0
        for start in range(0, len(data), _ZSTD_SLICE):
            found.append(stream.decompress(data[start : start + _ZSTD_SLICE]))
            size += len(found[-1])
            if size > MOST:
                raise Bomb
        return b"".join(found)

    return inflate
