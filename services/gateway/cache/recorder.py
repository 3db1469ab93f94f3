"""Uncompressed copy of an answer for the cache, taken as its bytes pass."""

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from services.gateway.parsing.decompress import Decompressor, inflater
from shared.cache_protocol import LARGEST_ENTRY


class Recorder:
    """Keeps one answer. Nothing is kept of one that is too large or cannot be decompressed."""

    __slots__ = ("_inflate", "_parts", "_size", "content_type")

    def __init__(self) -> None:
        self._parts: list[bytes] | None = []
        self._size = 0
        self._inflate: Decompressor | None = None
        self.content_type = ""

    def begin(self, headers: CIMultiDictProxy[str]) -> None:
        """The answer's head is here."""
        self.content_type = headers.get(hdrs.CONTENT_TYPE, "")
        try:
            self._inflate = inflater(", ".join(headers.getall(hdrs.CONTENT_ENCODING, ())))
        except LookupError:
            self._parts = None

    def feed(self, data: bytes) -> None:
        """Bytes of the answer have passed."""
        if self._parts is None:
            return
        if self._inflate is not None:
            try:
                data = self._inflate(data)
            except Exception:  # CORRUPT, or a defect: nothing is kept, and the answer goes on
                self._parts = None
                return
        self._size += len(data)
        if self._size > LARGEST_ENTRY:
            self._parts = None
        else:
            self._parts.append(data)

    def body(self) -> bytes:
        """The whole answer; b"" when it is not to be kept."""
        return b"".join(self._parts) if self._parts is not None else b""
