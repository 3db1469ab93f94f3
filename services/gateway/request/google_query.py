"""Query parameters that change how Google's API platform interprets a request."""

from urllib.parse import unquote_plus

from services.gateway.request.errors import Refusal
from services.gateway.request.routing import Route
from shared.providers import GEMINI_API

# They replace the method, the Content-Type, further headers or the body.
_REPLACING = frozenset({"$httpmethod", "$ct", "$httpheaders", "$req"})
# They authenticate in the place of the one credential that the gateway sets.
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
                f"{name}= would change the request on its way; send what it stands for itself.",
            )
        if name.lstrip("$") in _CREDENTIALS:
            raise Refusal(
                400, "malformed_request", f"{name}= is no way to authenticate; send the key as x-goog-api-key."
            )
