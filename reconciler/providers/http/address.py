"""Which addresses a run may talk to.

A URL in a spec is written by whoever may propose a spec, and its answer can redirect anywhere: without a guard, a job
would be a way to read a cloud's metadata service or the machine's own ports. So a name is resolved here, every address
it has is judged, and the connection is made to the very address that was judged: a second answer of the name server
(DNS rebinding) has no second look to fool.

The table follows the IANA special-purpose registries. `allowPrivateAddresses: true` opens what a company's own network
uses (marked `own`); the rest is nobody's destination and stays closed. An address that carries an IPv4 address inside
(IPv4-mapped, 6to4, NAT64) is judged by the one inside.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: How many addresses of one name are looked at.
MAX_ADDRESSES: Final = 16

#: Network, what it is, and whether `allowPrivateAddresses` opens it. The first that matches decides.
SPECIAL: Final[tuple[tuple[Network, str, bool], ...]] = tuple(
    (ipaddress.ip_network(network), what, own)
    for network, what, own in (
        ("100.100.100.200/32", "a cloud metadata service", False),
        ("168.63.129.16/32", "a cloud metadata service", False),
        ("fd00:ec2::254/128", "a cloud metadata service", False),
        ("0.0.0.0/8", "unspecified", False),
        ("10.0.0.0/8", "private", True),
        ("100.64.0.0/10", "shared by a carrier (CGNAT)", True),
        ("127.0.0.0/8", "loopback", True),
        ("169.254.0.0/16", "link-local", False),
        ("172.16.0.0/12", "private", True),
        ("192.0.0.0/24", "reserved", False),
        ("192.0.2.0/24", "reserved for documentation", False),
        ("192.88.99.0/24", "reserved", False),
        ("192.168.0.0/16", "private", True),
        ("198.18.0.0/15", "reserved for benchmarks", False),
        ("198.51.100.0/24", "reserved for documentation", False),
        ("203.0.113.0/24", "reserved for documentation", False),
        ("224.0.0.0/4", "multicast", False),
        ("240.0.0.0/4", "reserved", False),
        ("::/128", "unspecified", False),
        ("::1/128", "loopback", True),
        ("fc00::/7", "private", True),
        ("fe80::/10", "link-local", False),
        ("ff00::/8", "multicast", False),
        ("2001::/23", "reserved", False),
        ("2001:db8::/32", "reserved for documentation", False),
        ("3fff::/20", "reserved for documentation", False),
    )
)

_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")

#: Where an IPv6 address carries an IPv4 address: the network, and how many bits stand behind the IPv4 address.
_EMBEDDING: Final[tuple[tuple[Network, int], ...]] = (
    (ipaddress.ip_network("::ffff:0:0/96"), 0),
    (ipaddress.ip_network("64:ff9b::/96"), 0),
    (ipaddress.ip_network("2002::/16"), 80),
)


def refusal(address: str, *, allow_private: bool) -> str:
    """Why this address may not be connected to ("loopback", "private" …); empty where it may."""
    one = _innermost(ipaddress.ip_address(address.partition("%")[0]))
    for network, what, own in SPECIAL:
        if one.version == network.version and one in network:
            return "" if own and allow_private else what
    if isinstance(one, ipaddress.IPv6Address) and one not in _GLOBAL_IPV6:
        return "reserved"
    return ""


def _innermost(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        for network, shift in _EMBEDDING:
            if address in network:
                return ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    return address


def resolve(host: str, port: int, timeout_s: float) -> list[str]:
    """The addresses of a host, as text, in the resolver's order, at most `MAX_ADDRESSES`. Raises OSError where there
    are none and TimeoutError after `timeout_s`: the system's resolver has no timeout of its own that could be set, so
    it is asked on a thread that is left behind."""
    found: list[str] = []
    failed: list[OSError] = []

    def ask() -> None:
        try:
            for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append(str(where[0]))
        except (OSError, UnicodeError) as error:
            failed.append(error if isinstance(error, OSError) else OSError(str(error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise TimeoutError(f"no answer from the name server for {host!r}")
    if failed:
        raise failed[0]
    return list(dict.fromkeys(found))[:MAX_ADDRESSES]
