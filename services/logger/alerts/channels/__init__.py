"""Sends messages to channels: e-mail and webhooks."""

import asyncio
import hashlib
import hmac
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from services.logger import settings as logger_settings
from services.logger.alerts.channels import addresses, bodies
from services.logger.alerts.channels.attempts import Begin, Sleep, at_once
from services.logger.alerts.channels.plain_text import cleaned
from services.logger.alerts.channels.post import Clock, Poster
from services.logger.alerts.message import Message, SendError
from services.logger.settings import Settings
from shared import tls
from shared.alerts import channel_secrets, webhook_url
from shared.alerts.channel_secrets import Purpose
from shared.alerts.model import Channel
from shared.alerts.webhook_url import WebhookUrl
from shared.vault import Vault, VaultError
from shared.version import VERSION

if TYPE_CHECKING:
    from services.logger.alerts.channels.mail import Mailer

__all__ = ["Message", "SendError", "Sender"]

log = logging.getLogger(__name__)

_BODIES = {"webhook": bodies.webhook, "slack": bodies.slack, "teams": bodies.teams, "discord": bodies.discord}
_HEADERS = {"Content-Type": "application/json", "User-Agent": f"Metrion/{VERSION}"}


def _now() -> datetime:
    return datetime.now(UTC)


class Sender:
    """Sends messages to channels, with retries; bounded by two minutes."""

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        *,
        now: Clock = _now,
        sleep: Sleep = asyncio.sleep,
        lookup: addresses.Lookup = addresses.lookup,
    ) -> None:
        self._settings = settings
        self._vault = vault
        self._now = now
        self._sleep = sleep
        self._mailer: Mailer | None = None
        context = tls.context(settings.webhook_ca_file)
        allow_private = settings.webhook_allow_private
        self._poster = Poster(context, allow_private=allow_private, now=now, sleep=sleep, lookup=lookup)

    async def send(self, channel: Channel, message: Message, *, begin: Begin = at_once) -> None:
        """Send a message; SendError, whose reason holds no secret, if it did not arrive.

        `begin`: called just before it leaves.
        """
        try:
            await self._send(channel, cleaned(message), begin)
        except SendError:
            raise
        except Exception as error:  # its text might contain a URL
            log.error("sending failed unexpectedly\n%s", "".join(traceback.format_tb(error.__traceback__)))
            raise SendError(f"internal error: {type(error).__name__}") from None

    async def _send(self, channel: Channel, message: Message, begin: Begin) -> None:
        match channel.kind:
            case "email":
                await self._mail(channel, message, begin)
            case "pagerduty":
                routing_key = self._opened(channel, "secret")
                await self._post(self._url(channel), bodies.pagerduty(message, routing_key), begin)
            case "webhook":
                key = self._opened(channel, "secret")
                await self._post(self._url(channel), bodies.webhook(message), begin, key=key)
            case _:
                await self._post(self._url(channel), _BODIES[channel.kind](message), begin)

    async def _mail(self, channel: Channel, message: Message, begin: Begin) -> None:
        if not self._settings.smtp_url:
            raise SendError("there is no SMTP server; set METRION_SMTP_URL")
        if self._mailer is None:
            from services.logger.alerts.channels.mail import Mailer  # most loggers send no e-mail

            self._mailer = Mailer(self._settings, sleep=self._sleep)
        await self._mailer.send(channel, message, begin=begin)

    async def _post(self, url: WebhookUrl, body: dict[str, Any], begin: Begin, *, key: str = "") -> None:
        data = msgspec.json.encode(body)

        def headers() -> Mapping[str, str]:
            if not key:
                return _HEADERS
            timestamp = str(int(self._now().timestamp()))
            return _HEADERS | {
                "x-metrion-timestamp": timestamp,
                "x-metrion-signature": f"v1={signature(key, timestamp, data)}",
            }

        await self._poster.post(url, data, headers, begin=begin)

    def _url(self, channel: Channel) -> WebhookUrl:
        try:
            return webhook_url.parse(self._opened(channel, "url"))
        except ValueError as error:
            raise SendError(str(error)) from None

    def _opened(self, channel: Channel, purpose: Purpose) -> str:
        """A secret of a channel, decrypted. A file of secret keys is read each time, because it may have changed."""
        sealed = channel.url if purpose == "url" else channel.secret
        if sealed is None:
            raise SendError(f"the channel has no {'URL' if purpose == 'url' else 'key'}; set it again")
        try:
            is_file = bool(self._settings.secret_key_file)
            keys = logger_settings.vault(self._settings) if is_file else self._vault
            return channel_secrets.open_sealed(
                keys, sealed, account=channel.account, channel=channel.name, purpose=purpose
            )
        except VaultError:
            raise SendError("its URL or key cannot be decrypted; check METRION_SECRET_KEY or set it again") from None


def signature(key: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of timestamp, a dot and the body, in hex."""
    return hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
