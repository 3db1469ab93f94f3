"""Request bodies kept for counting tokens after they were sent: as they are, compressed, or not at all."""

import zstandard

_MAX_BODY = 2 << 20  # bytes: a larger prompt is not counted
_RAW_BYTES = 32 << 20  # kept as they are: compressing costs 2 to 5 ms a megabyte
_PACKED_BYTES = 32 << 20  # kept compressed beyond that


class PromptStore:
    """Bounds what all open streams keep of their requests. A body without room has no estimate of its prompt."""

    def __init__(self, *, raw_bytes: int = _RAW_BYTES, packed_bytes: int = _PACKED_BYTES) -> None:
        self._raw_left = raw_bytes
        self._packed_left = packed_bytes
        self._compressor = zstandard.ZstdCompressor(level=1)
        self.kept = 0  # bytes in memory

    def keep(self, body: bytes) -> "KeptPrompt":
        """Keep a body as long as there is room for it."""
        size = len(body)
        if size > _MAX_BODY:
            return KeptPrompt(self, b"", packed=False)
        if size <= self._raw_left:
            self._raw_left -= size
            self.kept += size
            return KeptPrompt(self, body, packed=False)
        if self._packed_left > 0:
            body = self._compressor.compress(body)
            self._packed_left -= len(body)
            self.kept += len(body)
            return KeptPrompt(self, body, packed=True)
        return KeptPrompt(self, b"", packed=False)

    def give_back(self, size: int, *, packed: bool) -> None:
        """A body is dropped."""
        self.kept -= size
        if packed:
            self._packed_left += size
        else:
            self._raw_left += size


class KeptPrompt:
    """One request's body, or nothing where it had no room."""

    __slots__ = ("_data", "_packed", "_store")

    def __init__(self, store: PromptStore, data: bytes, *, packed: bool) -> None:
        self._store = store
        self._data = data
        self._packed = packed

    def read(self) -> bytes:
        """The body; b"" when it is not kept."""
        return zstandard.decompress(self._data) if self._packed else self._data

    def drop(self) -> None:
        """Forget the body; a second time does nothing."""
        self._store.give_back(len(self._data), packed=self._packed)
        self._data = b""
        self._packed = False
