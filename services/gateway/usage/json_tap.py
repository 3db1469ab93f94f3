"""Evidence of a JSON document, which is kept until its end.

An array is one of the formats in which Gemini streams.
"""

import codecs

from services.gateway.parsing import json_array, lenient_json
from services.gateway.parsing.decompress import CORRUPT, Decompressor
from services.gateway.parsing.json_skeleton import Skeleton
from services.gateway.usage.evidence import Picked, collect, missing_of, pick, pick_clipped
from services.gateway.usage.gap import TOO_LARGE, Gap, unread_reason
from shared.events import GAP_TOOLS, GAPS_ALL, UNREAD_TOO_MANY

MAX_DOCUMENT = 8 << 20  # bytes of a JSON array, decompressed, that are kept whole; of a longer one the skeleton
MAX_OBJECT = 1 << 20  # the same of a JSON object: a stream's texts may have to be counted, those of an object never
_CLIP = 16 << 10
_SPACE = 64  # bytes of space that may stand before a document
_OPENING = 8  # pieces that hold more bytes than tell a text's encoding
_MAX_PARTS = 1024  # pieces that are kept apart; each takes memory of its own
_MAX_PICKS = 256  # elements of an array that are picked at each end; others cost too much when there are very many
_MAX_ERRORS = 4
# First bytes of a response that is empty, a string, a number or a name: they state no usage.
_BEFORE_NO_OBJECT = frozenset(map(bytes, zip(b'"-0123456789tfn'))) | {b""}
# An element of an array is picked when it holds one of these.
_MARKS = (b'"error"', b'"groundingMetadata"')
_USAGE = (b'"usageMetadata"', b'"usage"')


class JsonTap:
    """Reads a JSON response; the longest through a skeleton of their text.

    `only_objects`: the media type does not say that it is JSON, so it is read only where it begins like an object.
    `framed`: HTTP says where the response ends; otherwise the JSON does. `cut_short`: it ended before its JSON did, or
    the array did. `is_invalid`: it is no JSON. Ask after `evidence`.
    """

    def __init__(self, inflate: Decompressor | None, *, only_objects: bool = False, framed: bool = True) -> None:
        self.cut_short = False
        self.is_invalid = False
        self._framed = framed
        self.ended = False
        self.failed = False
        self.usage = False  # whether an array's element with usage came
        self.gap: Gap | None = None
        self._inflate = inflate
        self._doubtful = only_objects
        self._foreign = False  # it is no JSON object
        self._parts: list[bytes] = []
        self._size = 0
        self._decode: codecs.IncrementalDecoder | None = None  # of UTF-16 and UTF-32
        self._skeleton: Skeleton | None = None  # of a document too long to be kept whole

    def feed(self, data: bytes) -> None:
        """Read bytes of the response as they pass."""
        if self.gap is not None or self._foreign:
            return
        if self._inflate:
            try:
                data = self._inflate(data)
            except CORRUPT as error:
                self.gap = Gap(GAPS_ALL, unread_reason(error))
                return
        if self._doubtful and data:
            self._doubtful = False
            if not data.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
                self._foreign = True
                return
        if self._decode is not None:
            data = self._decode.decode(data).encode()
        self._size += len(data)
        if self._skeleton is not None:
            self._skeleton.feed(data)
            return
        self._parts.append(data)
        if len(self._parts) > _MAX_PARTS:
            self._parts = [b"".join(self._parts)]
        if self._size > MAX_OBJECT and not self._is_short_array():
            self._begin_skeleton()

    def _begin_skeleton(self) -> None:
        parts = self._parts
        self._decode = lenient_json.transcoder(b"".join(parts[:_OPENING]))
        if self._decode is not None:
            parts = [self._decode.decode(part).encode() for part in parts]
        self._skeleton = Skeleton()
        for part in parts:
            self._skeleton.feed(part)
        self._parts = [b"".join(parts[:_OPENING])[:_CLIP]]

    def _is_short_array(self) -> bool:
        return self._size <= MAX_DOCUMENT and _is_array(b"".join(part[:_SPACE] for part in self._parts[:_OPENING]))

    def text(self, limit: int) -> bytes:
        """The response's first bytes."""
        return b"".join(self._parts)[:limit]

    def events(self) -> tuple[list[bytes], float] | None:
        """The elements of an array as far as they are kept; None for another document."""
        if self._skeleton is not None:
            return None  # its texts are not there any more
        document = self._joined()
        try:
            return (json_array.elements(document), 1.0) if _is_array(document) else None
        except lenient_json.WorkLimitExceeded:
            return None

    def evidence(self) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        """(Picks in order, tool calls by name, whether something is missing)."""
        if self._skeleton is not None:
            document = self._skeleton.json()
            if self._skeleton.full:
                return self._collected([pick_clipped(document[:_CLIP], self._skeleton.tail)], otherwise=TOO_LARGE)
        elif len(self._parts) == 1 and self._parts[0].startswith(b'{"'):  # an object in UTF-8: the usual case
            document = self._parts[0]
        else:
            document = self._joined()
        if not document.startswith(b"{") and _is_array(document):
            self.cut_short = not document.rstrip().endswith(b"]")
            return self._array(document)
        picked = [pick(document)]
        self.is_invalid = picked[0] is None and document.lstrip()[:1] not in _BEFORE_NO_OBJECT
        if not self._framed and picked[0] is None:
            self.cut_short = document.lstrip().startswith(b"{") or (not document and self._inflate is not None)
        evidence = collect(picked, truncated=self.gap is not None)
        return self._collected(picked) if evidence[2] else evidence

    def _joined(self) -> bytes:
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return lenient_json.utf8(self._parts[0]) if self._parts else b""

    def _array(self, document: bytes) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        try:
            picked, whole = _picks(document, json_array.elements(document))
        except lenient_json.WorkLimitExceeded:
            clipped = pick_clipped(document[:_CLIP], document[-_CLIP:])
            return self._collected([clipped], otherwise=Gap(GAPS_ALL, UNREAD_TOO_MANY))
        with_usage = [one for one in picked if one.usage][-1:]
        self.usage = bool(with_usage)
        self.failed = any(one.error for one in picked)
        errors = [one for one in picked[1:] if one.error][:_MAX_ERRORS]
        gap = None if whole else Gap((GAP_TOOLS,), UNREAD_TOO_MANY)
        kept, _, truncated = self._collected([*picked[:1], *errors, *with_usage], otherwise=gap)
        _, tools, _ = collect(picked, truncated=False)
        return kept, tools, truncated

    def _collected(
        self, picked: list[Picked | None] | list[Picked], *, otherwise: Gap | None = None
    ) -> tuple[tuple[bytes, ...], dict[str, int], bool]:
        evidence = collect(picked, truncated=self.gap is not None or otherwise is not None)
        if not evidence[2]:
            return evidence
        if self.gap is None and (missing := missing_of(picked)):
            self.gap = Gap(missing, otherwise.reason if otherwise else UNREAD_TOO_MANY)
        self.gap = self.gap or otherwise
        return evidence


def _is_array(document: bytes) -> bool:
    return document[:_SPACE].lstrip()[:1] == b"["


def _picks(document: bytes, elements: list[bytes]) -> tuple[list[Picked], bool]:
    """(Picks of the first element, those with an error or searches, and the last with usage; whether that is all)."""
    chosen = [0] if elements else []
    if any(mark in document for mark in _MARKS):
        chosen += [at for at, one in enumerate(elements) if at and any(mark in one for mark in _MARKS)]
    picks = {at: pick(elements[at]) for at in chosen[:_MAX_PICKS]}
    for at in range(len(elements) - 1, max(len(elements) - _MAX_PICKS, 0) - 1, -1):
        if any(mark in elements[at] for mark in _USAGE):
            last = picks[at] = picks.get(at) or pick(elements[at])
            if last is not None and last.usage:
                break
    return [one for _, one in sorted(picks.items(), key=lambda item: item[0]) if one is not None], len(
        chosen
    ) <= _MAX_PICKS
