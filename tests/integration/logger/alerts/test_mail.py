"""E-mail through a real SMTP server: encryption, authentication, refusals and silence."""

import asyncio
import contextlib
import email
import email.policy
import logging
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from services.logger.alerts.channels import Sender
from services.logger.alerts.message import SendError
from services.logger.settings import Settings
from tests.support.alert_messages import NOW, VAULT, channel, message
from tests.support.certificates import Certificates, certificates_in

PASSWORD = "p@ss/very-secret"
ENCODED = "p%40ss%2Fvery-secret"
RECIPIENTS = ("ops@example.com", "me@example.com")
OK = "250 OK"


class Mailbox:
    """An SMTP server that answers each command with the next of its replies, then as usual."""

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, login: bool = False
    ) -> None:
        self.mail: list[str] = []
        self.rcpt: list[str] = []
        self.data: list[str] = []
        self.received: list[tuple[Session, Envelope]] = []
        self.connections = 0
        self.is_silent = False
        self._tls, self._starttls, self._login = tls, starttls, login
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", 0, ssl=self._tls)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    def _protocol(self) -> asyncio.Protocol:
        self.connections += 1
        if self.is_silent:
            return asyncio.Protocol()
        return SMTP(
            self,
            hostname="mx.example.com",
            tls_context=self._starttls,
            require_starttls=self._starttls is not None,
            auth_required=self._login and self._starttls is not None,  # aiosmtpd knows no TLS from the start
            auth_require_tls=self._starttls is not None,
            authenticator=self._authenticate,
            loop=asyncio.get_running_loop(),
        )

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data == LoginPassword(b"metrion", PASSWORD.encode()), handled=False)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self.mail.pop(0) if self.mail else OK
        if reply == OK:
            envelope.mail_from = address
        return reply

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self.rcpt.pop(0) if self.rcpt else OK
        if reply == OK:
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        reply = self.data.pop(0) if self.data else OK
        if reply == "hang":
            await asyncio.sleep(60)
        if reply == OK:
            self.received.append((session, envelope))
        return reply


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates_in(tmp_path_factory.mktemp("certificates"))


@contextlib.asynccontextmanager
async def mailbox(**options: Any) -> AsyncIterator[Mailbox]:
    started = Mailbox(**options)
    await started.start()
    try:
        yield started
    finally:
        started.stop()


class Bench:
    """A sender whose pauses pass at once."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.pauses: list[float] = []
        given: dict[str, Any] = {"smtp_from": "Metrion <metrion@example.com>"} | settings
        self.sender = Sender(
            Settings(nats_url="nats://x", clickhouse_url="http://x", smtp_url=url, **given),
            VAULT,
            now=lambda: NOW,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def send(self, *recipients: str, **fields: Any) -> None:
        await self.sender.send(channel("email", recipients=recipients or RECIPIENTS), message(**fields))

    async def failure(self, *recipients: str, **fields: Any) -> str:
        """The reason why a message was not sent."""
        with pytest.raises(SendError) as failed:
            await self.send(*recipients, **fields)
        assert "very-secret" not in str(failed.value)
        return str(failed.value)


def plain(box: Mailbox, **settings: Any) -> Bench:
    return Bench(f"smtp://127.0.0.1:{box.port}", smtp_starttls=False, **settings)


async def test_a_message_arrives_unencrypted_where_that_is_asked_for() -> None:
    async with mailbox() as box:
        await plain(box).send(text="A line.\n.\nQUIT\n..x")
        ((session, envelope),) = box.received
        assert (envelope.mail_from, tuple(envelope.rcpt_tos)) == ("metrion@example.com", RECIPIENTS)
        assert session.host_name == "example.com"
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert mail["Subject"] == "[Metrion] Alert: cost of alice in November"
        assert mail["To"] == "ops@example.com, me@example.com"
        text = mail.get_body(("plain",))
        assert text is not None and "A line. . QUIT ..x" in text.get_content()


@pytest.mark.parametrize("form", ["starttls", "tls"])
async def test_a_message_is_encrypted_and_the_user_logs_in(certificates: Certificates, form: str) -> None:
    async with mailbox(**{form: certificates.server()}, login=True) as box:
        scheme = "smtp" if form == "starttls" else "smtps"
        bench = Bench(f"{scheme}://metrion:{ENCODED}@127.0.0.1:{box.port}", smtp_ca_file=str(certificates.authority))
        await bench.send()
        ((session, _),) = box.received
        assert session.authenticated
        assert session.ssl is not None or form == "tls"


@pytest.mark.parametrize("form", ["starttls", "tls"])
async def test_a_certificate_of_an_unknown_authority_is_refused(certificates: Certificates, form: str) -> None:
    async with mailbox(**{form: certificates.server()}) as box:
        bench = Bench(f"{'smtp' if form == 'starttls' else 'smtps'}://metrion:{ENCODED}@127.0.0.1:{box.port}")
        assert await bench.failure() == "127.0.0.1: the certificate is not trusted"
        assert (box.received, bench.pauses) == ([], [])


@pytest.mark.parametrize("form", ["starttls", "tls"])
async def test_a_certificate_for_another_name_is_refused(certificates: Certificates, form: str) -> None:
    async with mailbox(**{form: certificates.server()}) as box:
        scheme = "smtp" if form == "starttls" else "smtps"
        bench = Bench(f"{scheme}://localhost:{box.port}", smtp_ca_file=str(certificates.authority))
        assert await bench.failure() == "localhost: the certificate is not trusted"


async def test_a_server_without_starttls_is_given_neither_password_nor_message() -> None:
    async with mailbox() as box:
        bench = Bench(f"smtp://metrion:{ENCODED}@127.0.0.1:{box.port}")
        assert await bench.failure() == "127.0.0.1: the server has no STARTTLS"
        assert (box.received, bench.pauses) == ([], [])


async def test_a_wrong_password_is_not_tried_again(certificates: Certificates) -> None:
    async with mailbox(starttls=certificates.server(), login=True) as box:
        url = f"smtp://metrion:very-secret-but-wrong@127.0.0.1:{box.port}"
        bench = Bench(url, smtp_ca_file=str(certificates.authority))
        assert "user or password refused (SMTP status 535)" in await bench.failure()
        assert (box.connections, bench.pauses) == (1, [])


@pytest.mark.parametrize(
    ("stage", "reply", "reason"),
    [
        ("mail", "550 no", "sender refused (SMTP status 550)"),
        ("data", "554 spam", "message refused (SMTP status 554)"),
    ],
)
async def test_a_refusal_for_good_is_not_tried_again(stage: str, reply: str, reason: str) -> None:
    async with mailbox() as box:
        getattr(box, stage).append(reply)
        bench = plain(box)
        assert await bench.failure() == f"127.0.0.1: {reason}"
        assert (box.received, bench.pauses) == ([], [])


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_a_refusal_for_now_is_tried_again(stage: str) -> None:
    async with mailbox() as box:
        getattr(box, stage).extend(["451 later"] * 2)
        bench = plain(box)
        await bench.send("ops@example.com")
        assert (len(box.received), bench.pauses) == (1, [1.0, 4.0])
        getattr(box, stage).extend(["451 later"] * 3)
        assert "SMTP status 451" in await bench.failure("ops@example.com", key="another")
        assert len(box.received) == 1


async def test_an_accepted_recipient_gets_the_message_once_and_a_refused_one_is_named() -> None:
    async with mailbox() as box:
        box.rcpt = [OK, "550 unknown", "450 later"]
        bench = plain(box)
        assert await bench.failure("a@x.example", "b@x.example", "c@x.example") == (
            "127.0.0.1: refused: b@x.example (SMTP status 550)"
        )
        assert [envelope.rcpt_tos for _, envelope in box.received] == [["a@x.example"], ["c@x.example"]]


async def test_a_message_that_is_sent_again_goes_only_to_those_who_have_not_got_it() -> None:
    """The engine sends it again for a day, as long as one recipient of the channel fails."""
    async with mailbox() as box:
        box.rcpt = [OK, "550 unknown", *["450 later"] * 3]
        bench = plain(box)
        reason = await bench.failure("a@x.example", "b@x.example", "c@x.example")
        assert reason == (
            "127.0.0.1: refused for now: c@x.example (SMTP status 450); refused: b@x.example (SMTP status 550)"
        )
        reason = await bench.failure("a@x.example", "b@x.example", "c@x.example")
        assert reason == "127.0.0.1: refused: b@x.example (SMTP status 550)"
        await bench.send("a@x.example", "c@x.example")
        assert [envelope.rcpt_tos for _, envelope in box.received] == [["a@x.example"], ["c@x.example"]]
        await bench.send("a@x.example", level="warning")
        assert [envelope.rcpt_tos for _, envelope in box.received][2:] == [["a@x.example"]], "another message"


async def test_all_recipients_refused() -> None:
    async with mailbox() as box:
        box.rcpt = ["550 unknown", "551 gone"]
        reason = await plain(box).failure("a@x.example", "b@x.example")
        assert reason == "127.0.0.1: refused: a@x.example (SMTP status 550), b@x.example (SMTP status 551)"
        assert box.received == []


@pytest.mark.parametrize("stage", ["greeting", "data"])
async def test_a_silent_server_is_given_up(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.logger.alerts.channels.mail.SECONDS", 0.5)
    async with mailbox() as box:
        box.is_silent = stage == "greeting"
        box.data = ["hang"] * 3
        bench = plain(box)
        assert "no response within" in await bench.failure()
        assert bench.pauses == [1.0, 4.0]


async def test_nothing_listening_is_tried_again() -> None:
    async with mailbox() as box:
        bench = plain(box)
    assert await bench.failure() == "127.0.0.1: no connection"
    assert len(bench.pauses) == 2


async def test_without_a_server_or_a_recipient_nothing_is_sent() -> None:
    assert "METRION_SMTP_URL" in await Bench("").failure()
    async with mailbox() as box:
        for recipients in ((), ("a@b.example\r\nRCPT TO:<x@y.example>",), ("not an address",)):
            with pytest.raises(SendError, match="no valid recipients"):
                await plain(box).sender.send(channel("email", recipients=recipients), message())
        assert box.connections == 0


async def test_no_password_is_logged(certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with mailbox(starttls=certificates.server(), login=True) as box:
        url = f"smtp://metrion:wrong-{ENCODED}@127.0.0.1:{box.port}"
        await Bench(url, smtp_ca_file=str(certificates.authority)).failure()
    own = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("mail."))
    assert "very-secret" not in own
