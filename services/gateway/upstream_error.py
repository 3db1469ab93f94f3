"""Error type and message of a provider's error response."""

import msgspec

from services.gateway.parsing import lenient_json

MAX_MESSAGE = 4096  # characters
_LIMITED = ("tokens", "requests")  # OpenAI's types of a 429: what there were too many of; the code says so in words


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    status: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    """The error bodies of all five providers in one: in each of them some text says what is wrong."""

    error: _Error | str | None = None
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    detail: str | None = None


_error_body = msgspec.json.Decoder(_ErrorBody)


def parse(text: bytes) -> tuple[str, str]:
    """(Error type, message) of an error body; the text itself in unknown formats."""
    body = lenient_json.decode(text, _error_body)
    if body is None:
        return "", _clipped(text)
    if isinstance(body.error, _Error):
        error_type = body.error.type or body.error.status or body.error.code or ""
        if error_type in _LIMITED and body.error.code:
            error_type = body.error.code
        return str(error_type), body.error.message or ""
    error_type = body.type or body.code or ""
    return str(error_type), body.error or body.message or body.detail or _clipped(text)


def _clipped(text: bytes) -> str:
    return text[: 2 * MAX_MESSAGE].decode("utf-8", "replace")
