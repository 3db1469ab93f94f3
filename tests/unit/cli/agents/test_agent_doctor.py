"""`metrion agent doctor`: each usual mistake is found and named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.cli import main as cli
from services.cli.agents import gateway_call
from services.cli.agents.gateway_call import Response, Unreachable

TOKEN = "sk-metrion-" + "a" * 32
OWN = {"account": "default", "token": {"name": "ann", "providers": None, "models": None, "expires_at": None}}
MODELS = Response(200, {"data": []}, "", False)


class Gateway:
    """Responses by the end of the path, and the URLs that were called."""

    def __init__(self) -> None:
        self.own: Response | Unreachable = Response(200, OWN, "", False)
        self.models: Response = MODELS
        self.called: list[str] = []

    async def get(self, url: str, headers: Mapping[str, str]) -> Response:
        assert headers == {"authorization": f"Bearer {TOKEN}"}
        self.called.append(url)
        found = self.own if url.endswith("/metrion/me") else self.models
        if isinstance(found, Unreachable):
            raise found
        return found


@pytest.fixture(autouse=True)
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """A gateway, and a home directory in which the token is known."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("METRION_TOKEN", TOKEN)
    for name in ("CODEX_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    found = Gateway()
    monkeypatch.setattr(gateway_call, "get", found.get)
    return found


def set_up(tool: str, *options: str) -> None:
    assert cli.main(["agent", "setup", tool, "--yes", *options]) == 0


def diagnose(capsys: pytest.CaptureFixture[str], *tools: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit status, and check → (state, message)."""
    capsys.readouterr()
    status = cli.main(["agent", "doctor", *tools, "--json"])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return status, {row["check"]: (row["state"], row["message"]) for row in rows}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_tool_that_works_passes_every_check(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("codex")
    status, found = diagnose(capsys, "codex")
    assert (status, {state for state, _ in found.values()}) == (0, {"ok"})
    assert found["token"] == ("ok", "ann of account default")
    proxy = "http://127.0.0.1:8080/api/proxy"
    assert gateway.called == [f"{proxy}/metrion/me", f"{proxy}/openai/v1/models"]


def test_without_a_name_all_tools_that_are_set_up_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agent", "doctor"]) == 1
    assert "No tool is set up" in capsys.readouterr().err
    set_up("codex")
    set_up("claude-code", "--subscription")
    capsys.readouterr()
    assert cli.main(["agent", "doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[1:]} == {"codex", "claude-code"}


def test_doctor_says_how_to_set_up_a_tool(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = diagnose(capsys, "codex")
    assert (status, found["configuration"]) == (1, ("failed", "not set up: metrion agent setup codex"))


@pytest.mark.parametrize(
    ("tool", "file", "old", "new", "state"),
    [
        ("codex", ".codex/config.toml", "/openai/v1", "/openai/v1/v1", "warning"),
        ("claude-code", ".claude/settings.json", "/api/proxy", "/api/proxy/v1", "warning"),
        ("gemini-cli", ".gemini/.env", "/gemini", "/gemini/v1", "warning"),
        ("opencode", ".config/opencode/opencode.json", "/gemini/v1beta", "/gemini", "warning"),
        ("codex", ".codex/config.toml", "/openai/v1", "/v1", "failed"),
        ("claude-code", ".claude/settings.json", "/api/proxy", "/api/proxy/openai", "failed"),
    ],
)
def test_a_wrong_path_is_named_with_the_right_one(
    tool: str, file: str, old: str, new: str, state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(tool)
    edit(tmp_path / file, old, new)
    status, found = diagnose(capsys, tool)
    shown, message = found["address"]
    assert (status, shown) == (int(state == "failed"), state)
    assert new in message and message.endswith(
        f"should be http://127.0.0.1:8080/api/proxy{old.removeprefix('/api/proxy')}"
    )


def test_a_setting_that_is_gone_and_a_lost_token_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("codex")
    edit(tmp_path / ".codex/config.toml", 'env_key = "METRION_TOKEN"\n', "")
    (tmp_path / ".codex/.env").unlink()
    status, found = diagnose(capsys, "codex")
    assert status == 1
    assert "missing: METRION_TOKEN, model_providers.metrion.env_key" in found["settings"][1]
    assert "no Metrion token" in found["token"][1]


@pytest.mark.parametrize(
    ("response", "check", "message"),
    [
        (Unreachable("the gateway at http://h does not respond (X)"), "gateway", "does not respond"),
        (Response(401, {}, "This Metrion token is unknown or revoked; …", True), "token", "unknown or revoked"),
        (Response(401, {}, "This Metrion token has expired; …", True), "token", "has expired"),
        (
            Response(200, {**OWN, "token": {"providers": ["gemini"]}}, "", False),
            "token",
            "may not use openai, only gemini",
        ),
        (
            Response(200, {**OWN, "token": {"models": ["gpt-5*"]}}, "", False),
            "token",
            "may not use gpt-4.1-mini, only gpt-5*",
        ),
    ],
)
def test_a_token_that_cannot_work_is_explained(
    response: Response | Unreachable, check: str, message: str, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.own = response
    set_up("qwen-code")
    status, found = diagnose(capsys, "qwen-code")
    assert (status, found[check][0]) == (1, "failed")
    assert message in found[check][1]
    assert len(gateway.called) == 1, "nothing else can be learned"


@pytest.mark.parametrize(
    ("models", "state", "message"),
    [
        (Response(401, {}, "There is no key for openai: metrion key set openai", True), "failed", "no key for openai"),
        (Response(401, {}, "Incorrect API key", False), "failed", "openai refuses the provider key: 401 Incorrect"),
        (Response(502, {}, "openai cannot be reached; try again.", True), "failed", "502: openai cannot be reached"),
        (Response(403, {}, "may not", True), "ok", "may not list models"),
        (Response(404, {}, "no", False), "warning", "has no list of models"),
    ],
)
def test_a_provider_that_does_not_answer_is_explained(
    models: Response, state: str, message: str, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.models = models
    set_up("codex")
    status, found = diagnose(capsys, "codex")
    assert (status, found["provider"][0]) == (int(state == "failed"), state)
    assert message in found["provider"][1]


def test_doctor_only_lists_models_of_a_gateway_without_the_endpoint(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.own = Response(404, {}, "Unknown endpoint", True)
    set_up("codex")
    status, found = diagnose(capsys, "codex")
    assert (status, found["provider"][0]) == (0, "ok")
    assert "token" not in found


def test_a_token_that_expires_soon_is_a_warning(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.own = Response(200, {**OWN, "token": {"name": "a", "expires_at": "2020-01-01T00:00:00Z"}}, "", False)
    set_up("codex")
    status, found = diagnose(capsys, "codex")
    assert (status, found["token"][0]) == (0, "warning")


def test_a_variable_that_overrides_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up("qwen-code")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    status, found = diagnose(capsys, "qwen-code")
    assert (status, found["environment"]) == (
        1,
        ("failed", "the variable OPENAI_BASE_URL overrides the files: unset it"),
    )
    set_up("claude-code", "--subscription")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
    assert "ends the use of the subscription" in diagnose(capsys, "claude-code")[1]["environment"][1]


def test_a_script_that_is_not_sourced_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up("grok-cli")
    status, found = diagnose(capsys, "grok-cli")
    script = tmp_path / ".config/metrion/agents/grok-cli.sh"
    assert (status, found["environment"]) == (
        1, ("failed", f"GROK_BASE_URL is not set: add to your shell's profile: . {script}"),
    )  # fmt: skip
    monkeypatch.setenv("GROK_BASE_URL", "http://127.0.0.1:8080/api/proxy/grok/v1")
    monkeypatch.setenv("GROK_API_KEY", TOKEN)
    assert diagnose(capsys, "grok-cli")[0] == 0


def test_a_file_of_the_project_that_overrides_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("claude-code")
    file = tmp_path / "project/.claude/settings.local.json"
    file.parent.mkdir()
    file.write_text('{"env": {"ANTHROPIC_BASE_URL": "https://api.anthropic.com"}, "model": "opus"}')
    status, found = diagnose(capsys, "claude-code")
    assert (status, found["project"][0]) == (1, "failed")
    assert "settings.local.json overrides env.ANTHROPIC_BASE_URL" in found["project"][1]


def test_a_token_that_others_can_read_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("pi")
    file = tmp_path / ".pi/agent/models.json"
    file.chmod(0o644)
    status, found = diagnose(capsys, "pi")
    assert (status, found["permissions"]) == (0, ("warning", f"others may read the token: chmod 600 {file}"))


def test_odd_places_end_no_diagnosis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("codex")
    (tmp_path / "project").rmdir()  # the present folder
    status, found = diagnose(capsys, "codex")
    assert (status, found["token"][0]) == (0, "ok")
    file = tmp_path / ".codex/config.toml"
    file.unlink()
    file.mkdir()
    status, found = diagnose(capsys)
    assert (status, found) == (1, {"configuration": ("failed", f"{file}: is not a regular file")})
