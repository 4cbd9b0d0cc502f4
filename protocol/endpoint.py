"""Where a socket of the network is: tcp://HOST:PORT, an IPv6 address in brackets.

A link-local IPv6 address has the interface behind it, as in fe80::1%eth0. That name means something
on its own host alone.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from protocol.errors import RunError

SCHEME: Final = "tcp://"
ANY_PORT: Final = "*"
LARGEST_PORT: Final = (1 << 16) - 1


class Endpoint(NamedTuple):
    """A host, its address without brackets or its name, and a port; `ANY_PORT` for a free one."""

    host: str
    port: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}{host}:{self.port}"

    @classmethod
    def read(cls, text: str, key: str) -> Endpoint:
        """What `str` wrote, or the same without brackets. Raises RunError that begins with `key`.

        A port 0 is any port.
        """
        host, colon, port = text.removeprefix(SCHEME).rpartition(":")
        if not (text.startswith(SCHEME) and host and colon) or text.endswith("]"):
            raise RunError(f"{key}: {text!r:.80} is not tcp://ADDRESS:PORT")
        if not _is_port(port):
            raise RunError(f"{key}: {text!r:.80}: port must be a number up to {LARGEST_PORT}, or *")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not _is_host(host):
            raise RunError(f"{key}: {text!r:.80} is not tcp://ADDRESS:PORT")
        return cls(host, ANY_PORT if port.strip("0") == "" else port)


def is_v6(endpoint: str) -> bool:
    """Whether `endpoint`, as ZeroMQ takes it, is at an IPv6 address."""
    return endpoint.startswith(f"{SCHEME}[")


def host_of(endpoint: str) -> str:
    """The host of an endpoint that was written by `str` or by ZeroMQ."""
    return endpoint.removeprefix(SCHEME).rpartition(":")[0].strip("[]")


def rescoped(endpoint: str, own: str) -> str:
    """`endpoint` with the interface of `own`, where both are link-local addresses.

    The interface that another host names is its own; the way to it is that to `own`.
    """
    host, _, scope = host_of(endpoint).partition("%")
    here = host_of(own).partition("%")[2]
    if not (scope and here):
        return endpoint
    return str(Endpoint(f"{host}%{here}", endpoint.rpartition(":")[2]))


def unspecified(host: str) -> bool:
    """Whether `host` means every address of a machine, however it is spelled."""
    if host == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_unspecified


def _is_port(port: str) -> bool:
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    return port == ANY_PORT or (digits and int(port) <= LARGEST_PORT)


def _is_host(host: str) -> bool:
    """Whether `host` can be a name or an address; with a colon it has to be an IPv6 address."""
    if ":" in host:
        try:
            return isinstance(ip_address(host), IPv6Address)
        except ValueError:
            return False
    return host != "" and not any(letter in "/[]\\" or letter.isspace() for letter in host)
