"""Posts to URLs chosen by users, with checked addresses, limits and retries."""

import asyncio
import email.utils
import functools
import socket
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from services.logger.alerts.channels import addresses, attempts
from services.logger.alerts.channels.attempts import Begin, Sleep, Temporary, at_once
from services.logger.alerts.message import SendError
from shared.alerts.webhook_url import WebhookUrl

SECONDS = 10.0  # for one attempt, from the name lookup to the status
MOST_BYTES = 32 << 10  # that are read of a response: its head, and others (1xx) before it
_LONGEST_PAUSE = 30.0  # that a receiver may ask for

Clock = Callable[[], datetime]


class Poster:
    """Posts to webhooks; may be used concurrently."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        allow_private: bool,
        now: Clock,
        sleep: Sleep = asyncio.sleep,
        lookup: addresses.Lookup = addresses.lookup,
    ) -> None:
        self._context = context
        self._allow_private = allow_private
        self._now = now
        self._sleep = sleep
        self._lookup = lookup

    async def post(
        self, url: WebhookUrl, body: bytes, headers: Callable[[], Mapping[str, str]], *, begin: Begin = at_once
    ) -> None:
        """Post until it is accepted; SendError if it is refused or three attempts fail.

        `headers` is called for each attempt, which may sign it with its own time.
        """
        if url.scheme != "https" and not self._allow_private:
            raise SendError(f"{url.origin}: only https is allowed")
        try:
            await attempts.repeat(lambda: self._attempt(url, body, headers, begin), seconds=SECONDS, sleep=self._sleep)
        except SendError as error:
            raise SendError(f"{url.origin}: {error}") from None

    async def _attempt(
        self, url: WebhookUrl, body: bytes, headers: Callable[[], Mapping[str, str]], begin: Begin
    ) -> None:
        allowed = await self._addresses(url)

        def allowed_socket(info: Any) -> socket.socket:
            """Create a socket; the last check before a connection."""
            if info[4][0] not in allowed:
                raise OSError("the address was not checked")
            return socket.socket(*info[:3])

        connector = TCPConnector(
            ssl=self._context,
            resolver=_Checked(allowed),
            use_dns_cache=False,
            force_close=True,
            socket_factory=allowed_socket,
        )
        connector._factory = functools.partial(_BoundedResponse, asyncio.get_running_loop())  # type: ignore[assignment]
        async with ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
        ) as session:
            await begin()
            status, retry_after = await _status(session, url.text, body, headers())
        if 200 <= status < 300:
            return
        if status == 429 or status >= 500:
            raise Temporary(f"HTTP status {status}", pause=self._seconds(retry_after))
        if 300 <= status < 400:
            raise SendError(f"HTTP status {status}: redirects are not followed")
        raise SendError(f"HTTP status {status}")

    async def _addresses(self, url: WebhookUrl) -> list[str]:
        """All addresses of the host, none of them forbidden."""
        try:
            found = await self._lookup(url.host, url.port)
        except (OSError, UnicodeError):
            raise Temporary("the host has no address") from None
        if not found or not all(addresses.is_allowed(one, allow_private=self._allow_private) for one in found):
            raise SendError("the host is in a private or reserved network")
        return found

    def _seconds(self, retry_after: str) -> float:
        """The pause that a Retry-After header asks for, at most half a minute."""
        if retry_after.isascii() and retry_after.isdigit():
            return min(float(retry_after[:9]), _LONGEST_PAUSE)
        try:
            date = email.utils.parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):  # of an offset that no clock has
            return 0.0
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return min(max((date - self._now()).total_seconds(), 0.0), _LONGEST_PAUSE)


async def _status(session: ClientSession, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """The status and Retry-After of a response, whose body is not read."""
    try:
        async with session.post(URL(url, encoded=True), data=body, headers=headers, allow_redirects=False) as response:
            status = response.status
            retry_after = response.headers.get("Retry-After", "").strip()
            response.close()
            return status, retry_after
    except _TooLong:
        raise Temporary("the response's head is too long") from None
    except aiohttp.ClientConnectorCertificateError:
        raise SendError("the certificate is not trusted") from None
    except aiohttp.ClientSSLError:
        raise Temporary("no TLS connection") from None
    except aiohttp.ClientConnectorError:
        raise Temporary("no connection") from None
    except aiohttp.ClientResponseError:
        raise Temporary("the response is not valid HTTP") from None
    except (aiohttp.ClientConnectionError, OSError):
        raise Temporary("the connection broke") from None
    except (aiohttp.ClientError, ValueError):
        raise SendError("the URL cannot be used") from None


class _TooLong(aiohttp.ClientConnectionError):
    """The head of a response is longer than what is read."""


class _BoundedResponse(ResponseHandler):
    """Reads the beginning of a response.

    A receiver that sends 1xx responses without end would otherwise keep the event loop busy, and nothing else would
    run: no time limit either.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._left = MOST_BYTES

    def data_received(self, data: bytes) -> None:
        """Parse what is received, up to the bound."""
        part = data[: self._left]
        self._left -= len(part)
        if part or not data:
            super().data_received(part)
        if len(part) < len(data) and self.transport is not None:
            self.set_exception(_TooLong())  # responses parsed before are read first
            self.transport.abort()


class _Checked(AbstractResolver):
    """Resolves any name to addresses that were checked before."""

    def __init__(self, found: list[str]) -> None:
        self._found = found

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the checked addresses."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._found
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
