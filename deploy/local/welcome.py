"""Text printed after a start: addresses, and two snippets to paste."""

from collections.abc import Mapping

from deploy.local.clickhouse_users import SQL_USERS
from deploy.local.plan import Settings
from shared import dashboard_users, sql_users

_COST = "SELECT provider, model, requester, count(), sum(cost) FROM metrion.requests GROUP BY ALL"


def text(settings: Settings, *, token: str, valid: bool, caller: Mapping[str, str], password: str = "") -> str:
    """A ready line and two calls with the real port and token.

    `password`: that of a new admin, "" for none.
    """
    host = "127.0.0.1" if settings.gateway_host in ("0.0.0.0", "::", "") else settings.gateway_host  # noqa: S104 — compared
    gateway = f"http://{host}:{settings.gateway_port}"
    clickhouse = f"http://127.0.0.1:{settings.clickhouse_port}"
    dashboard = f"http://127.0.0.1:{settings.dashboard_port}"
    ready = f"metrion ready: gateway {gateway} token {token} clickhouse {clickhouse} dashboard {dashboard}"
    if password:
        ready += f"\n\ndashboard {dashboard}: sign in as {dashboard_users.FIRST} with {password} (shown once)"
    if not valid:
        ready += "\n\nthis token was revoked; create another one: .venv/bin/metrion token create --name NAME"
    return "\n".join([ready, "", *_keys(caller), *_snippets(gateway, token), "", *_question(settings, clickhouse), ""])


def _keys(caller: Mapping[str, str]) -> list[str]:
    missing = [name for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY") if not caller.get(name)]
    if not missing:
        return []
    return [f"# {' and '.join(missing)} not set: export your provider keys before `make run` to use these calls", ""]


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
        "response = client.chat.completions.create(",
        '    model="gpt-4.1-mini",',
        '    messages=[{"role": "user", "content": "Hello"}],',
        '    extra_headers={"x-metrion-user": "me"},',
        ")",
        "print(response.choices[0].message.content)",
    ]


def _question(settings: Settings, clickhouse: str) -> list[str]:
    """A query for the passwordless user, who can read nothing once accounts have SQL users."""
    try:
        if sql_users.read(settings.data_dir / "clickhouse" / SQL_USERS):
            return []
    except (OSError, ValueError):  # the engine reports it itself
        pass
    return [f"curl '{clickhouse}/' --data-binary '{_COST}'"]
