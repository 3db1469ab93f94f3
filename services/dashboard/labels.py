"""Texts for the outcome of a request and for how its usage and cost are known."""

from http import HTTPStatus

NOT_SET = "(not set)"  # a requester, model or token without a name
USAGE = {
    "reported": "reported by the provider",
    "drained": "reported by the provider, read after the client disconnected",
    "partial": "partial: the stream ended early",
    "estimated": "estimated: the provider did not report all of it",
    "absent": "not reported",
    "imported": "imported from the client's own telemetry",
}
_OUTCOMES = {
    "interrupted": "Gateway stopped",
    "upstream_closed": "Stream cut off by provider",
    "timeout": "Timeout",
    "upstream_error": "Connection lost",
}
OUTCOMES = {
    "complete": "Complete",
    "client_closed": "Client disconnected",
    "upstream_closed": "Stream cut off",
    "upstream_error": "Connection lost",
    "timeout": "Timeout",
    "interrupted": "Gateway stopped",
}
_STATUSES = {499: "Client closed", 529: "Overloaded"}  # not in HTTPStatus
_COST_REASONS = {
    "cache_hit": "Served from cache, free of charge",
    "subscription": "Covered by a subscription",
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


def outcome(status: int, outcome: str) -> str:
    """Return a label for an error: "Stream cut off by provider", "Too Many Requests"."""
    if outcome in _OUTCOMES and (status < 400 or outcome != "upstream_error"):
        return _OUTCOMES[outcome]
    if status < 400:
        return "Error in response"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return _STATUSES.get(status, f"Status {status}")


def cost_reason(reason: str) -> str:
    """Return why a cost is unknown or inexact: "No price for a unit (audio_mtok)"."""
    name, _, detail = reason.partition(":")
    text = _COST_REASONS.get(name, name.replace("_", " "))
    return f"{text} ({detail})" if detail else text


def unit(name: str) -> str:
    """Return the label of a unit price: "input, per million tokens" for input_mtok."""
    for suffix, text in _UNITS.items():
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')}, {text}"
    return name.replace("_", " ")


def sentence(text: str) -> str:
    """Return a message as a sentence: a capital first, a full stop last."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "…")) else ".")
