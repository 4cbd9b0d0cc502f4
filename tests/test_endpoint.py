"""Addresses of hosts: as they are written, which of them are ours, and runs over IPv6."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from contextlib import suppress
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cluster.addresses import (
    address_towards,
    bind_error_text,
    bindable,
    free_port,
    own_address,
    reachable,
)
from coordinator.cluster.listen import ListenConfig
from protocol import RunError
from protocol.endpoint import Endpoint, host_of, is_ipv6, is_unspecified, with_interface_of
from protocol.security.token import KEY_BYTES, Token
from tests.dni import wait_until
from tests.ipv6 import needs_v6
from tests.network_hosts import network_hosts
from workers.transport import socket_buffers

# -- as they are written


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_written_endpoint_is_read_back(address: object, port: int) -> None:
    written = str(Endpoint(str(address), str(port)))
    assert Endpoint.parse(written, "key") == (str(address), str(port))
    assert is_ipv6(written) == isinstance(address, IPv6Address)
    assert host_of(written) == str(address)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tcp://10.0.0.1:5701", "tcp://10.0.0.1:5701"),
        ("tcp://ada.example:*", "tcp://ada.example:*"),
        ("tcp://[::1]:0", "tcp://[::1]:*"),
        ("tcp://fd00::7:5701", "tcp://[fd00::7]:5701"),
        ("tcp://[fe80::1%eth0]:5701", "tcp://[fe80::1%eth0]:5701"),
        ("tcp://[10.0.0.1]:1", "tcp://10.0.0.1:1"),
    ],
)
def test_every_form_of_an_endpoint_is_read(text: str, wanted: str) -> None:
    assert str(Endpoint.parse(text, "--bind")) == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1:5701", "is not tcp://ADDRESS:PORT"),
        ("tcp://10.0.0.1", "is not tcp://ADDRESS:PORT"),
        ("tcp://[::1]", "is not tcp://ADDRESS:PORT"),
        ("tcp://[::1:5701", "is not tcp://ADDRESS:PORT"),
        ("tcp://1:2:3:5701", "is not tcp://ADDRESS:PORT"),
        ("tcp://a b:5701", "is not tcp://ADDRESS:PORT"),
        ("tcp://:5701", "is not tcp://ADDRESS:PORT"),
        ("", "is not tcp://ADDRESS:PORT"),
        ("tcp://ada:99999", "port must be"),
        ("tcp://ada:http", "port must be"),
        ("tcp://ada:-1", "port must be"),
        ("tcp://ada:", "port must be"),
        ("tcp://ada:٣", "port must be"),
    ],
)
def test_an_invalid_endpoint_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(RunError, match=f"^--bind: .*{reason}"):
        Endpoint.parse(text, "--bind")


@given(st.text() | st.text().map("tcp://{}".format) | st.text().map("tcp://[{}]:1".format))
def test_any_text_is_an_endpoint_or_an_error(text: str) -> None:
    with suppress(RunError):
        found = Endpoint.parse(text, "key")
        assert Endpoint.parse(str(found), "key") == found


@pytest.mark.parametrize(
    "host", ["*", "0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::0.0.0.0", "::ffff:0.0.0.0", "0::0"]
)
def test_every_form_of_the_wildcard_address_is_refused(host: str) -> None:
    assert is_unspecified(host)
    everywhere = str(Endpoint(host, "5701"))
    with pytest.raises(RunError, match=r"^--bind: .*every address"):
        ListenConfig(everywhere).checked()
    with pytest.raises(RunError, match=r"^--advertise: .*every address"):
        ListenConfig("tcp://127.0.0.1:*", everywhere).checked()
    with pytest.raises(RunError, match=r"^--address: .*every address"):
        own_address(host, "--address")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "ada", "", "0.0.0.1", "fe80::1%eth0"])
def test_a_single_address_is_not_a_wildcard(host: str) -> None:
    assert not is_unspecified(host)


@pytest.mark.parametrize(
    ("endpoint", "control", "wanted"),
    [
        ("tcp://[fe80::2%wlan7]:9", "tcp://[fe80::1%eth0]:5", "tcp://[fe80::2%eth0]:9"),
        ("tcp://[fe80::2%wlan7]:9", "tcp://[fd00::1]:5", "tcp://[fe80::2%wlan7]:9"),
        ("tcp://[fd00::2]:9", "tcp://[fe80::1%eth0]:5", "tcp://[fd00::2]:9"),
        ("tcp://10.0.0.2:9", "tcp://10.0.0.1:5", "tcp://10.0.0.2:9"),
        ("ipc:///tmp/a%b", "ipc:///tmp/c%d", "ipc:///tmp/a%b"),
    ],
)
def test_a_link_local_address_gets_the_local_interface(
    endpoint: str, control: str, wanted: str
) -> None:
    assert with_interface_of(endpoint, control) == wanted


@pytest.mark.parametrize("host", ["::1", "fd00::1", "fe80::1%eth0", "2001:db8::7", "10.0.0.1"])
def test_a_token_holds_an_address_of_any_family(host: str) -> None:
    token = Token((str(Endpoint(host, "5701")),), b"k" * KEY_BYTES, b"s" * KEY_BYTES)
    assert Token.parse(str(token)) == token


# -- which of them are ours


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EADDRNOTAVAIL, "not an address of this host"),
        (errno.EADDRINUSE, "the port is in use; choose another, or *"),
        (errno.EACCES, "only root may listen at ports below 1024"),
        (errno.EAFNOSUPPORT, "has no addresses of that family"),
        (errno.ENOBUFS, "No buffer space available"),
    ],
)
def test_an_address_that_cannot_be_bound_is_explained(number: int, reason: str) -> None:
    assert reason in bind_error_text(OSError(number, "No buffer space available"))


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("224.0.0.1", "is a multicast or broadcast address"),
        ("255.255.255.255", "is a multicast or broadcast address"),
        ("ff02::1", "is a multicast or broadcast address"),
        ("fe80::1", "needs its interface"),
    ],
)
def test_a_multicast_or_broadcast_address_is_refused(host: str, reason: str) -> None:
    with pytest.raises(RunError, match=reason):
        bindable(Endpoint(host, "5701"), "--bind")


@pytest.mark.parametrize("address", ["[fd77::2]:70", "10.0.0.1:70", "[fd77::2", "tcp://10.0.0.1"])
def test_an_own_address_with_a_port_is_refused(address: str) -> None:
    with pytest.raises(RunError, match="is not an address; give one without a port"):
        own_address(address, "--address")


@pytest.mark.skipif(sys.platform != "linux", reason="interfaces are asked for as Linux has them")
def test_the_name_of_an_interface_stands_for_its_address() -> None:
    assert bindable(Endpoint("lo", "*"), "--bind") == Endpoint("127.0.0.1", "*")
    assert own_address("lo", "--address") == "127.0.0.1"


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ((), "the interface net0 has no address"),
        (("fd77::1/64",), "fd77::1"),
        (("fd77::1/64", "10.9.0.1/24"), "10.9.0.1"),
    ],
)
def test_an_interface_with_ipv6_only_stands_for_it(given: tuple[str, ...], taken: str) -> None:
    code = (
        "from coordinator.cluster.addresses import own_address\n"
        "from protocol import RunError\n"
        "try:\n    print(own_address('net0', '--address'))\n"
        "except RunError as error:\n    print(error)"
    )
    with network_hosts(1, "10.0.0") as hosts:
        change = ("ip", "-n", hosts.names[0], "address")
        subprocess.run([*change, "flush", "dev", "net0"], check=True)
        for address in given:
            subprocess.run([*change, "add", address, "dev", "net0"], check=True)
        command = [*hosts.at(0), sys.executable, "-c", code]
        wait_until(
            lambda: (
                taken in subprocess.run(command, capture_output=True, text=True, check=False).stdout
            ),
            f"net0 stands for {taken}",
        )


def test_a_used_port_and_a_foreign_address_cannot_be_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(RunError, match="the port is in use"):
            bindable(Endpoint("127.0.0.1", port), "--bind")
    with pytest.raises(RunError, match="not an address of this host"):
        bindable(Endpoint("203.0.113.7", "*"), "--bind")
    assert bindable(Endpoint("127.0.0.1", port), "--bind").port == port


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ("no-such-host.invalid", "unknown host 'no-such-host.invalid'"),
        ("x" * 70 + ".invalid", "unknown host 'xx"),
        ("fe80::1%nothing9", "unknown interface 'nothing9'"),
    ],
)
def test_an_unknown_name_is_an_error(host: str, what: str) -> None:
    endpoint = str(Endpoint(host, "5701"))
    for lookup in (
        lambda: bindable(Endpoint(host, "5701"), "--bind"),
        lambda: own_address(host, "--address"),
        lambda: address_towards(endpoint),
        lambda: reachable((endpoint,)),
    ):
        with pytest.raises(RunError, match=what):
            lookup()


def resolver(monkeypatch: pytest.MonkeyPatch, *numbers: str) -> None:
    """Let the name `both` have these addresses, in this order."""
    real = socket.getaddrinfo

    def found(host: str, *arguments: object, **more: object) -> list[object]:
        hosts = numbers if host == "both" else (host,)
        return [entry for number in hosts for entry in real(number, *arguments, **more)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@needs_v6
@pytest.mark.parametrize("order", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
@pytest.mark.parametrize("answers", ["127.0.0.1", "::1"])
def test_of_two_addresses_of_a_name_the_one_that_answers_is_used(
    monkeypatch: pytest.MonkeyPatch, order: tuple[str, str], answers: str
) -> None:
    resolver(monkeypatch, *order)
    family = socket.AF_INET6 if ":" in answers else socket.AF_INET
    with socket.create_server((answers, 0), family=family) as server:
        port = str(server.getsockname()[1])
        wanted = str(Endpoint(answers, port))
        assert reachable((f"tcp://both:{port}",)) == wanted
        assert reachable(("tcp://no-such-host.invalid:1", f"tcp://both:{port}")) == wanted
    assert bindable(Endpoint("both", "*"), "--bind").host == order[0]
    assert address_towards("tcp://both:9") == order[0]


@needs_v6
@pytest.mark.parametrize("order", [("203.0.113.7", "::1"), ("2001:db8::7", "127.0.0.1")])
def test_of_two_addresses_of_a_name_the_one_of_this_host_is_bound(
    monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    resolver(monkeypatch, *order)
    assert bindable(Endpoint("both", "*"), "--bind") == (order[1], "*")


@needs_v6
@pytest.mark.parametrize("text", ["::1", "[::1]", "0:0:0:0:0:0:0:1"])
def test_an_own_address_may_have_brackets(text: str) -> None:
    assert own_address(text, "--address") == "::1"
    assert free_port("::1") > 0


@needs_v6
def test_the_route_to_an_ipv6_address_starts_at_one() -> None:
    assert address_towards("tcp://[::1]:9") == "::1"
    assert address_towards("tcp://127.0.0.1:9") == "127.0.0.1"


@needs_v6
def test_a_listener_with_large_buffers_works_over_ipv6() -> None:
    descriptor = socket_buffers.listen("tcp://[::1]:*")
    if descriptor == -1:
        pytest.skip("this kernel grants no larger buffer")
    with socket.socket(fileno=descriptor) as listens:
        assert listens.getsockname()[0] == "::1"
        with socket.create_connection(listens.getsockname()[:2], 5):
            pass
