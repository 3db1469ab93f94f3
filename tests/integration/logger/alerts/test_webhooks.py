"""Webhooks over real connections: what arrives, what is tried again, and where nothing is ever sent."""

import asyncio
import hashlib
import hmac
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from services.logger.alerts.channels import Sender, addresses
from services.logger.alerts.message import SendError
from services.logger.settings import Settings
from shared.process import cancel_and_wait
from shared.vault import Vault, new_key
from tests.support.alert_messages import NOW, ROUTING_KEY, SIGNING_KEY, URL_SECRET, VAULT, channel, message
from tests.support.certificates import Certificates, certificates_in

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = "hooks.example.com"


class Request(NamedTuple):
    """What a receiver was sent."""

    line: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Receiver:
    """An HTTP server that answers each request with the next of its replies, then with 200."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.replies: list[bytes | Callable[[asyncio.StreamWriter], Any]] = []
        self.requests: list[Request] = []
        self.connections = 0
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks = set[asyncio.Task[None]]()

    async def start(self) -> "Receiver":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return self

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def url(self, host: str = HOST) -> str:
        scheme = "https" if self._context else "http"
        return f"{scheme}://{host}:{self.port}/services/{URL_SECRET}?sig={URL_SECRET}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*map(cancel_and_wait, self._tasks))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append(Request(head[0], headers, body))
            reply = self.replies.pop(0) if self.replies else OK
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def status(number: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {number} X", "Content-Length: 0", *headers, "", ""]).encode()


async def local(host: str, port: int) -> list[str]:
    """A resolver for which every name is this machine."""
    return ["127.0.0.1"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates_in(tmp_path_factory.mktemp("certificates"), HOST, "localhost")


@pytest.fixture
async def receiver(certificates: Certificates) -> AsyncIterator[Receiver]:
    started = await Receiver(certificates.server()).start()
    yield started
    await started.stop()


class Bench:
    """A sender whose pauses pass at once."""

    def __init__(
        self, certificates: Certificates, *, lookup: Any = local, vault: Vault = VAULT, **settings: Any
    ) -> None:
        self.pauses: list[float] = []
        given: dict[str, Any] = {
            "webhook_allow_private": True,
            "webhook_ca_file": str(certificates.authority),
        } | settings
        self.sender = Sender(
            Settings(nats_url="nats://x", clickhouse_url="http://x", **given),
            vault,
            now=lambda: NOW,
            sleep=self._sleep,
            lookup=lookup,
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def failure(self, kind: str, url: str, **fields: Any) -> str:
        """The reason why a message was not sent."""
        with pytest.raises(SendError) as failed:
            await self.sender.send(channel(kind, url), message(**fields))
        reason = str(failed.value)
        assert URL_SECRET not in reason and "/services" not in reason
        return reason


@pytest.fixture
def bench(certificates: Certificates) -> Bench:
    return Bench(certificates)


async def test_a_webhook_arrives_signed(bench: Bench, receiver: Receiver) -> None:
    await bench.sender.send(channel("webhook", receiver.url()), message())
    (request,) = receiver.requests
    assert request.line == f"POST /services/{URL_SECRET}?sig={URL_SECRET} HTTP/1.1"
    assert request.headers["host"] == f"{HOST}:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("metrion/")
    stamp = request.headers["x-metrion-timestamp"]
    assert stamp == str(int(NOW.timestamp()))
    expected = hmac.new(SIGNING_KEY.encode(), f"{stamp}.".encode() + request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-metrion-signature"] == f"v1={expected}"
    body = request.json()
    assert (body["level"], body["subject"], body["value"], body["at"]) == (
        "alert",
        "alice",
        "$101.20",
        "2026-11-29T12:00:00+00:00",
    )
    assert body["contributors"][0] == {"name": "gpt-5", "amount": "$80.00"}


@pytest.mark.parametrize("kind", ["slack", "teams", "discord", "pagerduty"])
async def test_a_ready_made_body_arrives_unsigned(bench: Bench, receiver: Receiver, kind: str) -> None:
    await bench.sender.send(channel(kind, receiver.url()), message())
    (request,) = receiver.requests
    key = {"slack": "blocks", "teams": "attachments", "discord": "embeds", "pagerduty": "routing_key"}[kind]
    assert request.json()[key]
    assert "x-metrion-signature" not in request.headers
    assert (ROUTING_KEY in request.body.decode()) == (kind == "pagerduty")


async def test_a_failing_receiver_is_tried_three_times(bench: Bench, receiver: Receiver) -> None:
    receiver.replies = [status(503), status(500)]
    await bench.sender.send(channel("webhook", receiver.url()), message())
    assert (len(receiver.requests), bench.pauses) == (3, [1.0, 4.0])
    assert len({request.body for request in receiver.requests}) == 1, "the same id, so that a receiver can drop it"
    receiver.replies = [status(503), status(502), status(503)]
    assert await bench.failure("webhook", receiver.url()) == f"https://{HOST}:{receiver.port}: HTTP status 503"
    assert len(receiver.requests) == 6


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("Retry-After: 7", 7.0),
        ("Retry-After: 3600", 30.0),
        ("Retry-After: 99999999999999999999", 30.0),
        (f"Retry-After: {NOW + timedelta(seconds=9):%a, %d %b %Y %H:%M:%S GMT}", 9.0),
        (f"Retry-After: {NOW - timedelta(seconds=9):%a, %d %b %Y %H:%M:%S GMT}", 1.0),
        ("Retry-After: soon", 1.0),
        ("Retry-After: 01 Jan 2026 00:00:00 +99999999999999999999", 1.0),
        ("Retry-After: -5", 1.0),
        ("X: y", 1.0),
    ],
)
async def test_a_busy_receiver_says_when_to_try_again(
    bench: Bench, receiver: Receiver, header: str, pause: float
) -> None:
    receiver.replies = [status(429, header)]
    await bench.sender.send(channel("slack", receiver.url()), message())
    assert (len(receiver.requests), bench.pauses) == (2, [pause])


@pytest.mark.parametrize("number", [400, 401, 403, 404, 410, 422])
async def test_a_refusal_is_not_tried_again(bench: Bench, receiver: Receiver, number: int) -> None:
    receiver.replies = [status(number)]
    assert f"HTTP status {number}" in await bench.failure("slack", receiver.url())
    assert (len(receiver.requests), bench.pauses) == (1, [])


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    bench: Bench, receiver: Receiver, certificates: Certificates, number: int
) -> None:
    other = await Receiver(None).start()
    try:
        receiver.replies = [status(number, f"Location: http://127.0.0.1:{other.port}/")]
        assert "redirects are not followed" in await bench.failure("webhook", receiver.url())
        assert (len(receiver.requests), other.connections) == (1, 0)
    finally:
        await other.stop()


async def test_a_name_of_this_machine_is_refused(certificates: Certificates, receiver: Receiver) -> None:
    bench = Bench(certificates, lookup=addresses.lookup, webhook_allow_private=False)
    numbers = (
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    )
    for host in numbers:
        assert "private or reserved network" in await bench.failure("webhook", receiver.url(host)), host
    assert (receiver.connections, bench.pauses) == (0, [])
    allowed = Bench(certificates, lookup=addresses.lookup)
    await allowed.sender.send(channel("webhook", receiver.url("localhost")), message())
    assert receiver.connections == 1


@pytest.mark.parametrize("found", [["93.184.216.34", "127.0.0.1"], ["169.254.169.254"], ["64:ff9b::7f00:1"], []])
async def test_a_name_with_one_forbidden_address_is_refused(
    certificates: Certificates, receiver: Receiver, found: list[str]
) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return found

    bench = Bench(certificates, lookup=lookup, webhook_allow_private=False)
    assert "private or reserved network" in await bench.failure("webhook", receiver.url())
    assert receiver.connections == 0


async def test_a_name_is_looked_up_once_for_check_and_connection(
    certificates: Certificates, receiver: Receiver
) -> None:
    """A second answer of the resolver, with another address, would never be checked."""
    asked = []

    async def lookup(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    await Bench(certificates, lookup=lookup).sender.send(
        channel("webhook", receiver.url("HOOKS.example.com")), message()
    )
    assert asked == [(HOST, receiver.port)]


async def test_an_unknown_name_is_tried_again(certificates: Certificates, receiver: Receiver) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise socket.gaierror("unknown")

    bench = Bench(certificates, lookup=lookup)
    assert await bench.failure("webhook", receiver.url()) == f"https://{HOST}:{receiver.port}: the host has no address"
    assert len(bench.pauses) == 2


@pytest.mark.parametrize("host", ["[11]", "[::ffff:1.2.3.4.5]", "a" * 70, "a..b"])
async def test_a_host_that_the_client_refuses_is_not_repeated(bench: Bench, host: str) -> None:
    reason = await bench.failure("webhook", f"https://{host}/services/{URL_SECRET}")
    assert "cannot be used" in reason or "no connection" in reason


async def test_plain_http_needs_the_setting(certificates: Certificates) -> None:
    async def public(host: str, port: int) -> list[str]:
        return ["1.1.1.1"]

    plain = await Receiver(None).start()
    try:
        strict = Bench(certificates, lookup=public, webhook_allow_private=False)
        assert "only https" in await strict.failure("webhook", plain.url())
        await Bench(certificates).sender.send(channel("webhook", plain.url()), message())
        assert len(plain.requests) == 1
    finally:
        await plain.stop()


async def test_a_certificate_of_an_unknown_authority_is_refused(certificates: Certificates, receiver: Receiver) -> None:
    bench = Bench(certificates, webhook_ca_file="")
    assert "certificate is not trusted" in await bench.failure("webhook", receiver.url())
    assert (receiver.requests, bench.pauses) == ([], [])


async def test_a_certificate_for_another_name_is_refused(bench: Bench, receiver: Receiver) -> None:
    assert "certificate is not trusted" in await bench.failure("webhook", receiver.url("other.example.com"))
    assert receiver.requests == []


async def test_nothing_listening_is_tried_again(bench: Bench, receiver: Receiver) -> None:
    url = receiver.url()
    await receiver.stop()
    assert "no connection" in await bench.failure("webhook", url)
    assert len(bench.pauses) == 2


async def test_a_receiver_that_never_answers_is_given_up(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("services.logger.alerts.channels.post.SECONDS", 0.3)
    receiver.replies = [silent, silent, silent]
    assert "no response within" in await bench.failure("webhook", receiver.url())
    assert bench.pauses == [1.0, 4.0]


@pytest.mark.parametrize(
    "start, part",
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 4000 + b"\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\nX-More: " + b"x" * 4000 + b"\r\n\r\n"),
    ],
)
async def test_a_receiver_whose_headers_never_end_is_given_up(
    bench: Bench, receiver: Receiver, start: bytes, part: bytes
) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            sent += len(part)

    receiver.replies = [endless, endless, endless]
    assert "the response's head is too long" in await bench.failure("webhook", receiver.url())
    assert receiver.connections == 3 and sent < 32 << 20


async def test_a_response_without_end_is_not_read(bench: Bench, receiver: Receiver) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()
            sent += 0x10000

    receiver.replies = [endless]
    await bench.sender.send(channel("webhook", receiver.url()), message())
    assert sent < 32 << 20


async def test_what_is_no_http_is_tried_again(bench: Bench, receiver: Receiver) -> None:
    receiver.replies = [b"SSH-2.0-OpenSSH\r\n\r\n", b""]
    await bench.sender.send(channel("webhook", receiver.url()), message())
    assert len(receiver.requests) == 3


async def test_a_secret_key_in_a_file_may_be_replaced_while_it_runs(
    certificates: Certificates, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(new_key())
    bench = Bench(certificates, vault=Vault([]), secret_key_file=str(file))
    assert "cannot be decrypted" in await bench.failure("webhook", receiver.url())
    fresh = new_key()
    file.write_text(fresh)
    await bench.sender.send(channel("webhook", receiver.url(), vault=Vault.parse(fresh)), message())
    assert len(receiver.requests) == 1


async def test_secrets_of_one_channel_cannot_be_used_in_another(bench: Bench, receiver: Receiver) -> None:
    ours, theirs = channel("webhook", receiver.url()), channel("webhook", receiver.url(), account="team-b")
    for moved in (
        msgspec.structs.replace(theirs, account="team-a"),
        msgspec.structs.replace(ours, name="other"),
        msgspec.structs.replace(ours, url=ours.secret),
    ):
        with pytest.raises(SendError, match="cannot be decrypted"):
            await bench.sender.send(moved, message())
    assert receiver.connections == 0


async def test_no_secret_is_logged_or_shown(bench: Bench, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.replies = [status(503), b"HTTP/1.1 " + URL_SECRET.encode(), status(404, f"X-Echo: {URL_SECRET}")]
    hook = channel("webhook", receiver.url())
    with pytest.raises(SendError) as failed:
        await bench.sender.send(hook, message())
    shown = f"{hook!r} {failed.value!r} {failed.value.__cause__} {caplog.text}"
    for secret in (URL_SECRET, SIGNING_KEY):
        assert secret not in shown
