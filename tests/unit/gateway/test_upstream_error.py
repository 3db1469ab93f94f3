"""What the row of a refused request says is wrong."""

import json

import pytest

from services.gateway import upstream_error


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        ({"type": "tokens", "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ({"type": "requests", "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ({"type": "requests", "code": None}, "requests"),
        ({"type": "invalid_request_error", "code": "model_not_found"}, "invalid_request_error"),
    ],
)
def test_a_rate_limit_of_openai_is_named_by_its_code(error: dict[str, str | None], error_type: str) -> None:
    body = json.dumps({"error": {"message": "Rate limit reached", **error}}).encode()
    assert upstream_error.parse(body) == (error_type, "Rate limit reached")
