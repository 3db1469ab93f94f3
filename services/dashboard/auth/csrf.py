"""Hosts, methods and headers of a request go in; whether a foreign page may be behind it comes out. Pure.

A page elsewhere can make a browser send anything here, cookies of a top-level GET included, and by rebinding its own
name to our address it can even read the answers. So: known names only, and no change that another origin asks for.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_known_host(host: str, public_url: str) -> bool:
    """Whether a Host header names this dashboard: localhost, any address in figures, or the public URL's name.

    Rebinding needs a name: in front of an address in figures there is no DNS to be lied to by.
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


def is_foreign(method: str, headers: Mapping[str, str], *, host: str, public_url: str, has_cookie: bool) -> bool:
    """Whether a change is asked for by another origin, or by a browser that does not say by whom."""
    if method in SAFE:
        return False
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site != "same-origin"
    origin = headers.get("Origin")
    if origin is None:
        return has_cookie
    try:
        found = urlsplit(origin)
    except ValueError:
        return True
    if not found.netloc or found.scheme not in ("http", "https"):
        return True
    public = urlsplit(public_url)
    return found.netloc.lower() != host.lower() and (found.scheme, found.netloc.lower()) != (
        public.scheme,
        public.netloc.lower(),
    )


def own_path(text: str) -> str:
    """A place of this dashboard to go on to after signing in; "/" for anything that could lead elsewhere."""
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return "/"
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    return text if not parts.scheme and not parts.netloc and not text.startswith("/sign") else "/"


def _hostname(host: str) -> str:
    """The name without its port, in lower case; "" when there is none."""
    if not host or any(char in host for char in "/@\\ ?#"):
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
