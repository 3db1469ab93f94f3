"""Usage in Gemini's Live API, which uses other names for some counts."""

import msgspec

from services.logger.usage import gemini
from services.logger.usage.payload import Object, Payload, raw
from shared.usage import Usage

_METADATA = "usageMetadata"
_NAMES = {"responseTokenCount": "candidatesTokenCount", "responseTokensDetails": "candidatesTokensDetails"}


def read_usage(payload: Payload) -> Usage:
    """Read the last usageMetadata of a turn."""
    renamed = tuple(_renamed(item) for item in payload.objects)
    usage = gemini.read_usage(msgspec.structs.replace(payload, objects=list(renamed)))
    return msgspec.structs.replace(usage, raw=raw(payload.last(_METADATA)))


def _renamed(item: Object) -> Object:
    metadata = item.get(_METADATA)
    if not isinstance(metadata, dict):
        return item
    return {**item, _METADATA: {_NAMES.get(name, name): value for name, value in metadata.items()}}
