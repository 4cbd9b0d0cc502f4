"""Runs over IPv6, and errors about addresses on the command line."""

from __future__ import annotations

import json

import pytest

from protocol.security.token import Token
from protocol.transport.curve import generate_keys
from tests.cluster_help import loopback_cluster, token_text
from tests.dni import Dni
from tests.ipv6 import needs_v6

LATE = 60.0


@needs_v6
@pytest.mark.slow
@pytest.mark.parametrize(
    ("bind", "arguments", "join"),
    [
        ("tcp://[::1]:*", (), ()),
        ("tcp://[::1]:*", ("--insecure",), ("--address", "[::1]")),
        ("tcp://::1:*", ("--workers", "2"), ("--address", "::1", "--slots", "2")),
    ],
)
def test_a_run_works_over_ipv6(
    dni: Dni, bind: str, arguments: tuple[str, ...], join: tuple[str, ...]
) -> None:
    with loopback_cluster(dni) as cluster:
        head = cluster.up(*arguments, bind=bind)
        assert Token.parse(token_text(head)).addresses[0].startswith("tcp://[::1]:")
        doctor = dni("doctor", token_text(head), *join[:2], "--json")
        assert all(finding["passed"] for finding in json.loads(doctor.stdout)), doctor.stdout
        for _ in range(1 if "--slots" in join else 3):
            cluster.join(head, *join)
        assert head.end(LATE) == 0, head.text
        assert set(cluster.exit_codes()) == {0}
    assert " at ::1, " in head.text
    assert not (head.folder / "logs").exists()
    dni.nothing_left()


@pytest.mark.parametrize(
    ("bind", "reason"),
    [
        ("tcp://no-such-host.invalid:5701", "unknown host"),
        ("tcp://[2001:db8::7]:*", "not an address of this host"),
        ("tcp://[::]:5701", "every address"),
        ("tcp://127.0.0.1:port", "port must be"),
    ],
)
def test_a_bad_address_is_an_error_of_one_line_with_status_2(
    dni: Dni, bind: str, reason: str
) -> None:
    ran = dni("up", "tiny.toml", "--bind", bind)
    assert ran.returncode == 2
    (text,) = ran.stderr.splitlines()
    assert text.startswith("Error: --bind: ")
    assert reason in text
    assert not (dni.home / "runs").exists()


def test_a_host_with_an_invalid_own_address_does_not_join(dni: Dni) -> None:
    keys = generate_keys()
    token = Token(("tcp://127.0.0.1:9",), bytes.fromhex(keys.public), bytes.fromhex(keys.secret))
    for address, reason in (
        ("203.0.113.7", "not an address of this host"),
        ("x.invalid", "unknown host"),
    ):
        ran = dni("join", str(token), "--address", address)
        assert ran.returncode == 2
        assert "--address: " in ran.stderr
        assert reason in ran.stderr
