"""A tool's settings get into its files beside everything else, and out again."""

import pytest

from shared.agent_tools import catalog, merge
from shared.agent_tools.catalog import TOOLS
from shared.agent_tools.model import ConfigFile, Headers, Tool, Values

TOKEN = "sk-metrion-" + "a" * 32
VALUES = Values(
    gateway="https://llm.example.com",
    token=TOKEN,
    model="gpt-4.1-mini",
    headers={"x-metrion-user": "ann@example.com", "x-metrion-meta-project": "web shop"},
)
FILES = [(tool, file) for tool in TOOLS.values() for file in (*tool.files, *tool.subscription)]
EXISTING = {
    "json": '{\n  // mine\n  "theme": "dark",\n  "env": {"FOO": "1"}\n}\n',
    "toml": '# mine\nmodel = "gpt-5"  # fast\n\n[tools]\nweb = true\n\n[[models]]\nname = "other"\nalias = "other"\n',
    "yaml": "# mine\nmodels:\n  - name: other  # fast\n    model: 'x'\nlong: " + "word" * 40 + "\n",
    "dotenv": "# mine\nFOO=1\nexport BAR='a b'\n",
    "shell": "# mine\nexport FOO=1\nalias ll='ls -l'\n",
}
LIST = "# mine\n- name: other  # fast\n  model_id: other\n"


def ids(value: object) -> str:
    return value.name if isinstance(value, Tool | ConfigFile) else str(value)


def existing(file: ConfigFile) -> str:
    return LIST if file.format == "yaml" and not isinstance(file.settings, dict) else EXISTING[file.format]


@pytest.mark.parametrize(("tool", "file"), FILES, ids=ids)
def test_a_second_run_changes_nothing(tool: Tool, file: ConfigFile) -> None:
    for text in ("", existing(file)):
        once = merge.configured(file, text, VALUES)
        assert merge.configured(file, once, VALUES) == once
        without_headers = Values(gateway=VALUES.gateway, token=TOKEN, model=VALUES.model)
        assert merge.configured(file, once, without_headers) == once, "headers of an earlier run stay"


@pytest.mark.parametrize(("tool", "file"), FILES, ids=ids)
def test_every_line_of_the_user_stays(tool: Tool, file: ConfigFile) -> None:
    text = existing(file)
    lines = merge.configured(file, text, VALUES).splitlines()
    for line in text.splitlines():
        assert any(found.startswith(line.removesuffix("}")) for found in lines), line


@pytest.mark.parametrize(("tool", "file"), FILES, ids=ids)
def test_removal_restores_the_text_of_before(tool: Tool, file: ConfigFile) -> None:
    text = existing(file)
    assert merge.removed(file, merge.configured(file, text, VALUES), text) == text


@pytest.mark.parametrize(("tool", "file"), FILES, ids=ids)
def test_what_is_written_is_found_again(tool: Tool, file: ConfigFile) -> None:
    values = merge.values_in(file, merge.configured(file, existing(file), VALUES))
    for setting, value in values:
        if isinstance(setting.value, Headers):
            assert "x-metrion-user: ann@example.com" in value
        elif isinstance(setting.value, str):
            assert value == VALUES.fill(setting.value)
    assert len(values) == len(list(file.flat()))


def test_another_address_token_and_requester_replace_the_present_ones() -> None:
    (file,) = catalog.CLAUDE_CODE.files
    other = Values(gateway="http://127.0.0.1:8080", token="sk-metrion-" + "b" * 32, headers={"x-metrion-user": "bob"})
    text = merge.configured(file, merge.configured(file, "", VALUES), other)
    assert text == merge.configured(file, "", other)


def test_other_headers_of_the_user_stay() -> None:
    (file,) = catalog.CLAUDE_CODE.files
    before = '{"env": {"ANTHROPIC_CUSTOM_HEADERS": "x-team: a\\nx-metrion-user: old"}}'
    text = merge.configured(file, before, VALUES)
    assert '"x-team: a\\nx-metrion-user: ann@example.com\\nx-metrion-meta-project: web shop"' in text
    assert '{"ANTHROPIC_CUSTOM_HEADERS": "x-team: a"}' in merge.removed(file, text, "")


def test_a_replaced_value_comes_back_and_a_changed_one_stays() -> None:
    (file, _) = catalog.CODEX.files
    before = 'model_provider = "azure"\n'
    text = merge.configured(file, before, VALUES)
    assert 'model_provider = "metrion"' in text
    assert merge.removed(file, text, before) == before
    changed = text.replace('model_provider = "metrion"', 'model_provider = "other"')
    assert merge.removed(file, changed, before) == 'model_provider = "other"\n'


def test_a_subscription_keeps_the_sign_in_and_names_the_token_in_a_header() -> None:
    (file,) = catalog.CLAUDE_CODE.subscription
    text = merge.configured(file, "", VALUES)
    assert "AUTH_TOKEN" not in text
    assert f"x-metrion-token: {TOKEN}\\nx-metrion-user" in text


def test_only_an_address_or_token_of_metrion_counts_as_set_up() -> None:
    env, settings = catalog.GEMINI_CLI.files
    assert not merge.is_configured(env, "GEMINI_API_KEY=AIza\n")
    assert not merge.is_configured(settings, merge.configured(settings, "", VALUES))
    assert merge.is_configured(env, merge.configured(env, "", VALUES))


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("claude-code", '{"env": []}'),
        ("codex", "model_providers = 1\n"),
        ("continue", "models: none\n"),
        ("llm", "a: [\n"),
    ],
)
def test_a_file_of_another_shape_is_an_error_and_not_overwritten(tool: str, text: str) -> None:
    with pytest.raises(ValueError):
        merge.configured(TOOLS[tool].files[0], text, VALUES)
