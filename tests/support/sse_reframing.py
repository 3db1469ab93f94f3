"""Rewrites recorded event streams in other forms of the SSE standard."""

import json
import random
from itertools import pairwise

from services.gateway.parsing import sse

LINE_ENDS = (b"\n", b"\r\n", b"\r")


def reframed(stream: bytes, seed: int, *, end: bytes | None = None) -> bytes:
    """The stream with other line ends, data on several lines, comments and further fields. `end`: its line end."""
    draw = random.Random(seed)
    lines: list[bytes] = []
    for data in sse.datas(stream):
        fields = [_data_line(draw, part) for part in _parts(draw, data)]
        for extra in draw.sample((b": alive", b"event: message", b"id: 7", b"retry: 100", b"unknown", b"id"), 2):
            fields.insert(draw.randint(0, len(fields)), extra)
        lines += [*fields, b""]
        if not draw.randint(0, 5):
            lines += draw.choice(([b""], [b": alive"], [b": alive", b""], [b"event: nothing", b""]))
    written = b"\xef\xbb\xbf" if not draw.randint(0, 3) else b""
    for line in lines:
        chosen = end or draw.choice(LINE_ENDS)
        if not line and chosen == b"\n" and written.endswith(b"\r"):
            chosen = b"\r"  # CR and LF would be one line end
        written += line + chosen
    return written


def cut(stream: bytes, seed: int) -> list[bytes]:
    """The stream in pieces: byte by byte, or of any size."""
    draw = random.Random(seed)
    if not draw.randint(0, 3):
        return [stream[at : at + 1] for at in range(len(stream))]
    positions = sorted(draw.sample(range(len(stream) + 1), min(draw.randint(0, 40), len(stream))))
    return [stream[start:stop] for start, stop in pairwise([0, *positions, len(stream)])]


def _parts(draw: random.Random, data: bytes) -> list[bytes]:
    """The data cut where JSON allows white space, at a few places of many."""
    if data == sse.DONE:
        return [data]
    if draw.randint(0, 2) == 0:
        return json.dumps(json.loads(data), indent=1).encode().split(b"\n")
    inside = escaped = False
    parts = [bytearray()]
    for byte in data:
        parts[-1].append(byte)
        if inside:
            inside = escaped or byte != ord('"')
            escaped = not escaped and byte == ord("\\")
        elif byte == ord('"'):
            inside = True
        elif byte in b",:{[" and not draw.randint(0, 9):
            parts.append(bytearray())
    return [bytes(part) for part in parts]


def _data_line(draw: random.Random, part: bytes) -> bytes:
    if not part and draw.randint(0, 1):
        return b"data"
    return b"data:" + (b" " if part.startswith(b" ") or draw.randint(0, 1) else b"") + part
