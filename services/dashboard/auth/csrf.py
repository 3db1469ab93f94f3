"""CSRF and DNS-rebinding checks from Host, Origin and Sec-Fetch-Site. Pure.

Another site can make a browser send any request here, with cookies for a top-level GET; by rebinding its own name to
our address it can even read the responses. So only known hosts are served, and changes from other origins are blocked.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_known_host(host: str, public_url: str) -> bool:
    """Whether a Host header is localhost, an IP address, or the public URL's host.

    IP addresses are safe: rebinding needs a DNS name.
    """
    name = _hostname(host)
    if not name:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(public_url) and name == _hostname(urlsplit(public_url).netloc)
    return True


def is_cross_site(method: str, headers: Mapping[str, str], *, host: str, public_url: str, has_cookie: bool) -> bool:
    """Whether a change comes from another origin, or its origin is unknown."""
    if method in SAFE:
        return False
    fetch_site = headers.get("Sec-Fetch-Site")
    if fetch_site is not None:
        return fetch_site != "same-origin"
    origin = headers.get("Origin")
    if origin is None:
        return has_cookie
    try:
        source = urlsplit(origin)
    except ValueError:
        return True
    if not source.netloc or source.scheme not in ("http", "https"):
        return True
    public = urlsplit(public_url)
    return source.netloc.lower() != host.lower() and (source.scheme, source.netloc.lower()) != (
        public.scheme,
        public.netloc.lower(),
    )


def local_path(text: str) -> str:
    """Return a path to redirect to after signing in; "/" if it may be off-site."""
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return "/"
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    return text if not parts.scheme and not parts.netloc and not text.startswith("/sign") else "/"


def _hostname(host: str) -> str:
    """Return the host in lower case without its port; "" if there is none."""
    if not host or any(char in host for char in "/@\\ ?#"):
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
