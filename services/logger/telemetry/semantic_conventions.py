"""Attributes of a request: the GenAI semantic conventions', and Metrion's own.

Input counts include the cache's and output counts the reasoning's, as the conventions ask; Langfuse and Phoenix
subtract the parts that are listed separately. Tokens written to a cache keep the name `cache_creation`, although the
conventions have since renamed it: backends do not know `cache_write` yet, and Langfuse would count such tokens twice.
There is no attribute for anything that a client or a model wrote, nor for a provider's error message, which may quote
it.
"""

from services.logger.rows import IMPORTED
from services.logger.telemetry.stored_request import StoredRequest

Value = str | bool | int | float
Attributes = dict[str, Value]

LATEST = "gen_ai_latest_experimental"  # in OTEL_SEMCONV_STABILITY_OPT_IN
CURRENCY = "USD"
_GATEWAY = "gateway"  # value of metrion.source, as in metrion.requests

# gen_ai.provider.name by provider; an operator's own keep their name.
_PROVIDERS = {"gemini": "gcp.gemini", "mistral": "mistral_ai", "grok": "x_ai"}
_SYSTEMS = _PROVIDERS | {"grok": "xai"}  # gen_ai.system, as of version 1.36 of the conventions
_HTTPS = 443


def is_latest_only(opt_in: str) -> bool:
    """Whether to leave out names of earlier versions.

    `opt_in`: OTEL_SEMCONV_STABILITY_OPT_IN.
    """
    return LATEST in (part.strip() for part in opt_in.split(","))


def common(request: StoredRequest, *, latest_only: bool) -> Attributes:
    """Attributes of the span and of the metrics."""
    row = request.row
    found: Attributes = {
        "gen_ai.operation.name": request.operation,
        "gen_ai.provider.name": _PROVIDERS.get(row.provider, row.provider),
    }
    if not latest_only:
        found["gen_ai.system"] = _SYSTEMS.get(row.provider, row.provider)
    if request.server:
        found |= _server(request.server)
    if request.error_type:
        found["error.type"] = request.error_type
    return found


def of_span(request: StoredRequest, *, latest_only: bool) -> Attributes:
    """Attributes of a request's span; what is unknown is absent, never 0."""
    row = request.row
    found = common(request, latest_only=latest_only)
    _add_texts(
        found,
        {
            "gen_ai.request.model": row.model_requested,
            "gen_ai.response.model": row.model,
            "gen_ai.conversation.id": row.session,
            "user.id": row.requester,
        },
    )
    if row.status:
        found["http.response.status_code"] = row.status
    if row.stream:
        found["gen_ai.request.stream"] = True
        if row.ttfb_ms is not None:
            found["gen_ai.response.time_to_first_chunk"] = row.ttfb_ms / 1000
    return found | _usage(request) | _cost(request) | _metrion(request)


def _server(server: str) -> Attributes:
    host, separator, port = server.rpartition(":")
    if separator and port.isdigit():
        return {"server.address": host.strip("[]"), "server.port": int(port)}
    return {"server.address": server.strip("[]"), "server.port": _HTTPS}


def _usage(request: StoredRequest) -> Attributes:
    row = request.row
    found: Attributes = {}
    if row.input_tokens is not None:
        found["gen_ai.usage.input_tokens"] = row.input_tokens
        if row.cache_read_tokens:
            found["gen_ai.usage.cache_read.input_tokens"] = row.cache_read_tokens
        if row.cache_write_tokens:
            found["gen_ai.usage.cache_creation.input_tokens"] = row.cache_write_tokens
    if row.output_tokens is not None:
        found["gen_ai.usage.output_tokens"] = row.output_tokens
        if row.reasoning_tokens:
            found["gen_ai.usage.reasoning.output_tokens"] = row.reasoning_tokens
    return found


def _cost(request: StoredRequest) -> Attributes:
    """The cost as a number, which backends read, and exactly, as the row has it; absent if unknown."""
    row = request.row
    found: Attributes = {}
    _add_texts(found, {"metrion.cost.source": row.cost_source, "metrion.cost.reason": row.cost_reason})
    if row.cost is not None:
        found["gen_ai.usage.cost"] = float(row.cost)
        found["metrion.cost.amount"] = f"{row.cost:f}"
        found["metrion.cost.currency"] = CURRENCY
        _add_texts(found, {"metrion.cost.price_version": row.price_version})
    return found


def _metrion(request: StoredRequest) -> Attributes:
    row = request.row
    found: Attributes = {
        "metrion.request.id": row.id,
        "metrion.account": row.account,
        "metrion.outcome": row.outcome,
        "metrion.usage.source": row.usage_source,
        "metrion.source": IMPORTED if row.usage_source == IMPORTED else _GATEWAY,
    }
    _add_texts(
        found,
        {
            "metrion.token.name": row.token,
            "metrion.requester": row.requester,
            "metrion.session": row.session,
            "metrion.turn": row.turn,
            "metrion.agent": row.agent,
            "metrion.client": row.client,
            "metrion.client.version": row.client_version,
            "metrion.billing": row.billing,
            "metrion.cache": row.cache,
            "metrion.endpoint": row.endpoint,
            "metrion.service_tier": row.service_tier,
            "metrion.provider.request_id": row.provider_request_id,
        },
    )
    return found | {f"metrion.metadata.{key}": value for key, value in row.metadata.items()}


def _add_texts(found: Attributes, texts: dict[str, str]) -> None:
    for name, value in texts.items():
        if value:
            found[name] = value
