"""Names of the counts in usage objects that prices may depend on.

Only a usage object that is too large to be passed on whole is reduced to these.
"""

import msgspec

from services.gateway.dialects import DIALECTS
from services.gateway.parsing import lenient_json

_LARGEST_FIELD = 16 << 10  # bytes of one field; details by modality and iterations are lists of small objects

COUNTS = tuple(dict.fromkeys(name for dialect in DIALECTS.values() for name in dialect.usage_names))
KNOWN = frozenset(COUNTS)
_decoder = msgspec.json.Decoder(
    msgspec.defstruct("KnownCounts", [(name, msgspec.Raw, msgspec.Raw()) for name in COUNTS])
)


def known_counts(raw: bytes) -> tuple[bytes, bool]:
    """(The known counts of a usage object, whether all of them are there)."""
    counts = lenient_json.decode(raw, _decoder)
    if counts is None:
        return b"", False
    fields = [(name, bytes(value)) for name in COUNTS if (value := getattr(counts, name))]
    kept = [(name, value) for name, value in fields if len(value) <= _LARGEST_FIELD]
    return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), value) for name, value in kept), len(kept) == len(fields)
