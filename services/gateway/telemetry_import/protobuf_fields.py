"""Messages within protobuf messages, cut out without decoding anything else.

The protobuf library decodes all of a message at once: two bytes of an export can become an object of a hundred.
"""

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _MESSAGE, _FOUR_BYTES = 0, 1, 2, 5  # wire types; groups are not used any more
_MOST_VARINT_BYTES = 10


class BadMessage(ValueError):
    """Bytes that are not a message, or one of too many fields."""


class FieldReader:
    """Reads messages that have at most `most` fields, all of them together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most

    def messages(self, data: memoryview, number: int) -> Iterator[memoryview]:
        """Yield the messages in the fields of this number; may raise BadMessage."""
        at = 0
        while at < len(data):
            self._left -= 1
            if self._left < 0:
                raise BadMessage(f"more than {self._most} fields")
            key, at = _varint(data, at)
            kind = key & 7
            if kind == _MESSAGE:
                size, at = _varint(data, at)
                if at + size <= len(data) and key >> 3 == number:
                    yield data[at : at + size]
                at += size
            elif kind == _VARINT:
                _, at = _varint(data, at)
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                at += 8 if kind == _EIGHT_BYTES else 4
            else:
                raise BadMessage("an unknown wire type")
        if at > len(data):
            raise BadMessage("a field that is cut short")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """(number, where it ends)."""
    found = 0
    for place, byte in enumerate(data[at : at + _MOST_VARINT_BYTES]):
        found |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return found, at + place + 1
    raise BadMessage("a number that does not end")
