"""Claude Code and Codex behave through Metrion as they do directly, and their own figures are ours."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from shared import accounts_admin, nats_client
from tests.clients import agents
from tests.clients.agent_provider import CACHED, COMMAND, INPUT, OUTPUT, REASONING, WRITTEN, AgentProvider
from tests.clients.agents import Outside, Run
from tests.support import cli, servers
from tests.support.mock_provider import running
from tests.support.system import TOKEN, System, system

SOMEBODY = "somebody@example.com"  # requester in the furnished files, replaced in each home
# Scenario → (exit status, requests at the provider)
SCENARIOS = {"plain": (0, 1), "tool": (0, 2), "busy": (0, 2), "broken": (1, 2)}


@pytest.fixture(scope="module")
def provider() -> Iterator[AgentProvider]:
    with running(AgentProvider()) as found:
        yield found


@pytest.fixture(scope="module")
def metrion(tmp_path_factory: pytest.TempPathFactory, provider: AgentProvider) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("metrion")
    with system(folder, upstream_anthropic=provider.url, upstream_openai=provider.url) as found:
        yield found


@pytest.fixture(scope="module")
def proxy() -> Iterator[Outside]:
    """What leaves the machine would go there; nothing does."""
    with agents.outside() as found:
        yield found
    assert found.hosts == []


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, metrion: System, proxy: Outside) -> dict[str, str]:
    """The files that `metrion agent setup` writes for both agents, by their paths in a home."""
    home = tmp_path_factory.mktemp("furnished")
    gateway = metrion.url.removesuffix("/api/proxy")

    def set_up(tool: str) -> None:
        command = ("agent", "setup", tool, "--yes", "--gateway", gateway, "--requester", SOMEBODY)
        done = cli.run(*command, env=agents.environment(home, proxy) | {"METRION_TOKEN": TOKEN})
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(set_up, ("claude-code", "codex")))
    return {path: (home / path).read_text() for path in (".claude/settings.json", ".codex/config.toml", ".codex/.env")}


class Way:
    """To the provider directly, or through Metrion; in a home of its own with the furnished files."""

    def __init__(self, furnished: dict[str, str], home: Path, proxy: Outside, *, key: str = TOKEN) -> None:
        self.home, self.user = home, home.parent.name
        self.environment = agents.environment(home, proxy)
        for path, text in furnished.items():
            (home / path).parent.mkdir(exist_ok=True)
            (home / path).write_text(text)
            (home / path).chmod(0o600)
        self._replace({SOMEBODY: self.user, TOKEN: key})

    def lead_to(self, provider: AgentProvider, metrion: System, *, key: str) -> None:
        """Change the addresses and the token to the provider's."""
        self._replace({f"{metrion.url}/openai/v1": f"{provider.url}/v1", metrion.url: provider.url, TOKEN: key})

    def _replace(self, texts: dict[str, str]) -> None:
        for path in (".claude/settings.json", ".codex/config.toml", ".codex/.env"):
            text = (self.home / path).read_text()
            for old, new in texts.items():
                text = text.replace(old, new)
            (self.home / path).write_text(text)

    def claude(self, scenario: str) -> Run:
        return agents.claude(scenario, self.environment)

    def codex(self, scenario: str, *, setting: str = "") -> Run:
        """With a provider of its own; one repetition of each kind."""
        settings = [f"model_providers.metrion.{kind}_max_retries=1" for kind in ("request", "stream")]
        settings.append(f"model_providers.metrion.websocket_connect_timeout_ms={servers.DEADLINE * 1000:.0f}")
        return agents.codex(scenario, self.environment, *settings, *filter(None, [setting]))

    def built_in_codex(self, scenario: str, *, base: str, key: str) -> Run:
        """With the built-in provider, which tries a WebSocket first."""
        variables = self.environment | {"CODEX_API_KEY": key}
        return agents.codex(scenario, variables, 'model_provider="openai"', f'openai_base_url="{base}"')

    def doctor(self, tool: str) -> tuple[int, dict[str, tuple[str, str]]]:
        """Exit status, and check → (state, message)."""
        done = cli.run("agent", "doctor", tool, "--json", env=self.environment | {"PWD": str(self.home)})
        return done.returncode, {row["check"]: (row["state"], row["message"]) for row in json.loads(done.stdout)}


@pytest.fixture
def direct(furnished: dict[str, str], tmp_path: Path, metrion: System, provider: AgentProvider, proxy: Outside) -> Way:
    way = Way(furnished, tmp_path / "direct", proxy)
    way.lead_to(provider, metrion, key="own-key")
    return way


@pytest.fixture
def through(furnished: dict[str, str], tmp_path: Path, proxy: Outside) -> Way:
    return Way(furnished, tmp_path / "through", proxy)


def both(first: Callable[[str], Run], second: Callable[[str], Run], scenario: str) -> tuple[Run, Run]:
    """Two runs at once."""
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda run: run(scenario), (first, second))
    return one, other


def differences(wanted: Run, found: Run) -> list[tuple[Any, Any]]:
    """The lines of output that differ, without what is alike in them."""
    nothing: dict[str, Any] = {}
    pairs = zip_longest(wanted.output, found.output, fillvalue=nothing)
    unlike = [(one.items() - other.items(), other.items() - one.items()) for one, other in map(_plain, pairs)]
    return [pair for pair in unlike if pair != (set(), set())]


def _plain(pair: tuple[dict[str, Any], dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: json.dumps(value, sort_keys=True) for name, value in line.items()} for line in pair]


def rows(metrion: System, way: Way, count: int) -> list[dict[str, Any]]:
    """The rows of this way's requests, exactly `count`."""
    found = metrion.wait_for_rows(count, f"requester = '{way.user}'")
    assert len(found) == count
    return found


def total(found: list[dict[str, Any]], column: str) -> int:
    return sum(row[column] for row in found)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_claude_code_notices_no_difference_and_its_cost_is_ours(
    metrion: System, provider: AgentProvider, direct: Way, through: Way, scenario: str
) -> None:
    status, requests = SCENARIOS[scenario]
    wanted, found = both(direct.claude, through.claude, scenario)
    assert differences(wanted, found) == [], found.errors
    assert found.status == wanted.status == status
    assert len(provider.of_run(found.id)) == len(provider.of_run(wanted.id)) == requests
    recorded = rows(metrion, through, requests)
    (result,) = found.output
    assert {row["client"] for row in recorded} == {"claude-cli"}
    assert len({row["session"] for row in recorded} - {""}) == 1
    if status:
        assert {(row["status"], row["outcome"], row["error_type"]) for row in recorded} == {
            (200, "upstream_error", "overloaded_error")
        }
        assert {row["cache_read_tokens"] for row in recorded} == {CACHED}, "known from its first event"
        assert all(Decimal(row["cost"]) > 0 for row in recorded)
        return
    assert sum(Decimal(row["cost"]) for row in recorded) == Decimal(str(result["total_cost_usd"])) > 0
    complete = [row for row in recorded if row["status"] == 200]
    usage = result["usage"]
    assert total(complete, "output_tokens") == usage["output_tokens"] == OUTPUT * len(complete)
    assert total(complete, "cache_read_tokens") == usage["cache_read_input_tokens"] == CACHED * len(complete)
    assert total(complete, "input_tokens") == (INPUT + CACHED + WRITTEN) * len(complete)
    if scenario == "tool":
        assert [row["turn"] for row in recorded] == [recorded[0]["id"], ""], "one turn: the user spoke once"
        assert COMMAND.split()[-1].encode() in provider.of_run(found.id)[1].body.split(b'"tool_result"')[1]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_codex_notices_no_difference_and_its_tokens_are_ours(
    metrion: System, provider: AgentProvider, direct: Way, through: Way, scenario: str
) -> None:
    status, requests = SCENARIOS[scenario]
    wanted, found = both(direct.codex, through.codex, scenario)
    assert differences(wanted, found) == [], found.errors
    assert found.status == wanted.status == status
    assert len(provider.of_run(found.id)) == len(provider.of_run(wanted.id)) == requests
    recorded = rows(metrion, through, requests)
    assert {row["client"] for row in recorded} == {"codex_exec"}
    assert len({row["session"] for row in recorded} - {""}) == 1
    if status:
        assert {(row["status"], row["outcome"], row["usage_source"]) for row in recorded} == {
            (200, "upstream_error", "estimated")
        }
        assert all(Decimal(row["cost"]) > 0 for row in recorded), "although it declares web_search and namespace tools"
        return
    complete = [row for row in recorded if row["status"] == 200]
    usage = found.output[-1]["usage"]
    assert total(complete, "input_tokens") == usage["input_tokens"] == (INPUT + CACHED) * len(complete)
    assert total(complete, "cache_read_tokens") == usage["cached_input_tokens"]
    assert total(complete, "output_tokens") == usage["output_tokens"] == OUTPUT * len(complete)
    assert total(complete, "reasoning_tokens") == usage["reasoning_output_tokens"] == REASONING * len(complete)
    assert all(Decimal(row["cost"]) > 0 for row in complete)
    if scenario == "tool":
        assert "metrion-was-here" in json.dumps(found.output)
        assert len({row["turn"] for row in recorded} - {""}) == 1, "one turn: the user spoke once"


@pytest.fixture
def websockets(provider: AgentProvider) -> Iterator[None]:
    """The provider offers WebSockets."""
    provider.websockets = True
    yield
    provider.websockets = False


@pytest.mark.usefixtures("websockets")
def test_codex_over_a_websocket_notices_no_difference_and_its_tokens_are_ours(
    metrion: System, provider: AgentProvider, direct: Way, through: Way
) -> None:
    socket = "model_providers.metrion.supports_websockets=true"
    wanted, found = both(partial(direct.codex, setting=socket), partial(through.codex, setting=socket), "plain")
    assert differences(wanted, found) == [], found.errors
    assert found.status == 0
    assert len(provider.frames_of_run(found.id)) == len(provider.frames_of_run(wanted.id)) >= 1
    assert provider.of_run(found.id) == provider.of_run(wanted.id) == [], "over HTTP"
    usage = found.output[-1]["usage"]
    recorded = metrion.wait_for_rows(1, f"requester = '{through.user}' AND output_tokens > 0")
    assert total(recorded, "input_tokens") == usage["input_tokens"] == INPUT + CACHED
    assert total(recorded, "cache_read_tokens") == usage["cached_input_tokens"]
    assert total(recorded, "output_tokens") == usage["output_tokens"] == OUTPUT
    assert {(row["client"], bool(row["turn"])) for row in recorded} == {("codex_exec", True)}


async def _revoked(metrion: System) -> str:
    """A token that worked once."""
    connection = await nats_client.connect(metrion.nats.url("admin"), service="admin")
    try:
        js = connection.jetstream()
        token = await accounts_admin.create_token(js, account="default", name="left")
        await accounts_admin.revoke_token(js, account="default", name="left")
    finally:
        await connection.close()
    return token


def refusals(metrion: System) -> float:
    return metrion.gateway.metric('metrion_gateway_refusals_total{kind="invalid_token"}')


@pytest.mark.parametrize(("agent", "tool"), [("claude", "claude-code"), ("codex", "codex")])
def test_a_revoked_token_ends_an_agent_as_a_refused_key_does(
    metrion: System,
    provider: AgentProvider,
    furnished: dict[str, str],
    direct: Way,
    tmp_path: Path,
    proxy: Outside,
    agent: str,
    tool: str,
) -> None:
    through = Way(furnished, tmp_path / "through", proxy, key=asyncio.run(_revoked(metrion)))
    before = refusals(metrion)
    wanted, found = both(getattr(direct, agent), getattr(through, agent), "denied")
    assert found.status == wanted.status == 1
    assert [line["type"] for line in found.output] == [line["type"] for line in wanted.output]
    assert "unknown or revoked" in json.dumps(found.output)
    assert provider.of_run(found.id) == []
    assert 1 <= refusals(metrion) - before <= len(provider.of_run(wanted.id)), "it tried again in vain"
    status, checks = through.doctor(tool)
    assert (status, checks["token"][0]) == (1, "failed")
    assert "unknown or revoked" in checks["token"][1]


def test_the_doctor_finds_a_working_set_up_healthy_and_names_what_breaks_it(metrion: System, through: Way) -> None:
    for tool in ("claude-code", "codex"):
        status, checks = through.doctor(tool)
        assert (status, {state for state, _ in checks.values()}) == (0, {"ok"}), checks
    file = through.home / ".codex" / "config.toml"
    text = file.read_text()
    file.write_text(text.replace("/openai/v1", "/openai/v1/v1"))
    assert through.doctor("codex")[1]["address"][0] == "warning"
    file.write_text(text.replace(f":{metrion.port}/", ":9/"))
    status, checks = through.doctor("codex")
    assert (status, checks["gateway"]) == (
        1, ("failed", "the gateway at http://127.0.0.1:9 does not respond (ClientConnectorError)"),
    )  # fmt: skip


def test_codex_with_its_built_in_provider_falls_back_from_websockets_at_once(
    metrion: System, provider: AgentProvider, direct: Way, through: Way
) -> None:
    """Both where the provider refuses WebSockets and where the gateway does."""
    own = partial(direct.built_in_codex, base=f"{provider.url}/v1", key="own-key")
    ours = partial(through.built_in_codex, base=f"{metrion.url}/openai/v1", key=TOKEN)
    wanted, found = both(own, ours, "plain")
    metrion.gateway.kill(signal.SIGTERM)
    metrion.configure_gateway(
        upstream_anthropic=provider.url, upstream_openai=provider.url, websockets="grok,gemini"
    ).start()
    for run in (found, ours("plain")):
        assert differences(wanted, run) == [], run.errors
        assert (run.status, len(provider.of_run(run.id))) == (0, 1)
        assert "Reconnecting" not in json.dumps(run.output), "it tried again before it fell back"
