"""Claude Code's and Codex's own telemetry, sent to the gateway, becomes rows with the figures that they state themselves."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from services.gateway.telemetry_endpoint import ROOT
from services.logger import rows
from services.logger.rows import ResponseRow
from shared.events import ResponseEvent
from tests.clients import agents
from tests.clients.agent_provider import CACHED, INPUT, OUTPUT, REASONING, WRITTEN, AgentProvider
from tests.clients.agents import Outside
from tests.support.gateway_app import TOKEN, System, system
from tests.support.mock_provider import running


@pytest.fixture(scope="module")
def provider() -> Iterator[AgentProvider]:
    with running(AgentProvider()) as found:
        yield found


@pytest.fixture(scope="module")
def proxy() -> Iterator[Outside]:
    with agents.outside() as found:
        yield found
    assert found.hosts == []


def imported(gateway: System) -> list[ResponseRow]:
    """The rows of what has been imported."""
    events = [event for event in gateway.events if isinstance(event, ResponseEvent)]
    assert gateway.proxy.telemetry.rejected == 0
    assert all(event.imported for event in events)
    assert gateway.upstream.requests == []
    return [rows.response_row(event) for event in events]


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
async def test_claude_codes_telemetry(tmp_path: Path, provider: AgentProvider, proxy: Outside, protocol: str) -> None:
    async with system() as gateway:
        variables = {
            "ANTHROPIC_BASE_URL": provider.url,
            "ANTHROPIC_AUTH_TOKEN": "provider-key",
            "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{gateway.port}{ROOT.rstrip('/')}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {TOKEN}",
            "OTEL_RESOURCE_ATTRIBUTES": "team=platform",
        }
        run = await asyncio.to_thread(agents.claude, "tool", agents.environment(tmp_path, proxy, **variables))
        assert run.status == 0, run.errors
        found = imported(gateway)
    assert len({row.id for row in found}) == 2
    for row in found:
        assert (row.input_tokens, row.output_tokens) == (INPUT + CACHED + WRITTEN, OUTPUT)
        assert (row.cache_read_tokens, row.cache_write_tokens) == (CACHED, WRITTEN)
        assert (row.client, row.metadata, row.usage_source) == ("claude-cli", {"team": "platform"}, "imported")
        assert row.latency_ms > 0
    stated = Decimal(str(run.output[-1]["total_cost_usd"]))
    assert sum(row.cost or 0 for row in found) == stated


async def test_codexs_telemetry(tmp_path: Path, provider: AgentProvider, proxy: Outside) -> None:
    async with system() as gateway:
        endpoint = f"http://127.0.0.1:{gateway.port}{ROOT}v1/logs"
        exporter = f'endpoint = "{endpoint}", protocol = "binary", headers = {{ "x-metrion-token" = "{TOKEN}" }}'
        own = f'name = "Mock", base_url = "{provider.url}/v1", env_key = "KEY", wire_api = "responses"'
        run = await asyncio.to_thread(
            agents.codex,
            "tool",
            agents.environment(tmp_path, proxy, KEY="provider-key"),
            'model_provider="mock"',
            f"model_providers.mock={{ {own} }}",
            f"otel.exporter={{ otlp-http = {{ {exporter} }} }}",
        )
        assert run.status == 0, run.errors
        found = imported(gateway)
    assert len({row.id for row in found}) == 2
    for row in found:
        assert (row.input_tokens, row.cache_read_tokens) == (INPUT + CACHED, CACHED)
        assert (row.output_tokens, row.reasoning_tokens) == (OUTPUT, REASONING)
        assert (row.model, row.client, row.usage_source) == (agents.CODEX_MODEL, "codex_exec", "imported")
        assert row.session and row.cost
