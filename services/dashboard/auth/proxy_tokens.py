"""Authentication by a token of the proxy, which reads the requests made with it.

Each is looked up in NATS, so that a revocation takes effect at once.
"""

import math
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from nats.js.errors import NotFoundError

from services.dashboard.app_context import User
from services.dashboard.auth.api_keys import RateLimit
from services.dashboard.auth.throttle import SignInThrottle
from services.dashboard.nats_connection import NATS_ERRORS, NatsConnection, Unavailable
from shared import accounts_kv, audit
from shared.accounts_admin import TOKEN_PATTERN, token_hash
from shared.accounts_model import TOKEN_KEY, Token

WRONG = "The Metrion token is unknown, expired or revoked."
ONLY_OWN = "A Metrion token only reads the requests made with it, GET /api/v1/requests/{id}. Send an API key."

_decode = msgspec.json.Decoder(Token).decode


def is_token(authorization: str) -> bool:
    """Whether an Authorization header has a token of the proxy."""
    return TOKEN_PATTERN.fullmatch(authorization.partition(" ")[2].strip()) is not None


class TokenAccess:
    """Who may read requests by the token that they were made with."""

    def __init__(self, nats: NatsConnection, *, per_minute: int) -> None:
        self._nats = nats
        self._limit = RateLimit(per_minute)
        self._throttle = SignInThrottle()

    async def user(self, authorization: str, *, address: str) -> User:
        """Return the user of an Authorization header; raises 401, 429, or Unavailable."""
        digest = token_hash(authorization.partition(" ")[2].strip())
        token = await self._find(digest)
        if token is None:
            who = f"Metrion token from {address}"
            wait = self._throttle.begin(user=who, address=address)
            if wait:
                raise web.HTTPTooManyRequests(
                    text="Too many wrong tokens from this address.", headers={"Retry-After": str(math.ceil(wait))}
                )
            self._throttle.failed(user=who, address=address)
            raise web.HTTPUnauthorized(text=WRONG, headers={"WWW-Authenticate": "Bearer"})
        if seconds := self._limit.take(digest):
            raise web.HTTPTooManyRequests(
                text="This token makes too many requests per minute.", headers={"Retry-After": str(seconds)}
            )
        return User(
            name=f"token {token.name}",
            account=token.account,
            via=audit.API,
            api_key=digest,
            token=token.name,
            token_since=token.created_at,
        )

    async def _find(self, digest: str) -> Token | None:
        """Look up a token that is valid now."""
        try:
            found = await self._nats.js.get_last_msg(accounts_kv.STREAM, f"{accounts_kv.SUBJECT}{TOKEN_KEY}{digest}")
        except NotFoundError:
            return None
        except NATS_ERRORS:
            raise Unavailable("Tokens cannot be checked at the moment (NATS unreachable).") from None
        if accounts_kv.removes(found.headers):
            return None
        token = _decode(found.data or b"")
        is_expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
        return None if token.revoked_at is not None or is_expired else token


TOKEN_ACCESS = web.AppKey("token_access", TokenAccess)
