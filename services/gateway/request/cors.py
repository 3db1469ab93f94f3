"""Checks before authentication: CORS, methods, transfer codings, known endpoints."""

from aiohttp import hdrs, web
from multidict import CIMultiDict

from services.gateway.request.errors import Refusal
from services.gateway.request.routing import ROOT, Route
from shared.providers import BUILT_IN

_CONNECTIVITY_CHECKS = frozenset({f"{ROOT}api/hello", f"{ROOT}anthropic/api/hello"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def preflight(request: web.BaseRequest, origins: frozenset[str]) -> web.Response | None:
    """Response to a CORS preflight from a configured origin, or None."""
    if hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
        return None
    origin = request.headers.get(hdrs.ORIGIN, "")
    if origin not in origins:
        raise Refusal(
            403, "origin_not_allowed", "This origin may not call the gateway; add it to METRION_CORS_ORIGINS."
        )
    headers: CIMultiDict[str] = CIMultiDict()
    allow_origin(headers, origin)
    headers["Access-Control-Allow-Methods"] = ", ".join(sorted(METHODS))
    headers["Access-Control-Allow-Headers"] = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "*")
    headers["Access-Control-Max-Age"] = "600"
    return web.Response(status=204, headers=headers)


def is_connectivity_check(request: web.BaseRequest) -> bool:
    """Whether this is Claude Code's connectivity check at its start."""
    return request.method in ("HEAD", "GET") and request.raw_path in _CONNECTIVITY_CHECKS


def allow_origin(headers: CIMultiDict[str], origin: str) -> None:
    """Let pages of `origin` read a response, whatever the provider allows."""
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = "*"
    headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"


def check(request: web.BaseRequest, route: Route | None) -> Route:
    """Return the route; Refusal for a request that no provider should get."""
    if "websocket" in request.headers.get(hdrs.UPGRADE, "").lower():
        raise Refusal(426, "websocket", "A WebSocket begins with a GET request.")
    if request.method not in METHODS:
        raise Refusal(405, "method_not_allowed", "This method is not supported.", allow=", ".join(sorted(METHODS)))
    codings = request.headers.get(hdrs.TRANSFER_ENCODING)
    if codings is not None and codings.strip().lower() != "chunked":
        # Transfer codings are hop-by-hop: forwarded without gzip, the body would be garbage to the provider.
        raise Refusal(
            501,
            "unsupported_transfer_coding",
            "The only supported transfer coding is chunked; to compress a body, use Content-Encoding.",
        )
    if route is None:
        raise Refusal(
            404,
            "unknown_endpoint",
            f"Unknown endpoint; base URLs are {ROOT}[{'|'.join(BUILT_IN)}|one of your own]/v1.",
        )
    return route
