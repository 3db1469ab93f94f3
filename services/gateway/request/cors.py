"""What is asked of any request before authentication: browsers' origins, methods, endpoints."""

from aiohttp import hdrs, web
from multidict import CIMultiDict

from services.gateway.request.errors import Refusal
from services.gateway.request.routing import ROOT, Route

_GREETINGS = frozenset({f"{ROOT}api/hello", f"{ROOT}anthropic/api/hello"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def preflight(request: web.BaseRequest, origins: frozenset[str]) -> web.Response | None:
    """The answer to a browser's preflight from a configured origin; None for everything else."""
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


def is_greeting(request: web.BaseRequest) -> bool:
    """Whether Claude Code only asks, at its start, if the server is there. The provider need not know."""
    return request.method in ("HEAD", "GET") and request.raw_path in _GREETINGS


def allow_origin(headers: CIMultiDict[str], origin: str) -> None:
    """Let a configured origin's page read an answer, ours replacing what the provider says of origins."""
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = "*"
    headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"


def check(request: web.BaseRequest, route: Route | None) -> Route:
    """The route, or a refusal for what no provider is asked at all."""
    if "websocket" in request.headers.get(hdrs.UPGRADE, "").lower():
        raise Refusal(426, "websocket", "WebSockets are not supported; use the HTTP API.")  # clients fall back at a 426
    if request.method not in METHODS:
        raise Refusal(405, "method_not_allowed", "This method is not supported.")
    codings = request.headers.get(hdrs.TRANSFER_ENCODING)
    if codings is not None and codings.strip().lower() != "chunked":
        # The next hop has codings of its own: forwarded without gzip, the body would be garbage to the provider.
        raise Refusal(
            501,
            "unsupported_transfer_coding",
            "Of transfer codings only chunked is supported; to compress a body, send it with Content-Encoding.",
        )
    if route is None:
        raise Refusal(
            404,
            "unknown_endpoint",
            f"Unknown endpoint; base URLs are {ROOT}[openai|gemini|mistral|grok|anthropic|one of your own]/v1.",
        )
    return route
