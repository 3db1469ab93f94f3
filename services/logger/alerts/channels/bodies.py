"""Bodies of webhooks: a function for each receiver, which escapes texts for it."""

import hashlib
import re
from typing import Any

from services.logger.alerts.channels.plain_text import facts, fit
from services.logger.alerts.message import Message

_COLOURS = {"warning": 0xE0A100, "alert": 0xC62828, "recovered": 0x2E7D32, "test": 0x546E7A}
_SEVERITIES = {"warning": "warning", "alert": "critical", "recovered": "info", "test": "info"}
_DISCORD_SPECIAL = re.compile(r"([^\w\s.,;!?%$€£+=&'\"/…–-]|[_/])")
_ADAPTIVE_CARD = "http://adaptivecards.io/schemas/adaptive-card.json"


def message_id(message: Message) -> str:
    """An id of this message, the same for each attempt to send it."""
    parts = (message.key, message.level, message.at.isoformat())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def webhook(message: Message) -> dict[str, Any]:
    """Metrion's own format, as documented in docs/alerts.md."""
    return {
        "type": "alert",
        "id": message_id(message),
        "key": message.key,
        "at": message.at.isoformat(),
        "level": message.level,
        "account": message.account,
        "rule": message.rule,
        "subject": message.subject,
        "title": message.title,
        "text": message.text,
        "value": message.value,
        "threshold": message.threshold,
        "contributors": [{"name": name, "amount": amount} for name, amount in message.contributors],
        "forecast": message.forecast,
        "compared": message.compared,
        "link": message.link,
    }


def slack(message: Message) -> dict[str, Any]:
    """Blocks of plain text, and `text` for notifications and similar chats."""

    def plain(text: str, most: int) -> dict[str, Any]:
        return {"type": "plain_text", "text": fit(text, most, slack_escaped), "emoji": False}

    fields = [plain(f"{label}\n{text}", 2000) for label, text in facts(message)]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": plain(message.title, 150)},
        {"type": "section", "text": plain(message.text or message.title, 3000)},
    ]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    if message.contributors:
        rows = "\n".join(f"{name}: {amount}" for name, amount in message.contributors)
        blocks.append({"type": "section", "text": plain(f"Largest contributors\n{rows}", 3000)})
    text = f"{message.title}\n{message.text}"
    text = fit(text, 3000, slack_escaped)
    if message.link:
        link = f"<{slack_escaped(message.link)}|Open Metrion>"
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": link}]})
        text += f"\n{link}"
    return {"text": text, "blocks": blocks}


def slack_escaped(text: str) -> str:
    """Escape the characters that begin mentions and links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def teams(message: Message) -> dict[str, Any]:
    """An adaptive card for a workflow; its text runs know no Markdown."""

    def block(text: str, **style: Any) -> dict[str, Any]:
        return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}

    def row(label: str, text: str) -> dict[str, Any]:
        runs = [{"type": "TextRun", "text": f"{label}: ", "weight": "Bolder"}, {"type": "TextRun", "text": text}]
        return {"type": "RichTextBlock", "spacing": "Small", "inlines": runs}

    colour = {"warning": "Warning", "alert": "Attention", "recovered": "Good", "test": "Default"}[message.level]
    body = [block(message.title, size="Large", weight="Bolder", color=colour)]
    if message.text:
        body.append(block(message.text))
    body += [row(label, text) for label, text in facts(message)]
    if message.contributors:
        body.append(block("Largest contributors", weight="Bolder"))
        body += [row(name, amount) for name, amount in message.contributors]
    card: dict[str, Any] = {"$schema": _ADAPTIVE_CARD, "type": "AdaptiveCard", "version": "1.4", "body": body}
    if message.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open Metrion", "url": message.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def discord(message: Message) -> dict[str, Any]:
    """An embed that mentions nobody."""
    fields = [
        {"name": label, "value": fit(text, 500, discord_escaped), "inline": True} for label, text in facts(message)
    ]
    if message.contributors:
        rows = [f"{name}: {amount}" for name, amount in message.contributors]
        text = "\n".join(fit(row, 200, discord_escaped) for row in rows)
        fields.append({"name": "Largest contributors", "value": text, "inline": False})
    embed: dict[str, Any] = {
        "title": fit(message.title, 256, discord_escaped),
        "description": fit(message.text, 1000, discord_escaped),
        "color": _COLOURS[message.level],
        "fields": fields,
        "timestamp": message.at.isoformat(),
    }
    if message.link:
        embed["url"] = message.link
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def discord_escaped(text: str) -> str:
    """Escape everything that Discord might read as Markdown, a link or a mention."""
    return _DISCORD_SPECIAL.sub(r"\\\1", text)


def pagerduty(message: Message, routing_key: str) -> dict[str, Any]:
    """An event of the Events API v2: trigger, or resolve once a rule has recovered."""
    key = f"{message.key}:test" if message.level == "test" else message.key  # a test opens an incident of its own
    if len(key) > 255:
        key = hashlib.sha256(key.encode()).hexdigest()
    event: dict[str, Any] = {"routing_key": routing_key, "dedup_key": key}
    if message.level == "recovered":
        return event | {"event_action": "resolve"}
    details = dict(facts(message))
    details |= {"Text": message.text}
    if message.contributors:
        details["Largest contributors"] = "; ".join(f"{name}: {amount}" for name, amount in message.contributors)
    event |= {
        "event_action": "trigger",
        "client": "Metrion",
        "payload": {
            "summary": message.title,
            "source": message.subject or message.account.strip("-") or "Metrion",
            "severity": _SEVERITIES[message.level],
            "timestamp": message.at.isoformat(),
            "component": message.rule,
            "custom_details": details,
        },
    }
    if message.link:
        event |= {"client_url": message.link, "links": [{"href": message.link, "text": "Open Metrion"}]}
    return event
