"""The books' own words for how usage and cost are known go in; words for people come out."""

USAGE = {
    "reported": "reported by the provider",
    "drained": "reported by the provider, read after the client disconnected",
    "partial": "partial: the stream ended early",
    "estimated": "estimated: the provider did not report all of it",
    "absent": "not reported",
}
_WHY = {
    "cache_hit": "Served from cache, free of charge",
    "refused": "Rejected by the gateway before reaching the provider",
    "error": "Providers do not charge for errors",
    "interrupted": "Gateway stopped before the response ended",
    "broken_stream": "Stream ended before usage was reported",
    "usage_absent": "No usage was reported",
    "answer_failed": "The response reports an error and no usage",
    "unread": "Usage could not be fully read",
    "background": "Background response, which can be retrieved several times",
    "disputed_price": "Published prices disagree",
    "unpriced_tier": "No price for this service tier",
    "batch": "Part of a batch",
    "batch_billed": "Billed once, in the row of its batch",
    "estimated": "Includes estimates",
    "unknown_model": "No price for this model",
    "unpriced_model": "No price for this model",
    "unpriced_unit": "No price for a unit",
    "unpriced_geo": "No price for this region",
    "internal_error": "Internal pricing error",
}
_UNITS = {"_mtok": "per million tokens", "_kcount": "per thousand"}


def why(reason: str) -> str:
    """Why a cost is unknown, nothing, or not exact: "No price for a unit (audio_mtok)"."""
    kind, _, detail = reason.partition(":")
    words = _WHY.get(kind, kind.replace("_", " "))
    return f"{words} ({detail})" if detail else words


def unit(name: str) -> str:
    """input_mtok → input, per million tokens."""
    for ending, words in _UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending).replace('_', ' ')}, {words}"
    return name.replace("_", " ")
