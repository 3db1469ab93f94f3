"""A Content-Encoding goes in, a decompressor for an answer's bytes as they pass comes out."""

import zlib
from collections.abc import Callable

import brotli
import zstandard

Inflate = Callable[[bytes], bytes]

CORRUPT = (zlib.error, brotli.error, zstandard.ZstdError)  # what one raises when the bytes are not what was said


def inflater(encoding: str) -> Inflate | None:
    """A streaming decompressor for a Content-Encoding; None for identity. LookupError for one we don't know."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(wbits=47).decompress  # gzip or zlib, told by the first bytes
    if encoding == "br":
        process: Inflate = brotli.Decompressor().process
        return process
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    raise LookupError(encoding)
