"""The e-mail of a message: its parts, its thread, and what a hostile text cannot add to it."""

import email
import email.policy
import re
from email.headerregistry import Address
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logger.alerts import sender_address
from services.logger.alerts.channels import mail_message
from services.logger.alerts.channels.plain_text import cleaned
from services.logger.alerts.message import Message
from tests.support.alert_messages import channel, hostile, message

SENDER = Address("Metrion", addr_spec="metrion@example.com")
MAIL = channel("email", recipients=("ops@example.com", "me@example.com"))
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "References", "In-Reply-To", "Auto-Submitted", "X-Auto-Response-Suppress",
    "List-Id", "MIME-Version", "Content-Type",
}  # fmt: skip


def parsed(message: Message) -> EmailMessage:
    data = mail_message.build(cleaned(message), channel=MAIL, sender=SENDER)
    assert data.isascii(), "any server accepts it"
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text


class Tags(HTMLParser):
    """Tags and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags = set[str]()
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_and_html_say_everything() -> None:
    mail = parsed(message())
    page = Tags(body(mail, "html"))
    for text in (body(mail, "plain"), page.text):
        for part in (
            "Alert: cost of alice in November",
            "alice has spent",
            "$101.20",
            "$100.00",
            "gpt-5",
            "$80.00",
            "$140.00",
            "+30 %",
            "team-a",
            "monthly",
        ):
            assert part in text, part
    assert "https://metrion.example.com/cost?requester=alice&since=30d" in body(mail, "plain")
    assert page.links == ["https://metrion.example.com/cost?requester=alice&since=30d"]


def test_headers_keep_robots_from_answering() -> None:
    mail = parsed(message())
    assert {name for name, _ in mail.items()} == HEADERS
    assert mail["From"] == "Metrion <metrion@example.com>"
    assert mail["To"] == "ops@example.com, me@example.com"
    assert mail["Subject"] == "[Metrion] Alert: cost of alice in November"
    assert mail["Date"] == "Sun, 29 Nov 2026 12:00:00 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Id"] == "Metrion alerts <team-a.alerts.example.com>"
    assert parsed(message(account="-"))["List-Id"] == "Metrion alerts <metrion.alerts.example.com>"


def test_messages_about_one_subject_form_a_thread_of_distinct_messages() -> None:
    warning, alert, other = (
        parsed(message(**fields)) for fields in ({"level": "warning"}, {"level": "alert"}, {"key": "other"})
    )
    assert warning["References"] == alert["References"] == alert["In-Reply-To"] != other["References"]
    assert len({mail["Message-ID"] for mail in (warning, alert, other)}) == 3
    assert parsed(message())["Message-ID"] == parsed(message())["Message-ID"], "a second attempt is the same message"
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.com>", warning["Message-ID"])


def test_a_hostile_message_adds_no_header_tag_or_link() -> None:
    mail = parsed(hostile())
    assert {name for name, _ in mail.items()} == HEADERS
    assert len(mail.items()) == len(HEADERS)
    page = Tags(body(mail, "html"))
    assert page.tags <= {"html", "head", "meta", "title", "body", "h1", "h2", "p", "table", "tr", "th", "td", "a"}
    assert page.links == []
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in page.text and "\x00" not in page.text


texts = st.text() | st.text(alphabet=st.sampled_from("\r\n\t :<>@\"'=?\\éBcc"))


@given(
    st.fixed_dictionaries(dict.fromkeys(("account", "rule", "subject", "title", "text", "value", "key", "link"), texts))
)
def test_no_text_changes_the_structure(fields: dict[str, Any]) -> None:
    mail = parsed(message(**fields))
    assert sorted(name for name, _ in mail.items()) == sorted(HEADERS)
    assert mail["To"] == "ops@example.com, me@example.com"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("metrion@example.com", "", "metrion@example.com"),
        ("Metrion <metrion@example.com>", "Metrion", "metrion@example.com"),
        (" Metrion Älerts  <a.b+c@x.example> ", "Metrion Älerts", "a.b+c@x.example"),
        ("<metrion@localhost>", "", "metrion@localhost"),
    ],
)
def test_a_sender_is_read(text: str, name: str, address: str) -> None:
    found = sender_address.parse(text, smtp_url="smtp://user:password@host")
    assert (found.display_name, found.addr_spec) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Metrion",
        "a@b@c",
        "A <a@b.example",
        "A <a@b.example> x",
        "A\r\nBcc: x@y <a@b.example>",
        "ä@b.example",
        "a@b, c@d",
    ],
)
def test_what_is_no_sender_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="METRION_SMTP_FROM"):
        sender_address.parse(text, smtp_url="smtp://user:password@host")


def test_without_a_sender_it_is_the_user_of_the_server() -> None:
    found = sender_address.parse("", smtp_url="smtps://metrion%40example.com:password@host")
    assert found.addr_spec == "metrion@example.com"
