"""WebSocket frames (RFC 6455): found in a byte stream and passed on as they came.

Only the frame's head is parsed. Pieces keep the bytes that arrived, so that what is relayed is identical down to its
mask and its length encoding.
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from aiohttp._websocket.helpers import websocket_mask
from aiohttp.http_websocket import WS_KEY

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_CONTROL = 0x8  # bit of the opcodes of control frames
_MAX_CONTROL = 125  # bytes of a control frame's payload
_MAX_REASON = 123

PROTOCOL_ERROR, INVALID_PAYLOAD, TOO_BIG = 1002, 1007, 1009

__all__ = ["WS_KEY", "FrameError", "Piece", "Scanner"]


class FrameError(Exception):
    """Bytes that are not valid frames; `code`: to close the connection with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Piece(NamedTuple):
    """Part of a frame, as far as it has arrived."""

    raw: bytes  # as received, for the first piece with the frame's head
    payload: bytes  # the same without head and mask
    opcode: int
    final: bool  # the frame is the last one of its message
    compressed: bool  # RSV1 is set: the message is compressed
    begins: bool  # the frame begins
    ends: bool  # the frame ends

    @property
    def is_control(self) -> bool:
        """Whether this is part of a ping, a pong or a close frame."""
        return self.opcode >= _CONTROL


class Scanner:
    """Splits one direction's bytes into pieces of valid frames.

    `masked`: of the direction, as the RFC requires it. `compression`: it was negotiated.
    """

    def __init__(self, *, masked: bool, compression: bool) -> None:
        self._masked = masked
        self._compression = compression
        self._head = b""  # of a frame whose head is incomplete
        self._left = 0  # bytes missing from the current frame
        self._mask = b""
        self._offset = 0  # of the next payload byte in the mask
        self._opcode = 0
        self._final = False
        self._compressed = False
        self._in_message = False  # between the frames of a fragmented message

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Split bytes as they arrive; FrameError for an invalid frame."""
        position = 0
        if self._head:
            data = self._head + data
            self._head = b""
        while position < len(data):
            begins = not self._left
            start = position
            if begins:
                size = self._read_head(data, position)
                if not size:
                    self._head = data[position:]
                    return
                position += size
            taken = min(self._left, len(data) - position)
            if begins and not taken and self._left:
                # A head without payload yet: held back, so that a piece always says something.
                self._head = data[start:]
                self._left = 0
                return
            payload = data[position : position + taken]
            position += taken
            self._left -= taken
            if self._mask and payload:
                payload = self._unmasked(payload)
            ends = not self._left
            yield Piece(
                data[start:position], payload, self._opcode, self._final, self._compressed, begins=begins, ends=ends
            )
            if ends and self._opcode < _CONTROL:
                self._in_message = not self._final

    def _read_head(self, data: bytes, at: int) -> int:
        """Parse a frame's head; returns its size, 0 if it is incomplete."""
        available = len(data) - at
        if available < 2:
            return 0
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        extended = 2 if length == 126 else 8 if length == 127 else 0
        masked = bool(second & 0x80)
        size = 2 + extended + (4 if masked else 0)
        if available < size:
            self._check(first, length, masked=masked)
            return 0
        self._check(first, length, masked=masked)
        if extended:
            length = int.from_bytes(data[at + 2 : at + 2 + extended])
            if length >> 63:
                raise FrameError(PROTOCOL_ERROR, "a frame's length is invalid")
        opcode = first & 0x0F
        if opcode < _CONTROL and (opcode == CONTINUATION) != self._in_message:
            raise FrameError(PROTOCOL_ERROR, "a fragmented message is out of order")
        self._opcode = opcode
        self._final = bool(first & 0x80)
        self._compressed = bool(first & 0x40)
        self._mask = data[at + size - 4 : at + size] if masked else b""
        self._offset = 0
        self._left = length
        return size

    def _check(self, first: int, length: int, *, masked: bool) -> None:
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            raise FrameError(PROTOCOL_ERROR, "a frame has an unknown opcode")
        if opcode >= _CONTROL and (length > _MAX_CONTROL or not first & 0x80):
            raise FrameError(PROTOCOL_ERROR, "a control frame is fragmented or too long")
        if first & 0x30 or (first & 0x40 and not (self._compression and opcode in (TEXT, BINARY))):
            raise FrameError(PROTOCOL_ERROR, "a frame has a reserved bit set")
        if masked != self._masked:
            raise FrameError(PROTOCOL_ERROR, "a frame is not masked as it must be")

    def _unmasked(self, payload: bytes) -> bytes:
        turn = self._offset % 4
        mask = self._mask[turn:] + self._mask[:turn]
        self._offset += len(payload)
        copy = bytearray(payload)
        websocket_mask(mask, copy)
        return bytes(copy)


def text_frame(text: bytes, *, masked: bool = False, opcode: int = TEXT) -> bytes:
    """A whole uncompressed message in one frame."""
    return _frame(opcode, text, masked=masked)


def close_frame(code: int, reason: str, *, masked: bool = False) -> bytes:
    """A close frame; the reason is cut to what fits."""
    text = reason.encode()[:_MAX_REASON].decode("utf-8", "ignore").encode()
    return _frame(CLOSE, struct.pack("!H", code) + text, masked=masked)


def _frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    size = len(payload)
    flag = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, flag | size))
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, flag | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, flag | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    copy = bytearray(payload)
    websocket_mask(mask, copy)
    return head + mask + bytes(copy)
