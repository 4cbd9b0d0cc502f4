"""Which addresses a name stands for, which of them answer, and which are this machine's."""

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
_WHY: Final = {
    errno.EADDRNOTAVAIL: "no address of this machine; `ip address` shows those that are",
    errno.EADDRINUSE: "the port is in use; choose another, or * for one that is free",
    errno.EACCES: "only root may listen at ports below 1024; choose a higher one",
    errno.EAFNOSUPPORT: "this machine does not have addresses of that kind",
    errno.EINVAL: "a link-local address needs its interface, as in [fe80::1%eth0]",
    errno.ENODEV: "the interface behind the address is not one of this machine",
}


def why(error: OSError) -> str:
    """What it means that a socket cannot listen at an address, and what to do."""
    return _WHY.get(error.errno or 0) or error.strerror or str(error)


def bindable(endpoint: Endpoint, key: str) -> Endpoint:
    """The address of this machine that `endpoint` names, with its port, where one can listen.

    Raises RunError that begins with `key` where that is every address, or none.
    """
    if is_unspecified(endpoint.host):
        raise RunError(
            f"{key}: {endpoint.host} is every address; name one that other machines can reach"
        )
    if _is_of_many(endpoint.host):
        raise RunError(f"{key}: {endpoint.host} is the address of many hosts; name one of this")
    if endpoint.host in (name for _, name in socket.if_nameindex()):
        numbers = [Endpoint(address, endpoint.port) for address in _of_interface(endpoint.host)]
        if not numbers:
            raise RunError(f"{key}: the interface {endpoint.host} has no address")
    else:
        numbers = _numbers(endpoint, key)
    failed = None
    for number in numbers:
        if is_unspecified(number.host):
            return bindable(number, key)
        try:
            _listen(number)
            return number
        except OSError as error:
            failed = error
    assert failed is not None
    raise RunError(f"{key}: {endpoint}: {why(failed)}")


def own(address: str, key: str) -> str:
    """The address of this machine that a user calls `address`, by name or number, for errors `key`.

    Raises RunError where it is not one at which workers can listen.
    """
    host = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if any(letter in host for letter in "[]/") or host.count(":") == 1:
        raise RunError(f"{key}: {address!r:.80} is no address; give it without a port")
    return bindable(Endpoint(host, ANY_PORT), key).host


def _is_of_many(host: str) -> bool:
    """Whether `host` is a number at which no single machine can be reached."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_multicast or host == "255.255.255.255"


def _of_interface(name: str) -> list[str]:
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
    """Of the endpoints of a head, by name or number, one that answers, else the first; by number.

    Raises RunError where all of them have names that are not known.
    """
    found: list[Endpoint] = []
    unknown: list[RunError] = []
    for text in addresses:
        try:
            found += _numbers(Endpoint.parse(text, "token"), "token")
        except RunError as error:
            unknown.append(error)
    if not found:
        raise unknown[0]
    if len(found) == 1:
        return str(found[0])
    return str(next(filter(_answers, found), found[0]))


def address_towards(endpoint: str) -> str:
    """This machine's address on the way to `endpoint`. Raises RunError where there is no way."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    target = Endpoint(host.strip("[]"), port)
    failed: OSError | None = None
    for family, sockaddr in _found(target, endpoint, socket.SOCK_DGRAM):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(sockaddr)
                return _host(probe.getsockname())
        except OSError as error:
            failed = error
    assert failed is not None
    raise RunError(f"{endpoint}: no way there from this machine: {failed.strerror}")


def listening(address: str) -> int:
    """A port at which workers could listen at `address` of this machine. Raises OSError."""
    number = _numbers(Endpoint(address, ANY_PORT), "address")[0]
    return _listen(number)


def is_loopback(address: str) -> bool:
    """Whether `address` reaches nobody but this machine."""
    return address.startswith("127.") or address == "::1"


def _listen(number: Endpoint) -> int:
    """See whether this machine can listen there; the port. Raises OSError where it cannot."""
    ((family, sockaddr),) = list(_found(number, "", socket.SOCK_STREAM))[:1]
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


def _numbers(endpoint: Endpoint, key: str) -> list[Endpoint]:
    """The addresses that the host has, best first."""
    found = _found(endpoint, key, socket.SOCK_STREAM)
    return list(dict.fromkeys(Endpoint(_host(sockaddr), endpoint.port) for _, sockaddr in found))


def _found(endpoint: Endpoint, key: str, kind: int) -> Iterator[tuple[int, tuple[object, ...]]]:
    """The family and the socket address of each address. Raises RunError where there are none."""
    port = 0 if endpoint.port == ANY_PORT else int(endpoint.port)
    try:
        for family, _, _, _, sockaddr in socket.getaddrinfo(endpoint.host, port, type=kind):
            yield family, sockaddr
    except (socket.gaierror, UnicodeError):
        _, percent, interface = endpoint.host.partition("%")
        what = f"interface {interface!r}" if percent else f"host {endpoint.host!r}"
        raise RunError(f"{key}: unknown {what}; give what this machine knows") from None


def _host(sockaddr: tuple[object, ...]) -> str:
    """The address in what a socket calls its address, with the interface of a link-local one."""
    scope = sockaddr[3] if len(sockaddr) > 3 else 0
    return f"{sockaddr[0]}%{socket.if_indextoname(int(str(scope)))}" if scope else str(sockaddr[0])
