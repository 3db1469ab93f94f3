"""Authentication: who a request is billed to, and the provider key it uses."""

import re
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from services.gateway.request.errors import Refusal
from services.gateway.request.headers import ParsedHeaders
from shared import events
from shared.accounts_admin import TOKEN_PREFIX
from shared.accounts_model import Account, Token
from shared.providers import Provider

_KEY_LENGTH = 16  # an unused "key" that is shorter may be an ordinary word of a response: it is not redacted
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # cannot be sent in a header
_MISPLACED = (
    "A Metrion token was found in {}, where the provider would see it; "
    "send it as the SDK's API key or as x-metrion-token."
)
_OAUTH_PREFIX = "sk-ant-oat"  # Anthropic's OAuth tokens are accepted as a bearer only


class TokenSource(Protocol):
    """Source of tokens: services.gateway.accounts_mirror.Mirror."""

    def find(self, token: str) -> Token | None:
        """Return the record of a plain token; None if unknown."""
        ...

    def account(self, name: str) -> Account | None:
        """Return the settings of an account; None if unknown."""
        ...


class KeySource(Protocol):
    """Source of stored provider keys: services.gateway.request.provider_keys.Keys."""

    def find(self, account: str, provider: str) -> str:
        """Return the key to use; "" if there is none."""
        ...


class Caller(msgspec.Struct, frozen=True):
    """An authenticated caller. `secrets` must not reach an event or a log."""

    account: str
    token: Token | None  # None: open pass-through
    provider_key: str  # "" if none is known: refused as soon as the refusal can be recorded
    secrets: tuple[str, ...]
    presented: str = ""  # what the SDK sent as its API key: a Metrion token, or the provider's own key


def authenticate(
    parsed: ParsedHeaders, *, provider: Provider, directory: TokenSource, keys: KeySource, open_passthrough: bool
) -> Caller:
    """Authenticate a request, in stored-key or pass-through mode.

    A Metrion token in place of the API key means stored-key mode: other keys beside it are stale, and neither used nor
    forwarded. With x-metrion-token, the provider key beside it is used (pass-through).
    Refusal 401 if nobody can be billed, 400 for a misplaced token and for two different provider keys.
    """
    presented = parsed.credentials
    if parsed.misplaced:
        raise _misplaced_token(parsed)
    tokens: set[str] = set()
    own_keys: list[str] = []
    stale: list[str] = []
    for value in presented:
        if value.startswith(TOKEN_PREFIX):
            tokens.add(value)
        else:
            own_keys.append(value)
    if tokens and not parsed.tokens:
        stale = [key for key in own_keys if len(key) >= _KEY_LENGTH]
        own_keys.clear()
    tokens.update(parsed.tokens)
    if len(tokens) > 1:
        raise _conflicting_tokens()
    own = own_keys[0] if own_keys else ""
    secrets = (*tokens, *own_keys, *stale)
    if not tokens and not (own and open_passthrough):
        raise Refusal(401, "missing_token", _how_to_authenticate(own))
    if len(own_keys) > 1:
        raise Refusal(400, "keys_disagree", "Two different provider keys were sent; send one.")
    if _CONTROL.search(own):
        raise Refusal(400, "invalid_key", "The provider key contains control characters; check how it was encoded.")
    if not tokens:
        return Caller("default", None, own, secrets, own)
    metrion_token = tokens.pop()
    token = _valid(metrion_token, directory)
    stored = "" if own or not provider.key_header else keys.find(token.account, provider.name)
    return Caller(token.account, token, own or stored, (*secrets, stored) if stored else secrets, own or metrion_token)


def authenticate_token(parsed: ParsedHeaders, *, directory: TokenSource) -> Token:
    """Authenticate a request that goes to no provider, by its Metrion token alone.

    Refusal 401 or 400, as of `authenticate`; provider keys beside the token are ignored.
    """
    if parsed.misplaced:
        raise _misplaced_token(parsed)
    tokens = {value for value in parsed.credentials if value.startswith(TOKEN_PREFIX)}
    tokens.update(parsed.tokens)
    if len(tokens) > 1:
        raise _conflicting_tokens()
    if not tokens:
        raise Refusal(401, "missing_token", _how_to_authenticate(""))
    return _valid(tokens.pop(), directory)


def _valid(metrion_token: str, directory: TokenSource) -> Token:
    """Find a token that is neither revoked nor expired."""
    token = directory.find(metrion_token)
    if token is None or token.revoked_at is not None:
        raise Refusal(
            401, "invalid_token", "This Metrion token is unknown or revoked; create one: metrion token create"
        )
    if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
        raise Refusal(401, "expired_token", "This Metrion token has expired; create one: metrion token create")
    return token


def _misplaced_token(parsed: ParsedHeaders) -> Refusal:
    return Refusal(400, "misplaced_token", _MISPLACED.format(parsed.misplaced[:80]))


def _conflicting_tokens() -> Refusal:
    return Refusal(401, "tokens_disagree", "Two different Metrion tokens were sent; send one.")


def billing(provider: Provider, key: str) -> str:
    """Return how the provider bills requests with a key: SUBSCRIPTION, or "".

    Claude's sign-in is an OAuth token, ChatGPT's a JSON web token; OpenAI's API keys begin with sk-.
    """
    if key.startswith(_OAUTH_PREFIX):
        return events.SUBSCRIPTION
    if not key.startswith("eyJ") or key.count(".") != 2:
        return ""
    is_openai = provider.name == "openai" or provider.upstream.startswith("https://chatgpt.com/")
    return events.SUBSCRIPTION if is_openai else ""


def credential_header(name: str, key: str) -> tuple[str, str]:
    """(Name, value) of the header with the provider key. `name`: Route.key_header."""
    if name == "authorization" or key.startswith(_OAUTH_PREFIX):
        return "Authorization", f"Bearer {key}"
    return name, key


def _how_to_authenticate(own: str) -> str:
    if own:
        return (
            "A provider key was sent without the x-metrion-token header; add it, or use the Metrion token as the key."
        )
    return "No Metrion token was sent; use one (sk-metrion-…) as the SDK's API key."
