"""From a request through the gateway to the people who are told: alerts over all processes and both kinds of channel."""

import email
import email.policy
import hashlib
import hmac
import json
import signal
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from aiosmtpd.controller import Controller

from shared import vault
from tests.e2e.sdk_calls import HELLO, Way
from tests.support import ports, servers
from tests.support.system import System, system

URL_SECRET = "url-marked-777b7e0c7a94d2f7"
SIGNING_KEY = "signing-marked-888b7e0c8a94d2f8"
SECRET_KEY = vault.new_key()


class Hooks(ThreadingHTTPServer):
    """A receiver of webhooks that keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def levels(self) -> list[tuple[str, str]]:
        """Rule and level of each message."""
        return [(body["rule"], body["level"]) for body in (json.loads(data) for _, data in self.received)]


class _Handler(BaseHTTPRequestHandler):
    server: Hooks

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Mailbox:
    """Keeps the mail of an SMTP server."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.received.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class Alerted(NamedTuple):
    """A system whose logger may send to this machine, and who is told."""

    system: System
    hooks: Hooks
    mailbox: Mailbox

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run `metrion` as an administrator who knows the secret key."""
        return self.system.done(*arguments, stdin=stdin, METRION_SECRET_KEY=SECRET_KEY)


@pytest.fixture(scope="module")
def alerted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerted]:
    hooks, mailbox = Hooks(), Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=ports.free_port())
    threading.Thread(target=hooks.serve_forever, daemon=True).start()
    controller.start()
    try:
        with system(tmp_path_factory.mktemp("metrion")) as found:
            found.logger.kill(signal.SIGTERM)
            found.logger.environment |= {
                "METRION_SECRET_KEY": SECRET_KEY,
                "METRION_SMTP_URL": f"smtp://127.0.0.1:{controller.port}",
                "METRION_SMTP_FROM": "Metrion <metrion@example.com>",
                "METRION_SMTP_STARTTLS": "false",
                "METRION_WEBHOOK_ALLOW_PRIVATE": "true",
                "METRION_LOG_LEVEL": "DEBUG",
            }
            found.logger.start()
            yield Alerted(found, hooks, mailbox)
    finally:
        controller.stop()
        hooks.shutdown()
        hooks.server_close()


@pytest.fixture
def channels(alerted: Alerted) -> list[str]:
    """Two channels, and the options that name them."""
    url = f"http://127.0.0.1:{alerted.hooks.server_port}/{URL_SECRET}"
    alerted.run("channel", "set", "hook", "--kind", "webhook", stdin=f"{url}\n{SIGNING_KEY}\n")
    alerted.run("channel", "set", "mail", "--kind", "email", "--to", "ops@example.com")
    return ["--channel", "hook", "--channel", "mail"]


def test_a_test_message_reaches_webhook_and_mailbox(alerted: Alerted, channels: list[str]) -> None:
    alerted.run("alert", "create", "trial", "--measure", "cost", "--above", "1000000", *channels)
    tested = alerted.run("alert", "test", "trial")
    assert "hook: reached" in tested and "mail: reached" in tested
    headers, body = next(one for one in alerted.hooks.received if json.loads(one[1])["rule"] == "trial")
    stamp = headers["x-metrion-timestamp"]
    expected = hmac.new(SIGNING_KEY.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["x-metrion-signature"] == f"v1={expected}"
    assert json.loads(body)["level"] == "test"
    assert [mail["To"] for mail in alerted.mailbox.received if "Test:" in mail["Subject"]] == ["ops@example.com"]


def test_crossing_a_threshold_sends_one_message_with_the_requesters(alerted: Alerted, channels: list[str]) -> None:
    way = Way(alerted.system, through=True)
    alerted.run("alert", "create", "busy", "--measure", "requests", "--above", "2", "--by", "requester", *channels)
    for _ in range(3):
        way.openai().chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    servers.wait_for(lambda: ("busy", "alert") in alerted.hooks.levels(), "an alert")
    (body,) = (json.loads(data) for _, data in alerted.hooks.received if json.loads(data)["rule"] == "busy")
    assert (body["subject"], body["account"]) == (way.user, "default")
    servers.wait_for(lambda: any(way.user in str(mail) for mail in alerted.mailbox.received), "an e-mail")
    way.close()


def test_no_secret_of_a_channel_is_logged_or_stored_in_plain_text(alerted: Alerted, channels: list[str]) -> None:
    url = f"http://127.0.0.1:{ports.free_port()}/{URL_SECRET}"
    alerted.run("channel", "set", "gone", "--kind", "slack", stdin=url)
    alerted.run("alert", "create", "lost", "--measure", "cost", "--above", "1000000", "--channel", "gone")
    with pytest.raises(AssertionError, match="no connection"):
        alerted.run("alert", "test", "lost")
    shown = "".join(
        alerted.run(*command)
        for command in (("channel", "list", "--json"), ("alert", "history", "--json"), ("audit", "--json"))
    )
    shown += alerted.system.logger.log.read_text() + alerted.system.logger.metrics()
    alerted.system.nats.kill()  # it would remove files meanwhile
    for path in (alerted.system.folder / "nats").rglob("*"):
        shown += path.read_bytes().decode("latin-1") if path.is_file() else ""
    alerted.system.nats.start()
    assert "channel gone" in alerted.system.logger.log.read_text()
    for secret in (URL_SECRET, SIGNING_KEY, SECRET_KEY):
        assert secret not in shown
