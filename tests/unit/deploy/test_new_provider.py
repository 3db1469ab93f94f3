"""A built-in provider is one record: its settings, chart and compose entries must follow from it."""

import json

import pytest

from deploy.charts import settings as chart
from deploy.compose import settings as compose
from services.gateway.settings import Settings, with_providers
from shared.providers import BUILT_IN, Provider
from shared.settings import describe, load

MADE_UP = Provider(
    name="made-up",
    title="Made Up Inc.",
    upstream="https://api.made-up.example",
    key_header="authorization",
    key_variable="MADE_UP_API_KEY",
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, MADE_UP.name, MADE_UP)
    monkeypatch.setitem(compose.SERVICES, "gateway", with_providers(BUILT_IN))


def test_a_new_provider_has_a_base_url_and_a_key_among_the_settings() -> None:
    kind = with_providers(BUILT_IN)
    rows = {row.env: row for row in describe(kind)}
    upstream = rows["METRION_UPSTREAM_MADE_UP"]
    assert (upstream.default, upstream.description) == (MADE_UP.upstream, "Made Up Inc.'s base URL")
    assert rows["MADE_UP_API_KEY"].secret
    found = load(kind, {"METRION_NATS_URL": "nats://x", "METRION_UPSTREAM_MADE_UP": "http://relay.example"})
    assert vars_of(found)["upstream_made_up"] == "http://relay.example"
    assert set(rows) - {row.env for row in describe(Settings)} == {"METRION_UPSTREAM_MADE_UP", "MADE_UP_API_KEY"}


def vars_of(settings: Settings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


def test_compose_passes_the_settings_of_a_new_provider_on() -> None:
    written = compose.updated(compose.COMPOSE.read_text())
    for name in ("METRION_UPSTREAM_MADE_UP", "MADE_UP_API_KEY"):
        assert f"{name}: ${{{name}:-}}" in written
    assert "\nMADE_UP_API_KEY=\n" in compose.with_provider_keys(compose.ENVIRONMENT.read_text())


def test_the_chart_takes_the_settings_of_a_new_provider() -> None:
    schema = json.loads(chart.schema(chart.SCHEMA.read_text()))
    assert "METRION_UPSTREAM_MADE_UP" in schema["$defs"]["gatewaySettings"]["properties"]
    names = dict(line.split(": ", 1) for line in chart.names().splitlines()[1:])
    assert json.loads(names["providerKeys"])[-1] == "MADE_UP_API_KEY"
    assert "MADE_UP_API_KEY" in json.loads(names["secret"])


def test_the_committed_files_are_those_of_the_providers_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    text = compose.ENVIRONMENT.read_text()
    assert compose.with_provider_keys(text) == text, "run: make readme"
