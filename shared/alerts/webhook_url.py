"""Strict parsing of webhook URLs, which contain secrets."""

import re
from typing import NamedTuple

MOST_CHARACTERS = 2048
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)?(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?",
)


class WebhookUrl(NamedTuple):
    """A URL and its parts; only `origin` may be shown."""

    text: str
    scheme: str
    host: str  # without the brackets of an IPv6 address
    port: int

    def __repr__(self) -> str:
        return f"WebhookUrl({self.origin!r})"

    @property
    def origin(self) -> str:
        """Scheme, host and, unless it is the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == own else f":{self.port}")


def parse(text: str) -> WebhookUrl:
    """Parse a URL; the message of a ValueError never contains any of it."""
    match = _URL.fullmatch(text)
    if match is None or len(text) > MOST_CHARACTERS:
        raise ValueError("a URL is https://host/path, without a user, at most 2,048 ASCII characters")
    port = int(match["port"] or (443 if match["scheme"] == "https" else 80))
    if not 0 < port < 65536:
        raise ValueError("the port of a URL is from 1 to 65535")
    return WebhookUrl(text, match["scheme"], match["host"].strip("[]").lower(), port)
