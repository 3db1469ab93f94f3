"""The coding agents that can be set up, one record each."""

from shared.agent_tools.model import (
    DOTENV,
    JSON,
    SHELL,
    TOML,
    YAML,
    ConfigFile,
    Entry,
    Headers,
    HeaderStyle,
    Item,
    Tool,
)

_OPENAI = "{proxy}/openai/v1"
_MODEL = "gpt-4.1-mini"
_MAP = Headers(HeaderStyle.MAP)
_LINES = Headers(HeaderStyle.LINES)
_COMMAS = Headers(HeaderStyle.COMMAS)


def _shell(tool: str, exports: dict[str, str | Headers]) -> ConfigFile:
    """A file of exports, for a tool that reads only the environment."""
    return ConfigFile(
        folder=".config/metrion/agents",
        folder_variable="METRION_AGENTS_DIR",
        name=f"{tool}.sh",
        format=SHELL,
        settings=exports,
        initial="# Source this file in your shell's profile.\n",
    )


def _claude(settings: dict[str, str | Headers]) -> tuple[ConfigFile, ...]:
    return (
        ConfigFile(
            folder=".claude",
            folder_variable="CLAUDE_CONFIG_DIR",
            name="settings.json",
            format=JSON,
            settings={"env": settings},
        ),
    )


CLAUDE_CODE = Tool(
    name="claude-code",
    title="Claude Code",
    provider="anthropic",
    base="{proxy}",
    probe="/v1/models",
    files=_claude(
        {"ANTHROPIC_BASE_URL": "{proxy}", "ANTHROPIC_AUTH_TOKEN": "{token}", "ANTHROPIC_CUSTOM_HEADERS": _LINES}
    ),
    subscription=_claude(
        {
            "ANTHROPIC_BASE_URL": "{proxy}",
            "ANTHROPIC_CUSTOM_HEADERS": Headers(HeaderStyle.LINES, {"x-metrion-token": "{token}"}),
        }
    ),
    subscription_variables=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    project_files=((".claude/settings.json", ".claude/settings.local.json"),),
    sends_session=True,
    extras=(
        "`CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1` in `env` lets `/model` list the models that the provider has.",
    ),
    start="claude",
)

CODEX = Tool(
    name="codex",
    title="Codex",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        ConfigFile(
            folder=".codex",
            folder_variable="CODEX_HOME",
            name="config.toml",
            format=TOML,
            settings={
                "model_provider": "metrion",
                "model_providers": {
                    "metrion": {
                        "name": "Metrion",
                        "base_url": _OPENAI,
                        "env_key": "METRION_TOKEN",
                        "wire_api": "responses",
                        "http_headers": _MAP,
                    }
                },
            },
        ),
        ConfigFile(
            folder=".codex",
            folder_variable="CODEX_HOME",
            name=".env",
            format=DOTENV,
            settings={"METRION_TOKEN": "{token}"},
        ),
    ),
    project_files=((".codex/config.toml",),),
    sends_session=True,
    extras=(
        "`supports_websockets = true` in `[model_providers.metrion]` makes Codex use WebSockets.",
        'Without a provider of its own: `openai_base_url = "{proxy}/openai/v1"`, and the token in `CODEX_API_KEY`. '
        "Codex then uses WebSockets and sends no headers: give each person a token with a requester.",
    ),
    start="codex",
)

GEMINI_CLI = Tool(
    name="gemini-cli",
    title="Gemini CLI",
    provider="gemini",
    base="{proxy}/gemini",
    probe="/v1beta/models",
    files=(
        ConfigFile(
            folder=".gemini",
            name=".env",
            format=DOTENV,
            settings={
                "GOOGLE_GEMINI_BASE_URL": "{proxy}/gemini",
                "GEMINI_API_KEY": "{token}",
                "GEMINI_CLI_CUSTOM_HEADERS": _COMMAS,
            },
        ),
        ConfigFile(
            folder=".gemini",
            name="settings.json",
            format=JSON,
            settings={"security": {"auth": {"selectedType": "gemini-api-key"}}},
        ),
    ),
    variables=("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_CLI_CUSTOM_HEADERS"),
    project_files=((".gemini/.env", ".env"), (".gemini/settings.json",)),
    notes=(
        "In a folder that is not trusted Gemini CLI reads no .env: trust it, or set GEMINI_CLI_TRUST_WORKSPACE=true.",
    ),
    start="gemini",
)

OPENCODE = Tool(
    name="opencode",
    title="opencode",
    provider="anthropic",
    base="{proxy}/v1",
    probe="/models",
    files=(
        ConfigFile(
            folder=".config/opencode",
            name="opencode.json",
            alternatives=("opencode.jsonc", "config.json"),
            format=JSON,
            settings={
                "provider": {
                    "anthropic": {"options": {"baseURL": "{proxy}/v1", "apiKey": "{token}", "headers": _MAP}},
                    "openai": {"options": {"baseURL": _OPENAI, "apiKey": "{token}", "headers": _MAP}},
                    "google": {"options": {"baseURL": "{proxy}/gemini/v1beta", "apiKey": "{token}", "headers": _MAP}},
                }
            },
        ),
    ),
    project_files=(("opencode.json", "opencode.jsonc"),),
    sends_session=True,
    start="opencode",
)

QWEN_CODE = Tool(
    name="qwen-code",
    title="qwen-code",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        ConfigFile(
            folder=".qwen",
            name=".env",
            format=DOTENV,
            settings={"OPENAI_BASE_URL": _OPENAI, "OPENAI_API_KEY": "{token}", "OPENAI_MODEL": "{model}"},
        ),
        ConfigFile(
            folder=".qwen",
            name="settings.json",
            format=JSON,
            settings={
                "security": {"auth": {"selectedType": "openai"}},
                "model": {"generationConfig": {"customHeaders": _MAP}},
            },
        ),
    ),
    variables=("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"),
    model=_MODEL,
    project_files=((".qwen/.env", ".env"), (".qwen/settings.json",)),
    start="qwen",
)

PI = Tool(
    name="pi",
    title="pi",
    provider="anthropic",
    base="{proxy}",
    probe="/v1/models",
    files=(
        ConfigFile(
            folder=".pi/agent",
            folder_variable="PI_CODING_AGENT_DIR",
            name="models.json",
            format=JSON,
            settings={
                "providers": {
                    "anthropic": {"baseUrl": "{proxy}", "apiKey": "{token}", "headers": _MAP},
                    "openai": {"baseUrl": _OPENAI, "apiKey": "{token}", "headers": _MAP},
                    "google": {"baseUrl": "{proxy}/gemini/v1beta", "apiKey": "{token}", "headers": _MAP},
                }
            },
        ),
    ),
    sends_session=True,
    start="pi",
)

COPILOT = Tool(
    name="copilot",
    title="GitHub Copilot CLI",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        _shell(
            "copilot",
            {
                "COPILOT_PROVIDER_BASE_URL": _OPENAI,
                "COPILOT_PROVIDER_API_KEY": "{token}",
                "COPILOT_MODEL": "{model}",
                "COPILOT_PROVIDER_HEADERS": _LINES,
            },
        ),
    ),
    variables=("COPILOT_PROVIDER_BASE_URL", "COPILOT_PROVIDER_API_KEY", "COPILOT_MODEL", "COPILOT_PROVIDER_HEADERS"),
    model=_MODEL,
    start="copilot",
)

CONTINUE = Tool(
    name="continue",
    title="Continue",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        ConfigFile(
            folder=".continue",
            folder_variable="CONTINUE_GLOBAL_DIR",
            name="config.yaml",
            format=YAML,
            initial="name: Local Config\nversion: 1.0.0\nschema: v1\n",
            settings={
                "models": Entry(
                    Item("name", "Metrion"),
                    {
                        "provider": "openai",
                        "model": "{model}",
                        "apiBase": _OPENAI,
                        "apiKey": "{token}",
                        "requestOptions": {"headers": _MAP},
                    },
                )
            },
        ),
    ),
    model=_MODEL,
    start="cn",
)

CLINE = Tool(
    name="cline",
    title="Cline",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        ConfigFile(
            folder=".cline/data/settings",
            name="providers.json",
            format=JSON,
            initial='{\n  "version": 1,\n  "modes": {}\n}\n',
            settings={
                "lastUsedProvider": "openai-compatible",
                "providers": {
                    "openai-compatible": {
                        "settings": {
                            "provider": "openai-compatible",
                            "apiKey": "{token}",
                            "model": "{model}",
                            "baseUrl": _OPENAI,
                            "headers": _MAP,
                        },
                        "updatedAt": "2026-01-01T00:00:00.000Z",
                        "tokenSource": "manual",
                    }
                },
            },
        ),
    ),
    model=_MODEL,
    start="cline",
)

AIDER = Tool(
    name="aider",
    title="aider",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        ConfigFile(
            folder="",
            name=".aider.conf.yml",
            format=YAML,
            settings={"openai-api-base": _OPENAI, "openai-api-key": "{token}", "model": "openai/{model}"},
        ),
        ConfigFile(
            folder="",
            name=".aider.model.settings.yml",
            format=YAML,
            settings=Entry(Item("name", "aider/extra_params"), {"extra_params": {"extra_headers": _MAP}}),
        ),
    ),
    variables=("OPENAI_API_BASE", "OPENAI_API_KEY", "AIDER_OPENAI_API_BASE", "AIDER_OPENAI_API_KEY", "AIDER_MODEL"),
    model=_MODEL,
    project_files=((".aider.conf.yml",), (".aider.model.settings.yml",)),
    extras=(
        "For Anthropic's models set `ANTHROPIC_API_BASE={proxy}` and `ANTHROPIC_API_KEY={token}` in the environment.",
    ),
    start="aider",
)

LLM = Tool(
    name="llm",
    title="llm",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        ConfigFile(
            folder=".config/io.datasette.llm",
            folder_variable="LLM_USER_PATH",
            name="extra-openai-models.yaml",
            format=YAML,
            settings=Entry(
                Item("model_id", "metrion"),
                {"model_name": "{model}", "api_base": _OPENAI, "api_key_name": "metrion", "headers": _MAP},
            ),
        ),
        ConfigFile(
            folder=".config/io.datasette.llm",
            folder_variable="LLM_USER_PATH",
            name="keys.json",
            format=JSON,
            settings={"metrion": "{token}"},
        ),
    ),
    model=_MODEL,
    notes=("On macOS the folder is ~/Library/Application Support/io.datasette.llm: set LLM_USER_PATH to it.",),
    start="llm -m metrion",
)

MISTRAL_VIBE = Tool(
    name="mistral-vibe",
    title="Mistral Vibe",
    provider="mistral",
    base="{proxy}/mistral/v1",
    probe="/models",
    files=(
        ConfigFile(
            folder=".vibe",
            folder_variable="VIBE_HOME",
            name="config.toml",
            format=TOML,
            settings={
                "active_model": "metrion",
                "providers": Entry(
                    Item("name", "metrion"),
                    {
                        "api_base": "{proxy}/mistral/v1",
                        "api_key_env_var": "METRION_TOKEN",
                        "api_style": "openai",
                        "backend": "generic",
                        "extra_headers": _MAP,
                    },
                ),
                "models": Entry(Item("alias", "metrion"), {"name": "{model}", "provider": "metrion"}),
            },
        ),
        ConfigFile(
            folder=".vibe",
            folder_variable="VIBE_HOME",
            name=".env",
            format=DOTENV,
            settings={"METRION_TOKEN": "{token}"},
        ),
    ),
    project_files=((".vibe/config.toml",),),
    model="devstral-small-latest",
    sends_session=True,
    start="vibe",
)

GROK_CLI = Tool(
    name="grok-cli",
    title="grok-cli",
    provider="grok",
    base="{proxy}/grok/v1",
    probe="/models",
    files=(_shell("grok-cli", {"GROK_BASE_URL": "{proxy}/grok/v1", "GROK_API_KEY": "{token}"}),),
    variables=("GROK_BASE_URL", "GROK_API_KEY"),
    sends_headers=False,
    start="grok",
)

OPEN_INTERPRETER = Tool(
    name="open-interpreter",
    title="Open Interpreter",
    provider="openai",
    base=_OPENAI,
    probe="/models",
    files=(
        _shell(
            "open-interpreter",
            {"alias interpreter": f"interpreter --model openai/{{model}} --api_base {_OPENAI} --api_key {{token}}"},
        ),
    ),
    model=_MODEL,
    sends_headers=False,
    notes=("The token is visible in the process list while Open Interpreter runs.",),
    start="interpreter",
)

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        CLAUDE_CODE,
        CODEX,
        GEMINI_CLI,
        OPENCODE,
        QWEN_CODE,
        PI,
        COPILOT,
        CONTINUE,
        CLINE,
        AIDER,
        LLM,
        MISTRAL_VIBE,
        GROK_CLI,
        OPEN_INTERPRETER,
    )
}
