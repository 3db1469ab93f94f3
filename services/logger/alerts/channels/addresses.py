"""Which IP addresses a webhook may be sent to: none inside the operator's network."""

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from shared.alerts.channel_admin import MOST_CHANNELS

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Reachable only from inside: allowed by METRION_WEBHOOK_ALLOW_PRIVATE.
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::1/128",
            "fc00::/7",
        ),
    )
)
# Never allowed, whatever the setting: credentials of the machine, and addresses of no single host.
_FORBIDDEN = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "100.100.100.200/32",  # metadata of Alibaba Cloud
            "168.63.129.16/32",  # Azure's agent
            "169.254.0.0/16",  # link-local, with the metadata of most clouds
            "192.0.0.0/24",  # with the metadata of Oracle Cloud
            "192.0.2.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            "2001::/23",  # Teredo and other protocols of the IETF
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "3fff::/20",
            "fd00:42::/32",  # metadata of Scaleway
            "fd00:ec2::/32",  # metadata of AWS
            "fd20:ce::254/128",  # metadata of Google Cloud
        ),
    )
)
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_ISATAP = 0x5EFE  # between any prefix and an IPv4 address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_allowed(text: str, *, allow_private: bool) -> bool:
    """Whether a webhook may be sent to this address; False for anything unknown."""
    try:
        address: _Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif int(address) >> 32 & 0xFDFFFFFF == _ISATAP:
            return False
        elif address in _NAT64:  # what a resolver of a network without IPv4 returns for every public host
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in network for network in _FORBIDDEN):
        return False
    if any(address in network for network in _PRIVATE):
        return allow_private
    return address.version == 4 or address in _GLOBAL_V6


# A pool of its own: names that users choose and that resolve slowly must not delay those of NATS and ClickHouse.
# Three times as many as an account has channels, so that one whose names all hang does not delay the others.
_THREADS = ThreadPoolExecutor(max_workers=3 * MOST_CHANNELS, thread_name_prefix="webhook-lookup")

Lookup = Callable[[str, int], Awaitable[list[str]]]  # host and port → addresses


async def lookup(host: str, port: int) -> list[str]:
    """Look up a host's addresses with the system's resolver; OSError if it has none.

    It also reads numbers in any form, such as 127.1 or 0x7f000001.
    """
    find = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    answers = await asyncio.get_running_loop().run_in_executor(_THREADS, find)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
