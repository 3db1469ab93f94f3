"""A provider and what goes wrong in, its error out: status and body, or the event that breaks a stream."""

from deploy.demo.scene import BROKEN, INVALID, OVERLOADED, RATE_LIMITED, TOO_LONG
from deploy.demo.wire.counts import Object

_TEXTS = {
    RATE_LIMITED: "Rate limit reached; please slow down.",
    OVERLOADED: "The model is overloaded. Please try again later.",
    BROKEN: "The server had an error while processing your request.",
    TOO_LONG: "This model's maximum context length is exceeded by your prompt.",
    INVALID: "Field required: messages",
}
_STATUS = {RATE_LIMITED: 429, OVERLOADED: 503, BROKEN: 500, TOO_LONG: 400, INVALID: 400}

# fate → how each provider calls it
_ANTHROPIC = {RATE_LIMITED: "rate_limit_error", OVERLOADED: "overloaded_error", BROKEN: "api_error"}
_OPENAI = {RATE_LIMITED: "tokens", OVERLOADED: "service_unavailable_error", BROKEN: "server_error"}
_GEMINI = {RATE_LIMITED: "RESOURCE_EXHAUSTED", OVERLOADED: "UNAVAILABLE", BROKEN: "INTERNAL"}
_MISTRAL = {RATE_LIMITED: "rate_limited", OVERLOADED: "internal_server_error", BROKEN: "internal_server_error"}
_XAI = {
    RATE_LIMITED: "Some resource has been exhausted",
    OVERLOADED: "The service is currently unavailable",
    BROKEN: "Internal error",
}


def failure(provider: str, fate: str) -> tuple[int, dict[str, str], Object]:
    """(status, headers, body) of a refusal."""
    status = _STATUS[fate]
    if provider == "anthropic" and fate == OVERLOADED:
        status = 529
    elif provider == "mistral" and fate == INVALID:
        status = 422
    return status, {"retry-after": "2"} if status == 429 else {}, _body(provider, fate, status)


def midway(provider: str) -> Object:
    """The event of an error in the middle of a stream."""
    body = _body(provider, OVERLOADED, 503)
    return {key: value for key, value in body.items() if key != "request_id"}


def _body(provider: str, fate: str, status: int) -> Object:
    text = _TEXTS[fate]
    if provider == "anthropic":
        error = {"type": _ANTHROPIC.get(fate, "invalid_request_error"), "message": text}
        return {"type": "error", "error": error, "request_id": "req_demo"}
    if provider == "gemini":
        return {"error": {"code": status, "message": text, "status": _GEMINI.get(fate, "INVALID_ARGUMENT")}}
    if provider == "mistral":
        kind = _MISTRAL.get(fate, "invalid_request_error")
        return {"object": "error", "message": text, "type": kind, "param": None, "code": "3000"}
    if provider == "grok":
        return {"code": _XAI.get(fate, "Client specified an invalid argument"), "error": text}
    codes = {TOO_LONG: "context_length_exceeded", RATE_LIMITED: "rate_limit_exceeded"}
    kind = _OPENAI.get(fate, "invalid_request_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": codes.get(fate)}}
