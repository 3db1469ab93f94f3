"""Response headers about limits, beside those of the provider."""

from multidict import CIMultiDict

from services.gateway.limits import headers

OURS = [
    ("RateLimit", '"each-token";r=1;t=30'),
    ("x-ratelimit-remaining-requests", "1"),
    ("x-metrion-budget-warning", "team; used=91%"),
]


def test_headers_of_a_limit_are_added_to_a_response_without_any() -> None:
    response = CIMultiDict({"Content-Type": "application/json"})
    headers.add(response, OURS)
    assert [*response.items()] == [("Content-Type", "application/json"), *OURS]


def test_rate_limits_of_the_provider_are_passed_on_untouched() -> None:
    own = {"X-RateLimit-Remaining-Tokens": "149984", "RateLimit": '"provider";r=5;t=1'}
    response = CIMultiDict(own)
    headers.add(response, OURS)
    assert response.getall("RateLimit") == ['"provider";r=5;t=1', '"each-token";r=1;t=30']  # lines of one list
    assert [name for name in response if name.lower().startswith("x-")] == [
        "X-RateLimit-Remaining-Tokens",
        "x-metrion-budget-warning",
    ]
