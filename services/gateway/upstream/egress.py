"""Egress to providers: the outbound proxy of an origin, and the TLS context."""

import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from yarl import URL

from shared import tls, urls

NONE = "off"


def proxy_for(origin: str, *, setting: str, environ: Mapping[str, str]) -> URL | None:
    """The HTTP proxy for an origin; None for a direct connection.

    `setting` ("off", a URL, or "" for HTTPS_PROXY, HTTP_PROXY) takes precedence over the environment, except for its
    NO_PROXY; loopback is never proxied. ValueError for a proxy that is not an http URL.
    """
    parts = urlsplit(origin)
    host = parts.hostname or ""
    own = {name.lower(): value for name, value in environ.items() if name.lower().endswith("_proxy")}
    url = setting or own.get(f"{parts.scheme}_proxy", "")
    if not url or url == NONE or _is_loopback(host) or proxy_bypass_environment(host, {"no": own.get("no_proxy", "")}):
        return None
    try:
        urls.parse(url, urls.PROXY)
    except ValueError as error:
        raise ValueError(f"the outbound proxy {error}") from None
    return URL(url if "://" in url else f"http://{url}")


def context(ca_file: str) -> ssl.SSLContext:
    """TLS context for providers; OSError or SSLError for a bad CA file."""
    tls_context = tls.context(ca_file)
    tls_context.set_alpn_protocols(["http/1.1"])
    return tls_context


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
