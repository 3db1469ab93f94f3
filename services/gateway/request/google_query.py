"""Query parameters that change how Google's API platform interprets a request."""

from urllib.parse import unquote_plus

from services.gateway.request.errors import Refusal
from services.gateway.request.routing import Route
from shared.providers import GEMINI_API

# Parameters that replace the method, the Content-Type, other headers or the body.
_REPLACING = frozenset({"$httpmethod", "$ct", "$httpheaders", "$req"})
# Parameters that replace the credential which the gateway sets.
_CREDENTIALS = frozenset({"access_token", "oauth_token", "bearer_token"})


def check(route: Route, query: str) -> None:
    """Refusal 400 for a parameter that changes the request or its credential."""
    if not query or route.provider.api != GEMINI_API:
        return
    for part in query.split("&"):
        name = unquote_plus(part.partition("=")[0]).strip().lower()
        if name in _REPLACING:
            raise Refusal(
                400,
                "malformed_request",
                f"{name}= is not supported, because it replaces a part of the request; send that part itself.",
            )
        if name.lstrip("$") in _CREDENTIALS:
            raise Refusal(
                400,
                "malformed_request",
                f"{name}= cannot be used to authenticate; send the key as x-goog-api-key.",
            )
