"""Sends messages by e-mail, through the operator's SMTP server."""

import asyncio
import contextlib
import ssl
from collections import OrderedDict
from collections.abc import Sequence

from aiosmtplib import SMTP, errors

from services.logger.alerts import sender_address
from services.logger.alerts.channels import attempts, bodies, mail_message
from services.logger.alerts.channels.attempts import Begin, Sleep, Temporary, at_once
from services.logger.alerts.message import Message, SendError
from services.logger.settings import Settings
from shared import tls, urls
from shared.alerts import email_address
from shared.alerts.model import Channel

SECONDS = 30.0  # for one attempt, from the connection to the acceptance of the message
_QUIT_SECONDS = 2.0
_ACCEPTED = 250
_REMEMBERED = 10_000  # messages
_REFUSALS = {
    errors.SMTPAuthenticationError: "user or password refused",
    errors.SMTPSenderRefused: "sender refused",
    errors.SMTPDataError: "message refused",
}


class Mailer:
    """Sends e-mail; may be used concurrently."""

    def __init__(self, settings: Settings, *, sleep: Sleep) -> None:
        self._server = urls.parse(settings.smtp_url, urls.SMTP)[0]
        self._is_tls = self._server.scheme == "smtps"
        self._is_starttls = settings.smtp_starttls and not self._is_tls
        self._port = self._server.port or (465 if self._is_tls else 587 if self._is_starttls else 25)
        self._sender = sender_address.parse(settings.smtp_from, smtp_url=settings.smtp_url)
        self._context: ssl.SSLContext = tls.context(settings.smtp_ca_file)
        self._sleep = sleep
        self._done: OrderedDict[str, dict[str, int]] = OrderedDict()

    async def send(self, channel: Channel, message: Message, *, begin: Begin = at_once) -> None:
        """Send to all recipients; SendError if it was not accepted for each of them.

        Whoever has got the message, or was refused for good, is left out when it is sent again.
        """
        if not channel.recipients or not all(map(email_address.is_valid, channel.recipients)):
            raise SendError("the channel has no valid recipients; set it again")
        data = mail_message.build(message, channel=channel, sender=self._sender)
        done = self._recall(f"{channel.account}.{channel.name}.{bodies.message_id(message)}")
        remaining = [one for one in channel.recipients if one not in done]

        async def attempt() -> None:
            nonlocal remaining
            if not remaining:
                return
            client = self._client()
            try:
                codes = await self._deliver(client, remaining, data, begin)
                done.update((one, codes.get(one, _ACCEPTED)) for one in remaining if codes.get(one, 500) >= 500)
                remaining = [one for one in remaining if one not in done]
                with contextlib.suppress(Exception):  # the server has already accepted the message
                    await client.quit(timeout=_QUIT_SECONDS)
            finally:
                client.close()
            if remaining:
                raise Temporary(f"refused for now: {_listed({one: codes[one] for one in remaining})}")

        failures = []
        try:
            await attempts.repeat(attempt, seconds=SECONDS, sleep=self._sleep)
        except SendError as error:
            failures.append(str(error))
        if refused := {one: code for one, code in done.items() if code != _ACCEPTED and one in channel.recipients}:
            failures.append(f"refused: {_listed(refused)}")
        if failures:
            raise SendError(f"{self._server.host}: {'; '.join(failures)}")

    def _recall(self, key: str) -> dict[str, int]:
        """What became of a message: the last status of each recipient who is done."""
        done = self._done.setdefault(key, {})
        self._done.move_to_end(key)
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        return done

    def _client(self) -> SMTP:
        return SMTP(
            hostname=self._server.host,
            port=self._port,
            username=self._server.user,
            password=self._server.password,
            local_hostname=self._sender.domain,
            use_tls=self._is_tls,
            start_tls=self._is_starttls,
            tls_context=self._context,
            timeout=None,  # each attempt has one of its own
        )

    async def _deliver(self, client: SMTP, recipients: Sequence[str], data: bytes, begin: Begin) -> dict[str, int]:
        """Deliver to at least one recipient; returns the status for each who was refused."""
        try:
            await client.connect()
            await begin()
            refused, _ = await client.sendmail(self._sender.addr_spec, recipients, data)
            return {recipient: response.code for recipient, response in refused.items()}
        except errors.SMTPRecipientsRefused as error:
            return {one.recipient: one.code for one in error.recipients}
        except errors.SMTPResponseException as error:
            what = next((text for kind, text in _REFUSALS.items() if isinstance(error, kind)), "request refused")
            reason = f"{what} (SMTP status {error.code})"
            raise (SendError(reason) if 500 <= error.code < 600 else Temporary(reason)) from None
        except ssl.SSLCertVerificationError:
            raise SendError("the certificate is not trusted") from None
        except errors.SMTPConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise SendError("the certificate is not trusted") from None
            raise Temporary("no connection") from None
        except (errors.SMTPServerDisconnected, OSError, asyncio.IncompleteReadError):
            raise Temporary("the connection broke") from None
        except (errors.SMTPException, ValueError) as error:
            is_plain = self._is_starttls and "STARTTLS" in str(error)
            raise SendError("the server has no STARTTLS" if is_plain else "the server cannot be used") from None


def _listed(statuses: dict[str, int]) -> str:
    return ", ".join(f"{recipient} (SMTP status {code})" for recipient, code in statuses.items())
