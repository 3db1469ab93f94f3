"""Event of a stream that is too long to be kept whole."""

from services.gateway.parsing import sse
from services.gateway.parsing.json_skeleton import Skeleton

MAX_EVENT = 1 << 20  # bytes of one event that are kept whole; of a longer one the skeleton
DATA = b"data:"


class LongEvent:
    """Bounded copy of the data of an event. `lines`: how many it may still have."""

    def __init__(self, beginning: bytes, *, lines: int) -> None:
        self.lines = lines
        self._skeleton = Skeleton(limit=2 * MAX_EVENT)
        self._start: bytes | None = b""  # of a line whose field is not known yet
        self._in_data = False
        self.feed(beginning)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the event."""
        if self._skeleton.full:
            self._skeleton.feed(data)
            return
        self.lines -= data.count(b"\n") + data.count(b"\r")
        if self.lines < 0:
            self.lines = 0
            self._skeleton.stop()
            self._skeleton.feed(data)
            return
        first, *lines = sse.with_line_feeds(data).split(b"\n")  # an LF whose CR came before is one more blank line
        self._take(first)
        if not lines:
            return
        self._end_line()
        last = lines.pop()
        if values := [line[len(DATA) :] for line in lines if line.startswith(DATA)]:
            self._skeleton.feed(b"\n".join(values) + b"\n")
        self._take(last)

    def data(self) -> tuple[bytes, bool]:
        """(What is kept of the data, whether only its last bytes follow a gap)."""
        self._end_line()
        return self._skeleton.json() + self._skeleton.tail, self._skeleton.full

    def _take(self, part: bytes) -> None:
        if self._start is not None:
            self._start += part
            if len(self._start) < len(DATA):
                return
            self._in_data = self._start.startswith(DATA)
            part = self._start[len(DATA) :]
            self._start = None
        if self._in_data:
            self._skeleton.feed(part)

    def _end_line(self) -> None:
        if self._in_data:
            self._skeleton.feed(b"\n")
        self._start = b""
        self._in_data = False
