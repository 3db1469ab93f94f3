"""Messages and channels of alerts for tests."""

from datetime import UTC, datetime
from typing import Any

from services.logger.alerts.message import Message
from shared.alerts import channel_secrets, webhook_url
from shared.alerts.model import Channel
from shared.vault import Vault, new_key

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
VAULT = Vault.parse(new_key())
URL_SECRET = "T0-very-secret-path"
SIGNING_KEY = "whsec-very-secret-signing-key"
ROUTING_KEY = "r0ut1ngkeyr0ut1ngkeyr0ut1ngkey00"
HOSTILE = (
    "<!channel> <@U1> <https://evil.example|x> @everyone @here <@1> **b** _i_ `c` [x](https://evil.example) ~s~ | # \\ & "
    "<script>alert(1)</script> \"'\r\nBcc: evil@example.com\r\n\r\n.\r\n\u202eabc \x00 \ud800 ünïcødé 日本 🚀"
)


def message(**fields: Any) -> Message:
    given: dict[str, Any] = {
        "account": "team-a",
        "rule": "monthly",
        "level": "alert",
        "subject": "alice",
        "title": f"{fields.get('level', 'alert').title()}: cost of alice in November",
        "text": "alice has spent more than the budget of this month.",
        "value": "$101.20",
        "threshold": "$100.00",
        "contributors": (("gpt-5", "$80.00"), ("claude-opus-5", "$21.20")),
        "forecast": "$140.00 by the end of the month",
        "compared": "+30 % against October",
        "link": "https://metrion.example.com/cost?requester=alice&since=30d",
        "at": NOW,
        "key": "team-a.monthly.alice",
    }
    return Message(**given | fields)


def hostile(**fields: Any) -> Message:
    """A message whose every text attacks its receiver."""
    texts = dict.fromkeys(
        ("account", "rule", "subject", "title", "text", "value", "threshold", "forecast", "compared"), HOSTILE
    )
    return message(**texts | {"contributors": ((HOSTILE, HOSTILE),) * 7, "link": "javascript:alert(1)"} | fields)


def channel(
    kind: str, url: str = "", *, name: str = "ops", account: str = "team-a", vault: Vault = VAULT, **fields: Any
) -> Channel:
    """A channel with sealed secrets, as the command line makes it."""
    place: dict[str, Any] = {"account": account, "channel": name}
    if url:
        fields |= {
            "url": channel_secrets.seal(vault, url, purpose="url", **place),
            "hint": webhook_url.parse(url).origin,
        }
    if key := {"webhook": SIGNING_KEY, "pagerduty": ROUTING_KEY}.get(kind):
        fields |= {"secret": channel_secrets.seal(vault, key, purpose="secret", **place)}
    return Channel(account=account, name=name, created_at=NOW, kind=kind, **fields)  # type: ignore[arg-type]
