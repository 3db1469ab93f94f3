"""Request bodies kept for counting tokens: as they are, or compressed."""

import msgspec
import zstandard

_MAX_BODY = 2 << 20  # bytes: a larger prompt is not counted
_RAW_BYTES = 32 << 20  # kept as they are: compressing costs 2 to 5 ms a megabyte
_PACKED_BYTES = 32 << 20  # kept compressed beyond that


class PromptStore:
    """Bounds the memory for request bodies of open streams.

    The prompt of a body without room is not estimated.
    """

    def __init__(self, *, raw_bytes: int = _RAW_BYTES, packed_bytes: int = _PACKED_BYTES) -> None:
        self._raw_left = raw_bytes
        self._packed_left = packed_bytes
        self._compressor = zstandard.ZstdCompressor(level=1)
        self.kept = 0  # bytes in memory

    def keep(self, body: bytes) -> "KeptPrompt":
        """Keep a body as long as there is room for it."""
        size = len(body)
        if size > _MAX_BODY:
            return KeptPrompt(self)
        if size <= self._raw_left:
            self._raw_left -= size
            self.kept += size
            return KeptPrompt(self, body)
        if self._packed_left > 0:
            body = self._compressor.compress(body)
            self._packed_left -= len(body)
            self.kept += len(body)
            return KeptPrompt(self, body, True)
        return KeptPrompt(self)

    def give_back(self, size: int, *, packed: bool) -> None:
        """Make room again when a body is dropped."""
        self.kept -= size
        if packed:
            self._packed_left += size
        else:
            self._raw_left += size


class KeptPrompt(msgspec.Struct, gc=False):
    """One request's body, or nothing where it had no room."""

    store: PromptStore
    data: bytes = b""
    packed: bool = False  # `data` is compressed

    def read(self) -> bytes:
        """The body; b"" when it is not kept."""
        return zstandard.decompress(self.data) if self.packed else self.data

    def drop(self) -> None:
        """Forget the body; a second time does nothing."""
        if self.data:
            self.store.give_back(len(self.data), packed=self.packed)
            self.data = b""
            self.packed = False
