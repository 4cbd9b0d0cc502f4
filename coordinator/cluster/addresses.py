"""The addresses that a name stands for, which of them answer, and which belong to this host."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

from protocol import RunError
from protocol.endpoint import ANY_PORT, Endpoint, is_unspecified

CONNECT_SECONDS: Final = 3.0
IFNAMSIZ: Final = 15
"""The longest name of an interface."""
SIOCGIFADDR: Final = 0x8915
"""Asks Linux for the IPv4 address of an interface (netdevice(7))."""
LINK_LOCAL: Final = 0x20
"""The scope of such an address in `_IF_INET6`."""
_IF_INET6: Final = Path("/proc/net/if_inet6")
_BIND_ERRORS: Final = {
    errno.EADDRNOTAVAIL: "not an address of this host; `ip address` lists its addresses",
    errno.EADDRINUSE: "the port is in use; choose another, or * for one that is free",
    errno.EACCES: "only root may listen at ports below 1024; choose a higher one",
    errno.EAFNOSUPPORT: "this host has no addresses of that family",
    errno.EINVAL: "a link-local address needs its interface, as in [fe80::1%eth0]",
    errno.ENODEV: "this host has no such network interface",
}


def bind_error_text(error: OSError) -> str:
    """Why a socket cannot be bound to an address, and what to do."""
    return _BIND_ERRORS.get(error.errno or 0) or error.strerror or str(error)


def bindable(endpoint: Endpoint, key: str) -> Endpoint:
    """The numeric address of this host that `endpoint` names, with its port.

    Raises RunError, which begins with `key`, for a wildcard address and for one that cannot be
    bound.
    """
    if is_unspecified(endpoint.host):
        raise RunError(
            f"{key}: {endpoint.host} stands for every address; name one that other hosts can reach"
        )
    if _is_multicast(endpoint.host):
        raise RunError(
            f"{key}: {endpoint.host} is a multicast or broadcast address; name one of this host"
        )
    if endpoint.host in (name for _, name in socket.if_nameindex()):
        resolved = [
            Endpoint(address, endpoint.port) for address in _interface_addresses(endpoint.host)
        ]
        if not resolved:
            raise RunError(f"{key}: the interface {endpoint.host} has no address")
    else:
        resolved = _resolve(endpoint, key)
    failed = None
    for number in resolved:
        if is_unspecified(number.host):
            return bindable(number, key)
        try:
            _try_bind(number)
            return number
        except OSError as error:
            failed = error
    assert failed is not None
    raise RunError(f"{key}: {endpoint}: {bind_error_text(failed)}")


def own_address(address: str, key: str) -> str:
    """The numeric address of this host that the name or number `address` stands for.

    Raises RunError, which begins with `key`, if workers cannot listen there.
    """
    host = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if any(letter in host for letter in "[]/") or host.count(":") == 1:
        raise RunError(f"{key}: {address!r:.80} is not an address; give one without a port")
    return bindable(Endpoint(host, ANY_PORT), key).host


def _is_multicast(host: str) -> bool:
    """Whether `host` is a multicast or broadcast address."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_multicast or host == "255.255.255.255"


def _interface_addresses(name: str) -> list[str]:
    """The addresses of a network interface: IPv4 first, link-local IPv6 last."""
    found, local = [], []
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", name.encode()[:IFNAMSIZ])
        found.append(socket.inet_ntoa(fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24]))
    with suppress(OSError):
        for line in _IF_INET6.read_text("ascii").splitlines():
            digits, _, _, scope, _, interface = line.split()
            address = str(IPv6Address(bytes.fromhex(digits)))
            if interface == name and int(scope, 16) == LINK_LOCAL:
                local.append(f"{address}%{name}")
            elif interface == name:
                found.append(address)
    return found + local


def reachable(addresses: Iterable[str]) -> str:
    """The first of the endpoints of a head that answers, else the first one; in numeric form.

    Raises RunError if no name among them is known.
    """
    found: list[Endpoint] = []
    unknown: list[RunError] = []
    for text in addresses:
        try:
            found += _resolve(Endpoint.parse(text, "token"), "token")
        except RunError as error:
            unknown.append(error)
    if not found:
        raise unknown[0]
    if len(found) == 1:
        return str(found[0])
    return str(next(filter(_answers, found), found[0]))


def address_towards(endpoint: str) -> str:
    """The address of this host on the route to `endpoint`. Raises RunError if there is no route."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    target = Endpoint(host.strip("[]"), port)
    failed: OSError | None = None
    for family, sockaddr in _lookup(target, endpoint, socket.SOCK_DGRAM):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(sockaddr)
                return _host(probe.getsockname())
        except OSError as error:
            failed = error
    assert failed is not None
    raise RunError(f"{endpoint}: no route from this host: {failed.strerror}")


def free_port(address: str) -> int:
    """A free port at `address` of this host. Raises OSError if workers cannot listen there."""
    number = _resolve(Endpoint(address, ANY_PORT), "address")[0]
    return _try_bind(number)


def is_loopback(address: str) -> bool:
    """Whether `address` reaches this host only."""
    return address.startswith("127.") or address == "::1"


def _try_bind(number: Endpoint) -> int:
    """Bind a socket for a moment; returns its port. Raises OSError if that is not possible."""
    ((family, sockaddr),) = list(_lookup(number, "", socket.SOCK_STREAM))[:1]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # as ZeroMQ does
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(sockaddr)
        probe.listen()
        return int(probe.getsockname()[1])


def _answers(number: Endpoint) -> bool:
    try:
        with socket.create_connection((number.host, int(number.port)), CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _resolve(endpoint: Endpoint, key: str) -> list[Endpoint]:
    """The numeric addresses of the host, best first."""
    found = _lookup(endpoint, key, socket.SOCK_STREAM)
    return list(dict.fromkeys(Endpoint(_host(sockaddr), endpoint.port) for _, sockaddr in found))


def _lookup(endpoint: Endpoint, key: str, kind: int) -> Iterator[tuple[int, tuple[object, ...]]]:
    """The family and socket address of each address. Raises RunError if the name is unknown."""
    port = 0 if endpoint.port == ANY_PORT else int(endpoint.port)
    try:
        for family, _, _, _, sockaddr in socket.getaddrinfo(endpoint.host, port, type=kind):
            yield family, sockaddr
    except (socket.gaierror, UnicodeError):
        _, percent, interface = endpoint.host.partition("%")
        what = f"interface {interface!r}" if percent else f"host {endpoint.host!r}"
        raise RunError(
            f"{key}: unknown {what}; give a name or address that this host can resolve"
        ) from None


def _host(sockaddr: tuple[object, ...]) -> str:
    """The host part of a socket address, with the interface of a link-local one."""
    scope = sockaddr[3] if len(sockaddr) > 3 else 0
    return f"{sockaddr[0]}%{socket.if_indextoname(int(str(scope)))}" if scope else str(sockaddr[0])
