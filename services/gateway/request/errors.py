"""The gateway's own errors, each in the JSON format of the API that was called."""

from typing import Any

import msgspec

from shared import events
from shared.providers import ANTHROPIC_STYLE, GEMINI_STYLE, MISTRAL_STYLE, OPENAI_STYLE, XAI_STYLE

CLIENT_LEFT = 499  # status recorded if the client disconnected before the response began
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
    """An error of the gateway's own, sent instead of a provider's response.

    `code` is a stable snake_case name; the message says what to do.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after: int = 0, allow: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after  # seconds, for the header Retry-After; 0 for none
        self.allow = allow  # methods, for the header Allow of a 405

    @property
    def outcome(self) -> str:
        """Outcome of the request's row."""
        return events.CLIENT_CLOSED if self.status == CLIENT_LEFT else events.COMPLETE


def body(style: str, *, status: int, code: str, message: str, request_id: str) -> bytes:
    """JSON body of an error in a provider's style.

    The style "" gives one that both OpenAI's and Anthropic's SDKs can parse.
    """
    return msgspec.json.encode(_shape(style, status=status, code=code, message=message, request_id=request_id))


def _shape(style: str, *, status: int, code: str, message: str, request_id: str) -> dict[str, Any]:
    if style == ANTHROPIC_STYLE:
        error_type = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": error_type, "message": message}, "request_id": request_id}
    if style == GEMINI_STYLE:
        return {"error": {"code": status, "message": message, "status": _GEMINI_STATUSES.get(status, "INTERNAL")}}
    if style == MISTRAL_STYLE:
        return {"object": "error", "message": message, "type": code, "param": None, "code": str(status)}
    if style == XAI_STYLE:
        return {"code": _XAI_CODES.get(status, "The service is currently unavailable"), "error": message}
    error_type = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": error_type, "param": None, "code": code}
    if style == OPENAI_STYLE:
        return {"error": error}
    return {"type": "error", "error": error, "request_id": request_id}
