"""Bodies of webhooks: what a receiver reads, and what hostile texts cannot do there."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logger.alerts.channels import bodies
from services.logger.alerts.channels.plain_text import cleaned, line
from services.logger.alerts.message import Message
from tests.support.alert_messages import HOSTILE, ROUTING_KEY, hostile, message

EACH: dict[str, Callable[[Message], dict[str, Any]]] = {
    "webhook": bodies.webhook,
    "slack": bodies.slack,
    "teams": bodies.teams,
    "discord": bodies.discord,
    "pagerduty": lambda message: bodies.pagerduty(message, ROUTING_KEY),
}


def texts(body: Any) -> Iterator[str]:
    """Every text in a body."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict):
        for value in body.values():
            yield from texts(value)
    elif isinstance(body, list):
        for value in body:
            yield from texts(value)


@pytest.mark.parametrize("kind", EACH)
def test_a_body_has_everything_that_a_message_says(kind: str) -> None:
    said = msgspec.json.encode(EACH[kind](cleaned(message()))).decode().replace("\\\\", "")
    for text in (
        "alice",
        "monthly",
        "$101.20",
        "$100.00",
        "gpt-5",
        "$80.00",
        "$140.00",
        "+30 % against October",
        "metrion.example.com",
    ):
        assert text in said, text


@pytest.mark.parametrize("kind", EACH)
def test_a_hostile_message_stays_small_and_has_no_link(kind: str) -> None:
    body = EACH[kind](cleaned(hostile()))
    assert len(msgspec.json.encode(body)) < 24_000
    assert not [
        text for text in texts(body) if "javascript:" in text or "\x00" in text or "\u202e" in text or "\r" in text
    ]


def test_slack_mentions_nobody_and_follows_no_link_of_a_user() -> None:
    body = bodies.slack(cleaned(hostile(link="https://metrion.example.com/?a=1&b=<")))
    assert not [text for text in texts(body) if re.search(r"[<>]", text)]
    linked = bodies.slack(cleaned(hostile(link="https://metrion.example.com/?a=1&b=2")))
    assert {found for text in texts(linked) for found in re.findall(r"<[^>]*>", text)} == {
        "<https://metrion.example.com/?a=1&amp;b=2|Open Metrion>"
    }


def test_slack_accepts_the_lengths_of_a_message_full_of_escapes() -> None:
    full = bodies.slack(cleaned(hostile(title="&" * 500, text="<" * 5000, subject=">" * 400)))
    header, *sections = full["blocks"]
    assert len(header["text"]["text"]) <= 150
    for section in sections:
        assert len(section.get("text", {}).get("text", "")) <= 3000
        assert len(section.get("fields", ())) <= 10
        assert all(len(field["text"]) <= 2000 for field in section.get("fields", ()))


def test_discord_mentions_nobody_and_formats_nothing() -> None:
    body = bodies.discord(cleaned(hostile()))
    assert body["allowed_mentions"] == {"parse": []}
    (embed,) = body["embeds"]
    for text in texts([embed["title"], embed["description"], *(field["value"] for field in embed["fields"])]):
        assert not re.search(r"(?<!\\)(?:\\\\)*[*_`~|<>@\[\]()#:]", text), text
    assert "url" not in embed


def test_discord_accepts_the_lengths_of_a_message_full_of_escapes() -> None:
    stars = "*" * 5000
    fields = dict.fromkeys(
        ("account", "rule", "subject", "title", "text", "value", "threshold", "forecast", "compared"), stars
    )
    (embed,) = bodies.discord(cleaned(message(**fields, contributors=((stars, stars),) * 9)))["embeds"]
    assert len(embed["title"]) <= 256
    assert all(len(field["value"]) <= 1024 for field in embed["fields"])
    total = [
        embed["title"],
        embed["description"],
        *(text for field in embed["fields"] for text in (field["name"], field["value"])),
    ]
    assert sum(map(len, total)) <= 6000


def test_teams_shows_texts_in_runs_that_know_no_markdown() -> None:
    body = bodies.teams(cleaned(hostile()))
    (attachment,) = body["attachments"]
    assert {block["type"] for block in attachment["content"]["body"]} == {"RichTextBlock"}
    assert "actions" not in attachment["content"]
    assert "msteams" not in attachment["content"]


@pytest.mark.parametrize(
    ("level", "action", "severity"),
    [
        ("warning", "trigger", "warning"),
        ("alert", "trigger", "critical"),
        ("test", "trigger", "info"),
        ("recovered", "resolve", ""),
    ],
)
def test_pagerduty_opens_an_incident_and_closes_it(level: str, action: str, severity: str) -> None:
    event = bodies.pagerduty(cleaned(message(level=level)), ROUTING_KEY)
    assert (event["event_action"], event["routing_key"]) == (action, ROUTING_KEY)
    assert event.get("payload", {}).get("severity", "") == severity


def test_pagerduty_knows_warning_alert_and_recovery_as_one_incident_and_a_test_as_another() -> None:
    keys = {
        level: bodies.pagerduty(cleaned(message(level=level)), ROUTING_KEY)["dedup_key"]
        for level in ("warning", "alert", "recovered", "test")
    }
    assert keys["warning"] == keys["alert"] == keys["recovered"] != keys["test"]
    long = bodies.pagerduty(cleaned(message(key="k" * 900)), ROUTING_KEY)["dedup_key"]
    assert len(long) <= 255


def test_a_message_keeps_its_id_and_another_has_another() -> None:
    assert bodies.message_id(message()) == bodies.message_id(message())
    others = {bodies.message_id(message(**fields)) for fields in ({"level": "warning"}, {"key": "other"})}
    assert bodies.message_id(message()) not in others
    assert len(others) == 2


@given(st.text())
def test_a_text_becomes_one_line_that_can_be_encoded(text: str) -> None:
    clean = line(text, 50)
    assert len(clean) <= 50
    assert "\n" not in clean and "\r" not in clean and "\x00" not in clean
    clean.encode()
    assert line(clean, 50) == clean


def test_a_text_keeps_what_is_harmless() -> None:
    assert "ünïcødé 日本 🚀" in line(HOSTILE)
