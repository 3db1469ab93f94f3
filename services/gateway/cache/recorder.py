"""Decompressed copy of a response for the cache, taken as its bytes pass."""

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from services.gateway.parsing.decompress import Decompressor, inflater
from shared.cache_protocol import LARGEST_ENTRY


class Recorder:
    """Copies one response, unless it is too large or cannot be decompressed."""

    __slots__ = ("_inflate", "_parts", "_size", "content_type")

    def __init__(self) -> None:
        self._parts: list[bytes] | None = []
        self._size = 0
        self._inflate: Decompressor | None = None
        self.content_type = ""

    def begin(self, headers: CIMultiDictProxy[str]) -> None:
        """Read the response's head."""
        self.content_type = headers.get(hdrs.CONTENT_TYPE, "")
        try:
            self._inflate = inflater(", ".join(headers.getall(hdrs.CONTENT_ENCODING, ())))
        except LookupError:
            self._parts = None

    def feed(self, data: bytes) -> None:
        """Add a chunk of the body."""
        if self._parts is None:
            return
        if self._inflate is not None:
            try:
                data = self._inflate(data)
            except Exception:  # CORRUPT, or a defect: it is not cached, and the response goes on
                self._parts = None
                return
        self._size += len(data)
        if self._size > LARGEST_ENTRY:
            self._parts = None
        else:
            self._parts.append(data)

    def body(self) -> bytes:
        """The whole decompressed body; b"" if it is not cacheable."""
        return b"".join(self._parts) if self._parts is not None else b""
