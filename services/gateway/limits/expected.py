"""Expected and worst-case use of a budget by a request."""

from typing import Any

import msgspec

from services.gateway.limits import worst_case
from services.gateway.limits.worst_case import MOST_OUTPUT
from services.gateway.parsing.json_skeleton import MAX_WHOLE
from shared.events import Envelope
from shared.limits.model import COST, REQUESTS, Limit
from shared.limits.spend import Quote

USUAL_OUTPUT = 4096  # tokens assumed for a model without history if the request states no maximum
_BYTES_PER_TOKEN = 4  # of usual text; at the worst each byte is a token


class _Bounds(msgspec.Struct):
    """Parameters that bound the output, as the APIs name them."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    generation: Any = msgspec.field(default=None, name="generationConfig")


_bounds = msgspec.json.Decoder(_Bounds)


def most_output(body: bytes | None) -> int | None:
    """The most output tokens that a request allows, over all its choices.

    None if it states no maximum, or is too large to be read once more.
    """
    if not body or len(body) > MAX_WHOLE:
        return None
    try:
        bounds = _bounds.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    stated = [bounds.max_tokens, bounds.max_completion_tokens, bounds.max_output_tokens]
    choices = [bounds.n]
    if isinstance(bounds.generation, dict):
        stated.append(bounds.generation.get("maxOutputTokens"))
        choices.append(bounds.generation.get("candidateCount"))
    maxima = [number for number in stated if number is not None]
    counts = [number for number in choices if number is not None]
    if not maxima or not all(type(number) is int and number > 0 for number in (*maxima, *counts)):
        return None  # what a provider makes of it is unknown
    return int(min(max(maxima) * max(counts, default=1), MOST_OUTPUT))


def typical(limit: Limit, quote: Quote, body: bytes | None) -> int:
    """What a request is expected to use, by experience or by what it allows."""
    if limit.measure == REQUESTS:
        return 1
    known = quote.expected if limit.measure == COST else quote.tokens
    return known if known is not None else allowed(limit, quote, body)


def allowed(limit: Limit, quote: Quote, body: bytes | None) -> int:
    """What a request could use by its size and its maximum of output, at list prices."""
    if limit.measure == REQUESTS:
        return 1
    size = len(body) // _BYTES_PER_TOKEN if body else 0
    output = most_output(body)
    output = USUAL_OUTPUT if output is None else output
    if limit.measure != COST:
        return size + output
    if quote.input_price is None or quote.output_price is None:
        return quote.unpriced
    return size * quote.input_price + output * quote.output_price


def upper_bound(limit: Limit, quote: Quote, body: bytes | None, request: Envelope) -> int | None:
    """What a request could use at the very most; None if that is not bounded."""
    if body is None:
        return None
    bounds = worst_case.bounds(body, dialect=request.dialect, endpoint=request.endpoint)
    if bounds is None:
        return None
    if limit.measure != COST:
        return bounds.input_tokens + bounds.output_tokens
    if quote.worst_input is None or (bounds.output_tokens and quote.worst_output is None):
        return None
    return bounds.input_tokens * quote.worst_input + bounds.output_tokens * (quote.worst_output or 0)
