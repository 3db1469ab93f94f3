"""The sender of e-mail: METRION_SMTP_FROM."""

import re
from email.headerregistry import Address

from shared import urls
from shared.alerts import email_address

_NAMED = re.compile(r"(?P<name>[^<>\"\x00-\x1f\x7f]{0,100}?)\s*<(?P<address>[^<>\s]+)>")


def parse(text: str, *, smtp_url: str) -> Address:
    """Parse name@domain or Name <name@domain>; ValueError for anything else.

    An empty text stands for the user of METRION_SMTP_URL.
    """
    text = text.strip() or urls.parse(smtp_url, urls.SMTP)[0].user or ""
    match = _NAMED.fullmatch(text)
    name, address = (match["name"], match["address"]) if match else ("", text)
    if not email_address.is_valid(address):
        raise ValueError(
            "METRION_SMTP_FROM must be name@domain or Name <name@domain>, unless the user of METRION_SMTP_URL is"
        )
    return Address(display_name=name, addr_spec=address)
