"""Copies of messages for the tap: joined from frames, inflated, within bounds."""

import zlib
from collections.abc import Callable
from typing import NamedTuple

from services.gateway.parsing.json_skeleton import Skeleton
from services.gateway.websocket.frames import INVALID_PAYLOAD, TOO_BIG, FrameError, Piece

_TAIL = b"\x00\x00\xff\xff"  # that permessage-deflate leaves out at the end of each message
_STEP = 256 << 10  # bytes that are inflated at once
CLIP = 16 << 10  # bytes at each end of a message of which even the skeleton is too long to be kept
_MAX_SKELETON = 2 << 20
_MAX_FINAL_BLOCKS = 16  # of one message; each costs a new decompressor, and a copy of what follows


class Message(NamedTuple):
    """A whole message or its skeleton, or its first and last bytes."""

    text: bytes
    tail: bytes = b""
    clipped: bool = False  # the middle is missing


class Inflater:
    """Decompressor of one direction (RFC 7692).

    It must see every compressed message, unless the direction starts each with a new window.
    """

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._inflate: zlib._Decompress | None = None  # its window takes 40 KB, so only once it is needed
        self._final_blocks = 0  # of the message in progress

    def feed(self, data: bytes, take: Callable[[bytes], None], *, last: bool) -> None:
        """Inflate a part of a message; `take` gets the text piece by piece.

        FrameError if it is corrupt.
        """
        if self._inflate is None:
            self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        if last:
            data += _TAIL
        try:
            while True:
                piece = self._inflate.decompress(data, _STEP)
                if piece:
                    take(piece)
                data = self._inflate.unconsumed_tail
                if self._inflate.eof:  # a final block: what follows begins anew
                    self._final_blocks += 1
                    if self._final_blocks > _MAX_FINAL_BLOCKS:
                        raise FrameError(INVALID_PAYLOAD, "a message has too many final blocks")
                    data = self._inflate.unused_data.removesuffix(_TAIL)
                    self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
                if not data and len(piece) < _STEP:
                    break
        except zlib.error:
            raise FrameError(INVALID_PAYLOAD, "a message is not compressed as negotiated") from None
        if last:
            self._final_blocks = 0
            if not self._takeover:
                self._inflate = None


class MessageReader:
    """Joins the pieces of one direction to messages.

    Of longer ones than `limit` only the skeleton is kept, or a FrameError if `whole`: the caller needs all of them.
    """

    def __init__(self, inflater: Inflater | None, *, limit: int, whole: bool) -> None:
        self._inflater = inflater
        self._limit = limit
        self._whole = whole
        self._parts: list[bytes] = []
        self._size = 0
        self._skeleton: Skeleton | None = None  # of the message in progress, once it is too long
        self._compressed = False

    @property
    def size(self) -> int:
        """Bytes of the message in progress, inflated."""
        return self._size

    def feed(self, piece: Piece) -> Message | None:
        """Add a piece of a data frame; returns the message that it completes."""
        if piece.begins and piece.opcode:
            self._compressed = piece.compressed
        last = piece.ends and piece.final
        if self._compressed and self._inflater is not None:
            self._inflater.feed(piece.payload, self._take, last=last)
        elif piece.payload:
            self._take(piece.payload)
        if not last:
            return None
        message = self._whole_message() if self._skeleton is None else _skeleton_message(self._skeleton)
        self._parts = []
        self._size = 0
        self._skeleton = None
        return message

    def _whole_message(self) -> Message:
        parts = self._parts
        return Message(parts[0] if len(parts) == 1 else b"".join(parts))

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._limit:
            self._parts.append(data)
            return
        if self._whole:
            raise FrameError(TOO_BIG, f"a message may have at most {self._limit} bytes")
        if self._skeleton is None:  # it has become too long just now
            self._skeleton = Skeleton(limit=_MAX_SKELETON)
            for part in self._parts:
                self._skeleton.feed(part)
            self._parts = []
        self._skeleton.feed(data)


def _skeleton_message(skeleton: Skeleton) -> Message:
    text = skeleton.json()
    return Message(text[:CLIP], skeleton.tail, clipped=True) if skeleton.full else Message(text)
