"""Query parameters of Google's API platform that would make a request another one than the gateway has checked."""

from urllib.parse import unquote_plus

from services.gateway.request.errors import Refusal
from services.gateway.request.routing import Route
from shared.providers import GEMINI_API

# They replace the method, the Content-Type, further headers or the body.
_REPLACING = frozenset({"$httpmethod", "$ct", "$httpheaders", "$req"})
# They authenticate in the place of the one credential that the gateway sets.
_CREDENTIALS = frozenset({"access_token", "oauth_token", "bearer_token"})


def check(route: Route, query: str) -> None:
    """Refusal 400 for a parameter with which Google would read a request differently or bill somebody else."""
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
