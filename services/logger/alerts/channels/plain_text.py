"""Texts of messages, made safe for any channel: one line each, of bounded length."""

import re
from collections.abc import Callable

import msgspec

from services.logger.alerts.message import Message

_MOST = 500  # characters of a text
_MOST_NAME = 200
_MOST_ROWS = 5
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_INVISIBLE = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_LINK = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]+(?:/[A-Za-z0-9\-._~!$&()*+,;=:@%/?#]*)?")


def line(text: str, most: int = _MOST) -> str:
    """One line without control characters or characters that change the direction."""
    text = _SPACE.sub(" ", _INVISIBLE.sub("", text)).strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def cleaned(message: Message) -> Message:
    """The message with every text as one bounded line, and a link only if it is one."""
    return msgspec.structs.replace(
        message,
        account=line(message.account, _MOST_NAME),
        rule=line(message.rule, _MOST_NAME),
        subject=line(message.subject, _MOST_NAME),
        title=line(message.title, _MOST_NAME) or "Metrion",
        text=line(message.text),
        value=line(message.value, _MOST_NAME),
        threshold=line(message.threshold, _MOST_NAME),
        contributors=tuple(
            (line(name, _MOST_NAME), line(amount, _MOST_NAME)) for name, amount in message.contributors[:_MOST_ROWS]
        ),
        forecast=line(message.forecast),
        compared=line(message.compared),
        link=message.link if _LINK.fullmatch(message.link) and len(message.link) <= 2000 else "",
        key=line(message.key, 1000),
    )


def facts(message: Message) -> list[tuple[str, str]]:
    """What a message states besides its sentence, as (label, text)."""
    rows = [
        ("Value", message.value),
        ("Threshold", message.threshold),
        ("Forecast", message.forecast),
        ("Compared with before", message.compared),
        ("Subject", message.subject),
        ("Rule", message.rule),
        ("Account", "" if message.account == "-" else message.account),
    ]
    return [(label, text) for label, text in rows if text]


def fit(text: str, most: int, escape: Callable[[str], str]) -> str:
    """Escape a text character by character, cut so that the result is short enough."""
    whole = escape(text)
    if len(whole) <= most:
        return whole
    found = ""
    for character in text:
        piece = escape(character)
        if len(found) + len(piece) >= most:
            break
        found += piece
    return found + "…"
