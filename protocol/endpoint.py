"""TCP endpoints: tcp://HOST:PORT, with an IPv6 address in brackets.

A link-local IPv6 address ends with the name of an interface, as in fe80::1%eth0. Only the host that
has the interface can use that name.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from protocol.errors import RunError

SCHEME: Final = "tcp://"
ANY_PORT: Final = "*"
LARGEST_PORT: Final = (1 << 16) - 1


class Endpoint(NamedTuple):
    """A host name or an address without brackets, and a port; `ANY_PORT` for any free one."""

    host: str
    port: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}{host}:{self.port}"

    @classmethod
    def parse(cls, text: str, key: str) -> Endpoint:
        """The endpoint whose `str` is `text`; the brackets may be missing, and port 0 is `*`.

        Raises RunError that begins with `key`.
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


def is_ipv6(endpoint: str) -> bool:
    """Whether the address in `endpoint`, in the form that ZeroMQ takes, is an IPv6 address."""
    return endpoint.startswith(f"{SCHEME}[")


def host_of(endpoint: str) -> str:
    """The host in an endpoint that `str` or ZeroMQ wrote."""
    return endpoint.removeprefix(SCHEME).rpartition(":")[0].strip("[]")


def with_interface_of(endpoint: str, own: str) -> str:
    """`endpoint` with the interface of `own`, if both are link-local addresses.

    The interface in an address from another host is the interface of that host. This host reaches
    the address through the interface of its own endpoint.
    """
    host, _, scope = host_of(endpoint).partition("%")
    here = host_of(own).partition("%")[2]
    if not (scope and here):
        return endpoint
    return str(Endpoint(f"{host}%{here}", endpoint.rpartition(":")[2]))


def is_unspecified(host: str) -> bool:
    """Whether `host` means every address of a host, in any notation: `*`, 0.0.0.0, ::."""
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
    """Whether `host` can be a name or an address; with a colon it must be an IPv6 address."""
    if ":" in host:
        try:
            return isinstance(ip_address(host), IPv6Address)
        except ValueError:
            return False
    return host != "" and not any(letter in "/[]\\" or letter.isspace() for letter in host)
