"""Settings and token in, the text that a start ends with out: where everything is, and two snippets to paste."""

from collections.abc import Mapping

from deploy.local.clickhouse_users import SQL_USERS
from deploy.local.plan import Settings
from shared import dashboard_users, sql_users

_COST = "SELECT provider, model, requester, count(), sum(cost) FROM metrion.requests GROUP BY ALL"


def text(settings: Settings, *, token: str, valid: bool, caller: Mapping[str, str], password: str = "") -> str:
    """One ready line, then two calls with the real port and token. `password`: a new admin's, "" for none."""
    host = "127.0.0.1" if settings.gateway_host in ("0.0.0.0", "::", "") else settings.gateway_host  # noqa: S104 — compared
    gateway = f"http://{host}:{settings.gateway_port}"
    clickhouse = f"http://127.0.0.1:{settings.clickhouse_port}"
    dashboard = f"http://127.0.0.1:{settings.dashboard_port}"
    ready = f"metrion ready: gateway {gateway} token {token} clickhouse {clickhouse} dashboard {dashboard}"
    if password:
        ready += f"\n\ndashboard {dashboard}: sign in as {dashboard_users.FIRST} with {password} (shown this once)"
    if not valid:
        ready += "\n\nthis token was revoked; make another: .venv/bin/metrion token create --name NAME"
    return "\n".join([ready, "", *_keys(caller), *_snippets(gateway, token), "", *_question(settings, clickhouse), ""])


def _keys(caller: Mapping[str, str]) -> list[str]:
    missing = [name for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY") if not caller.get(name)]
    if not missing:
        return []
    return [f"# {' and '.join(missing)} not set: export your provider keys before `make run` for these calls", ""]


def _snippets(gateway: str, token: str) -> list[str]:
    body = '{"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}'
    return [
        f"curl {gateway}/api/proxy/v1/messages -H 'x-api-key: {token}' \\",
        "  -H 'content-type: application/json' -H 'x-metrion-user: me' \\",
        f"  -d '{body}'",
        "",
        "from openai import OpenAI",
        "",
        f'client = OpenAI(base_url="{gateway}/api/proxy/openai/v1", api_key="{token}")',
        "answer = client.chat.completions.create(",
        '    model="gpt-4.1-mini",',
        '    messages=[{"role": "user", "content": "Hello"}],',
        '    extra_headers={"x-metrion-user": "me"},',
        ")",
        "print(answer.choices[0].message.content)",
    ]


def _question(settings: Settings, clickhouse: str) -> list[str]:
    """For the passwordless user, who reads nothing once there are SQL users confined to an account."""
    try:
        if sql_users.read(settings.data_dir / "clickhouse" / SQL_USERS):
            return []
    except (OSError, ValueError):  # the engine says so itself
        pass
    return [f"curl '{clickhouse}/' --data-binary '{_COST}'"]
