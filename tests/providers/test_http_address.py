"""Which addresses the http provider talks to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.providers.http.address import refusal, resolve

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001:80f::200e", "64:ff9b::808:808"]
OWN = {
    "127.0.0.1": "loopback",
    "127.8.9.10": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "shared by a carrier (CGNAT)",
    "::1": "loopback",
    "fd12:3456::1": "private",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.1.2.3": "private",
    "2002:7f00:0001::1": "loopback",
    "2002:c0a8:0101::1": "private",
    "64:ff9b::7f00:1": "loopback",
}
NEVER = {
    "0.0.0.0": "unspecified",
    "169.254.169.254": "link-local",
    "::ffff:169.254.169.254": "link-local",
    "64:ff9b::a9fe:a9fe": "link-local",
    "2002:a9fe:a9fe::": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "240.0.0.1": "reserved",
    "192.0.0.192": "reserved",
    "::": "unspecified",
    "::7f00:1": "reserved",
    "fec0::1": "reserved",
    "2001:0:1::1": "reserved",
    "64:ff9b:1::1": "reserved",
    "fd00:ec2::254": "a cloud metadata service",
    "100.100.100.200": "a cloud metadata service",
    "168.63.129.16": "a cloud metadata service",
    "192.0.2.1": "reserved for documentation",
    "2001:db8::1": "reserved for documentation",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_connected_to(address: str) -> None:
    assert refusal(address, allow_private=False) == ""


@pytest.mark.parametrize(("address", "what"), OWN.items())
def test_an_address_of_ones_own_network_needs_the_spec_to_allow_it(address: str, what: str) -> None:
    assert refusal(address, allow_private=False) == what
    assert refusal(address, allow_private=True) == ""


@pytest.mark.parametrize(("address", "what"), NEVER.items())
def test_an_address_that_is_nobodys_destination_is_never_connected_to(address: str, what: str) -> None:
    assert refusal(address, allow_private=False) == what
    assert refusal(address, allow_private=True) == what


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_let_through_that_the_standard_library_calls_private(address: ipaddress.IPv4Address) -> None:
    if address.is_private or address.is_multicast or address.is_reserved or address.is_link_local:
        assert refusal(str(address), allow_private=False) != ""


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_every_ipv6_clothing(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    dressed = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
    ]
    for one in dressed:
        assert refusal(str(one), allow_private=False) == refusal(str(address), allow_private=False)


@pytest.mark.parametrize("spelling", ["127.1", "0x7f.1", "2130706433", "017700000001"])
def test_an_odd_spelling_of_loopback_resolves_to_what_is_judged(spelling: str) -> None:
    assert resolve(spelling, 80, 5) == ["127.0.0.1"]


def test_a_name_that_cannot_be_a_host_is_an_error_of_the_network() -> None:
    with pytest.raises(OSError):
        resolve("a" * 300, 80, 5)
