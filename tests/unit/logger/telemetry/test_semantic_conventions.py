"""A span says what a request used and cost in the conventions' names, and nothing that somebody wrote."""

from decimal import Decimal
from typing import Any

import pytest

from services.logger.telemetry import semantic_conventions
from services.logger.telemetry.stored_request import StoredRequest
from tests.support.stored_requests import ID, stored_request


def attributes(request: StoredRequest, *, latest_only: bool = True) -> semantic_conventions.Attributes:
    return semantic_conventions.of_span(request, latest_only=latest_only)


def test_a_request_in_the_names_of_the_conventions() -> None:
    assert attributes(stored_request()) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.response.model": "claude-sonnet-4-5-20250929",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.4,
        "gen_ai.conversation.id": "s-1",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.cache_read.input_tokens": 700,
        "gen_ai.usage.cache_creation.input_tokens": 200,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 20,
        "gen_ai.usage.cost": 0.001234567891,
        "server.address": "api.anthropic.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "user.id": "ann",
        "metrion.request.id": ID,
        "metrion.account": "acme",
        "metrion.token.name": "ci",
        "metrion.requester": "ann",
        "metrion.session": "s-1",
        "metrion.turn": "t-1",
        "metrion.agent": "reviewer",
        "metrion.client": "claude-cli",
        "metrion.endpoint": "POST /v1/messages",
        "metrion.outcome": "complete",
        "metrion.provider.request_id": "req_1",
        "metrion.source": "gateway",
        "metrion.usage.source": "reported",
        "metrion.cost.amount": "0.001234567891",
        "metrion.cost.currency": "USD",
        "metrion.cost.source": "genai-prices",
        "metrion.cost.price_version": "v1",
        "metrion.metadata.project": "apollo",
    }


def test_earlier_names_are_there_until_they_are_left_out() -> None:
    request = stored_request(provider="grok", server="api.x.ai")
    both = attributes(request, latest_only=False)
    assert (both["gen_ai.provider.name"], both["gen_ai.system"]) == ("x_ai", "xai")
    assert "gen_ai.system" not in attributes(request)
    for opt_in, latest in (("", False), ("http", False), ("http, gen_ai_latest_experimental", True)):
        assert semantic_conventions.is_latest_only(opt_in) is latest


@pytest.mark.parametrize(
    ("provider", "name"),
    [("openai", "openai"), ("gemini", "gcp.gemini"), ("mistral", "mistral_ai"), ("our-vllm", "our-vllm")],
)
def test_a_provider_has_its_well_known_name(provider: str, name: str) -> None:
    assert attributes(stored_request(provider=provider))["gen_ai.provider.name"] == name


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [
        ("POST /v1/chat/completions", "chat"),
        ("POST /v1/responses", "chat"),
        ("POST /v1/completions", "text_completion"),
        ("POST /v1/embeddings", "embeddings"),
        ("POST /v1beta/models/{model}:embedContent", "embeddings"),
        ("POST /v1beta/models/{model}:streamGenerateContent", "generate_content"),
        ("POST /v1/images/generations", "generate_content"),
        ("POST /v1/messages/count_tokens", "count_tokens"),
        ("POST /v1/ocr", "ocr"),
        ("", "request"),
    ],
)
def test_an_endpoint_has_its_operation(endpoint: str, operation: str) -> None:
    assert stored_request(endpoint=endpoint).operation == operation


def test_unknown_cost_and_usage_are_absent() -> None:
    found = attributes(
        stored_request(
            cost=None, cost_source="none", cost_reason="unknown_model", input_tokens=None, output_tokens=None
        )
    )
    assert not [name for name in found if name.startswith(("gen_ai.usage.", "metrion.cost.amount", "metrion.cost.c"))]
    assert found["metrion.cost.reason"] == "unknown_model"


def test_a_free_request_costs_0() -> None:
    assert attributes(stored_request(cost=Decimal(0)))["gen_ai.usage.cost"] == 0.0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, ""),
        ({"status": 429}, "429"),
        ({"status": 429, "error_type": "rate_limit_error"}, "rate_limit_error"),
        ({"error_type": "overloaded_error"}, "overloaded_error"),
        ({"status": 504, "outcome": "timeout"}, "timeout"),
        ({"status": 499, "outcome": "client_closed"}, ""),
    ],
)
def test_an_error_is_named(changes: dict[str, Any], error: str) -> None:
    assert attributes(stored_request(**changes)).get("error.type", "") == error


def test_no_text_of_users_or_models_is_exported() -> None:
    found = attributes(stored_request(status=400, error_type="bad"), latest_only=False)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("server", "address", "port"),
    [("api.openai.com", "api.openai.com", 443), ("localhost:8000", "localhost", 8000), ("[::1]:80", "::1", 80)],
)
def test_a_server_has_address_and_port(server: str, address: str, port: int) -> None:
    found = attributes(stored_request(server=server))
    assert (found["server.address"], found["server.port"]) == (address, port)
    assert "server.address" not in attributes(stored_request(server=""))


def test_a_lookup_is_not_an_inference_span() -> None:
    lookup: dict[str, Any] = {
        "endpoint": "GET /v1/models",
        "cost": Decimal(0),
        "input_tokens": None,
        "output_tokens": None,
    }
    assert not stored_request(**lookup).is_inference
    assert stored_request(**lookup | {"endpoint": "WS /v1/realtime"}).is_inference
    assert stored_request(endpoint="GET /v1/batches/1/results").is_inference  # whatever has used tokens
