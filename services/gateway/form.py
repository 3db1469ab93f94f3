"""A multipart form's bytes as they stream through; its `model` and `stream` fields out, wherever they stand in it."""

import re

_WANTED = frozenset({b"model", b"stream"})
_NAME = re.compile(rb'content-disposition:[^\r\n]*?;\s*name="?([^";\r\n]+)"?', re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_MAX_PART = 2048  # bytes of a part's headers and value together; a longer part is a file


class Form:
    """`fields`: what was found so far. Holds at most a few KB of a form of any size."""

    def __init__(self, content_type: str) -> None:
        self.fields: dict[str, str] = {}
        match = _BOUNDARY.search(content_type)
        # The first delimiter has no line before it: one is put there.
        self._delimiter = b"\r\n--" + match.group(1).encode("utf-8", "replace") if match else b""
        self._rest = b"\r\n"
        self._inside = False  # the rest begins with a part that is not yet known to be a file

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if not self._delimiter or len(self.fields) == len(_WANTED):
            return
        data = self._rest + data
        while (at := data.find(self._delimiter)) >= 0:
            if self._inside:
                self._part(data[:at])
            data, self._inside = data[at + len(self._delimiter) :], True
        if self._inside and len(data) > _MAX_PART:
            self._inside = False
        self._rest = data if self._inside else data[-len(self._delimiter) :]

    def _part(self, part: bytes) -> None:
        head, _, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name and name.group(1) in _WANTED and b"filename" not in head.lower() and len(part) <= _MAX_PART:
            self.fields.setdefault(name.group(1).decode(), value.decode("utf-8", "replace"))
