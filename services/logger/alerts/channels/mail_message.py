"""The e-mail of a message: headers, text and HTML."""

import email.utils
import functools
import hashlib
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import jinja2

from services.logger.alerts.channels.bodies import message_id
from services.logger.alerts.channels.plain_text import facts, line
from services.logger.alerts.message import Message
from shared.alerts.model import SYSTEM, Channel

_POLICY = SMTP.clone(cte_type="7bit")
_TEMPLATE = Path(__file__).with_name("message.html")
_COLOURS = {"warning": "#b26a00", "alert": "#c62828", "recovered": "#2e7d32", "test": "#546e7a"}


def build(message: Message, *, channel: Channel, sender: Address) -> bytes:
    """The bytes to send, for a message whose texts are clean."""
    domain = sender.domain
    thread = f"<{hashlib.sha256(message.key.encode()).hexdigest()[:32]}@{domain}>"
    account = "metrion" if message.account == SYSTEM else re.sub(r"[^a-z0-9-]", "-", message.account.lower())[:63]
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = ", ".join(channel.recipients)
    mail["Subject"] = line(f"[Metrion] {message.title}")
    mail["Date"] = email.utils.format_datetime(message.at)
    mail["Message-ID"] = f"<{message_id(message)}@{domain}>"
    mail["References"] = thread
    mail["In-Reply-To"] = thread
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["List-Id"] = f"Metrion alerts <{account}.alerts.{domain}>"
    reason = f"Sent by Metrion to the channel {channel.name} for the rule {message.rule}."
    mail.set_content(_text(message, reason))
    mail.add_alternative(
        _html().render(
            title=message.title,
            colour=_COLOURS[message.level],
            text=message.text,
            facts=facts(message),
            contributors=message.contributors,
            link=message.link,
            reason=reason,
        ),
        subtype="html",
    )
    return mail.as_bytes()


def _text(message: Message, reason: str) -> str:
    parts = [message.title, message.text, "\n".join(f"{label}: {text}" for label, text in facts(message))]
    if message.contributors:
        parts.append(
            "\n".join(("Largest contributors:", *(f"  {name}: {amount}" for name, amount in message.contributors)))
        )
    if message.link:
        parts.append(f"Open Metrion: {message.link}")
    return "\n\n".join(filter(None, (*parts, f"-- \n{reason}"))) + "\n"


@functools.cache
def _html() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_TEMPLATE.read_text())
