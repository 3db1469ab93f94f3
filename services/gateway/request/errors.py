"""Errors of our own, each in the JSON shape of the API that was called, so that its SDK raises its proper exception."""

from typing import Any

import msgspec

from shared import events
from shared.providers import ANTHROPIC_STYLE, GEMINI_STYLE, MISTRAL_STYLE, OPENAI_STYLE, XAI_STYLE

CLIENT_LEFT = 499  # the status booked for a client that left before an answer had begun
RETRY_CAN_HELP = frozenset({408, 429, 502, 503, 504})

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_GEMINI_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_OPENAI_TYPES = {401: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error"}
_XAI_CODES = {
    400: "Client specified an invalid argument",
    401: "The caller does not have valid authentication credentials",
    403: "The caller does not have permission to execute the specified operation",
    404: "Some requested entity was not found",
    429: "Some resource has been exhausted",
    504: "The deadline expired before the operation could complete",
}


class Refusal(Exception):
    """The gateway answers instead of a provider. `kind` is a stable snake_case name; the message says what to do."""

    def __init__(self, status: int, kind: str, message: str, *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message
        self.retry_after = retry_after  # seconds, for the header of that name; 0 for none

    @property
    def outcome(self) -> str:
        """The outcome of the request's row."""
        return events.CLIENT_CLOSED if self.status == CLIENT_LEFT else events.COMPLETE


def body(style: str, *, status: int, kind: str, message: str, request_id: str) -> bytes:
    """The JSON body of an error in a provider's style; "" gives one that OpenAI's and Anthropic's SDKs both read."""
    return msgspec.json.encode(_shape(style, status=status, kind=kind, message=message, request_id=request_id))


def _shape(style: str, *, status: int, kind: str, message: str, request_id: str) -> dict[str, Any]:
    if style == ANTHROPIC_STYLE:
        kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    if style == GEMINI_STYLE:
        return {"error": {"code": status, "message": message, "status": _GEMINI_STATUSES.get(status, "INTERNAL")}}
    if style == MISTRAL_STYLE:
        return {"object": "error", "message": message, "type": kind, "param": None, "code": str(status)}
    if style == XAI_STYLE:
        return {"code": _XAI_CODES.get(status, "The service is currently unavailable"), "error": message}
    kind_of = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind_of, "param": None, "code": kind}
    if style == OPENAI_STYLE:
        return {"error": error}
    return {"type": "error", "error": error, "request_id": request_id}
