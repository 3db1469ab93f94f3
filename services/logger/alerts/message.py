"""A message about an alert rule, as every channel gets it."""

from datetime import datetime
from typing import Literal

import msgspec


class SendError(Exception):
    """A message did not arrive; the reason contains no secret and no full URL."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule has to say about one subject; every text is plain text."""

    account: str  # or SYSTEM
    rule: str
    level: Literal["warning", "alert", "recovered", "test"]
    subject: str = ""  # a requester, token, provider or model with `by`
    title: str  # one line, which begins with the level
    text: str  # a sentence
    value: str  # for display, with its unit
    threshold: str  # for display, with its unit
    contributors: tuple[tuple[str, str], ...] = ()  # name and amount, the largest five
    forecast: str = ""
    compared: str = ""  # with the period before
    link: str = ""  # to the dashboard
    at: datetime  # aware
    key: str  # stable id of rule and subject: PagerDuty's deduplication key, the thread of e-mails
