"""The books' own words for how usage and cost are known go in; words for people come out."""

USAGE = {
    "reported": "as the provider reported it",
    "drained": "as the provider reported it, read after the client had left",
    "partial": "partial: the stream broke off",
    "estimated": "estimated: the provider left something open",
    "absent": "not known: none was reported",
}
_WHY = {
    "cache_hit": "answered from the cache, nothing was charged",
    "refused": "refused here, the provider never saw it",
    "error": "the provider charges nothing for an error",
    "interrupted": "unknown, the gateway ended before the answer did",
    "broken_stream": "unknown, the stream broke off before its usage came",
    "usage_absent": "unknown, no usage was reported",
    "answer_failed": "unknown, the answer reports an error and no usage",
    "unread": "unknown, not all that bears on the cost could be read",
    "background": "unknown, the answer is made in the background and can be fetched again and again",
    "disputed_price": "unknown, published prices disagree",
    "unpriced_tier": "unknown, this kind of processing has no price",
    "batch": "unknown, it belongs to a batch",
    "batch_billed": "nothing here, the batch is billed once in a row of its own",
    "estimated": "rests on estimates",
    "unknown_model": "unknown, the model has no price",
    "unpriced_model": "unknown, the model has no price",
    "unpriced_unit": "unknown, a unit has no price",
    "unpriced_geo": "unknown, this region has no price",
    "internal_error": "unknown, pricing failed",
}
_UNITS = {"_mtok": "a million tokens", "_kcount": "a thousand"}


def why(reason: str) -> str:
    """Why a cost is unknown, nothing, or not exact: "unknown, a unit has no price (audio_mtok)"."""
    kind, _, detail = reason.partition(":")
    words = _WHY.get(kind, kind.replace("_", " "))
    return f"{words} ({detail})" if detail else words


def unit(name: str) -> str:
    """input_mtok → input, a million tokens."""
    for ending, words in _UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending).replace('_', ' ')}, {words}"
    return name.replace("_", " ")
