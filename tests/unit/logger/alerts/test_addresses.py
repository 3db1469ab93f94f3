"""Which addresses webhooks may be sent to."""

import asyncio
import ipaddress
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logger.alerts.channels import addresses
from services.logger.alerts.channels.addresses import is_allowed
from shared.alerts.channel_admin import MOST_CHANNELS
from tests.support import servers

PUBLIC = ["1.1.1.1", "8.8.8.8", "52.94.236.248", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2a00::1"]
PRIVATE = ["10.0.0.1", "127.0.0.1", "127.255.255.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "::1", "fc00::1", "fd12:3456::1"]  # fmt: skip
FORBIDDEN = [
    "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd00:42::42", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "192.88.99.1", "::", "fe80::1", "fe80::1%eth0", "2606:4700::1%1", "fec0::1", "ff02::1",
    "2001::1", "2001:db8::1", "2002:a00:1::", "3fff::1", "5f00::1", "64:ff9b:1::7f00:1", "100::1", "::ffff:0:127.0.0.1",
    "::127.0.0.1", "4000::1", "", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.1.1.1 ",
]  # fmt: skip


def v4_of(networks: list[str]) -> st.SearchStrategy[ipaddress.IPv4Address]:
    return st.one_of([st.ip_addresses(v=4, network=network) for network in networks])


private_v4 = v4_of(["10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"])
forbidden_v4 = v4_of(["0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "198.18.0.0/15", "192.0.0.0/24"])
public_v4 = v4_of(["1.0.0.0/8", "8.0.0.0/8", "52.0.0.0/8", "140.82.112.0/20"])


def embedded(address: ipaddress.IPv4Address) -> dict[str, ipaddress.IPv6Address]:
    """Forms of IPv6 that lead to an address of IPv4."""
    number = int(address)
    return {
        "mapped": ipaddress.IPv6Address((0xFFFF << 32) | number),
        "compatible": ipaddress.IPv6Address(number),
        "translated": ipaddress.IPv6Address((0xFFFF << 48) | number),
        "nat64": ipaddress.IPv6Address((0x64FF9B << 96) | number),
        "local nat64": ipaddress.IPv6Address((0x64FF9B0001 << 80) | number),
        "6to4": ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
        "isatap": ipaddress.IPv6Address((0x2A001450 << 96) | (0x5EFE << 32) | number),
        "isatap, global": ipaddress.IPv6Address((0x2A001450 << 96) | (0x02005EFE << 32) | number),
        "teredo client": ipaddress.IPv6Address((0x20010000 << 96) | (0x01010101 << 64) | (number ^ 0xFFFFFFFF)),
        "teredo server": ipaddress.IPv6Address((0x20010000 << 96) | (number << 64) | 1),
    }


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address, allow_private=False)
    assert is_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_allowed_by_the_setting_only(address: str) -> None:
    assert not is_allowed(address, allow_private=False)
    assert is_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_metadata_reserved_and_unknown_addresses_are_never_allowed(address: str) -> None:
    assert not is_allowed(address, allow_private=False)
    assert not is_allowed(address, allow_private=True)


@given(private_v4)
def test_a_private_address_is_refused_in_each_form_of_ipv6(address: ipaddress.IPv4Address) -> None:
    allowed = {name for name, form in embedded(address).items() if is_allowed(str(form), allow_private=False)}
    assert allowed == set()


@given(forbidden_v4)
def test_a_forbidden_address_is_refused_in_each_form_of_ipv6(address: ipaddress.IPv4Address) -> None:
    allowed = {name for name, form in embedded(address).items() if is_allowed(str(form), allow_private=True)}
    assert allowed <= ({"compatible"} if int(address) == 1 else set())  # ::1 is loopback itself


@given(public_v4)
def test_a_network_without_ipv4_reaches_public_hosts(address: ipaddress.IPv4Address) -> None:
    """Its resolver returns NAT64 addresses."""
    allowed = {name for name, form in embedded(address).items() if is_allowed(str(form), allow_private=False)}
    assert allowed == {"mapped", "nat64"}


@given(st.ip_addresses(v=6))
def test_an_allowed_address_of_ipv6_is_global(address: ipaddress.IPv6Address) -> None:
    if is_allowed(str(address), allow_private=False):
        assert address.is_global
        assert not address.is_multicast
        assert address.sixtofour is None and address.teredo is None


@given(st.ip_addresses(v=4))
def test_an_allowed_address_of_ipv4_is_global(address: ipaddress.IPv4Address) -> None:
    if is_allowed(str(address), allow_private=False):
        assert address.is_global and not address.is_multicast


async def test_names_that_take_long_hold_back_no_other_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def find(host: str, *_: Any, **__: Any) -> list[Any]:
        if host == "slow.example.com":
            released.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", find)
    slow = [asyncio.create_task(addresses.lookup("slow.example.com", 443)) for _ in range(100)]
    await asyncio.sleep(0)
    try:
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.getaddrinfo("clickhouse", 8443), servers.DEADLINE)
    finally:
        released.set()
    assert {tuple(found) for found in await asyncio.gather(*slow)} == {("192.0.2.7",)}


async def test_names_of_one_account_that_hang_hold_back_no_other_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def find(host: str, port: int, **_: Any) -> list[Any]:
        if host.startswith("hanging"):
            over.wait()
        return [(0, 0, 0, "", ("192.0.2.7", port))]

    monkeypatch.setattr(socket, "getaddrinfo", find)
    hanging = [asyncio.create_task(addresses.lookup(f"hanging{number}", 443)) for number in range(MOST_CHANNELS)]
    try:
        async with asyncio.timeout(servers.DEADLINE):
            assert await addresses.lookup("example.com", 443) == ["192.0.2.7"]
        assert not any(task.done() for task in hanging)
    finally:
        over.set()
        await asyncio.gather(*hanging)
