"""Peers without a key of the run, or with a revoked key, have no access, and training goes on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from protocol import Ping
from protocol.messages import Refused
from protocol.security.keys import KeyPair
from protocol.transport.curve import generate_keys, keys_from_secret
from tests.cluster_help import (
    Cluster,
    agent_transport,
    enrol,
    enrol_request,
    listening_addresses,
    loopback_cluster,
    next_message,
    port,
    raw_reply,
    status_hosts,
    token,
    until_learning,
)
from tests.forked import AGENT

if TYPE_CHECKING:
    from tests.dni import Dni, Training

pytestmark = pytest.mark.slow

LATE = 25.0
NOT_ENROLLED = "its key is not enrolled in this run"
NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
TWO_GIB = b"\x02" + (2**31).to_bytes(8, "big")
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
FOREIGN_BYTES = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
    b"\x00" * 4096,
    b"\xff" * 4096,
    NULL_GREETING + READY + TWO_GIB + b"x" * 4096,
    CURVE_GREETING + TWO_GIB + b"x" * 4096,
)


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as found:
        yield found


def assert_trains_on(cluster: Cluster, head: Training) -> None:
    """The run trains on, and `dni stop` ends it with the weights of all layers."""
    until_learning(cluster, head)
    assert cluster.dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130, head.text
    assert head.summary()["outcome"] == "interrupted"
    assert "Traceback" not in head.text
    assert {path.stem for path in (head.folder / "weights").iterdir()} == {
        *("layer0", "layer1", "layer2")
    }


def assert_refused(cluster: Cluster, head: Training, keys: KeyPair) -> None:
    """The head refuses `keys`, prints a warning, and answers none of their messages."""
    before = head.text.count(NOT_ENROLLED)
    with agent_transport(head, keys) as connection:
        connection.send(enrol_request(generate_keys()))
        connection.send(Ping("host9", 1))
        cluster.dni.until(
            lambda: head.text.count(NOT_ENROLLED) > before,
            "the head has refused the key",
        )
        assert list(connection.receive(0.3)) == []
    assert f"refused a connection from 127.0.0.1 to the head: {NOT_ENROLLED}" in head.text
    assert "host9" not in status_hosts(head)


def test_a_key_of_another_run_is_refused(cluster: Cluster) -> None:
    head, _ = cluster.train()
    other = cluster.up("--workers", "1", run_dir="other")
    assert_refused(cluster, head, generate_keys())
    assert_refused(cluster, head, keys_from_secret(token(other).secret))
    other.signal(2)
    assert other.end(LATE) == 130
    assert_trains_on(cluster, head)
    assert cluster.exit_codes() == [0, 0, 0]


def test_a_token_without_joins_left_is_refused(cluster: Cluster) -> None:
    cluster.dni.limits[AGENT] = {"enrol_seconds": 1.0}
    head, _ = cluster.train("--joins", "3")
    late = cluster.join(head)
    assert_refused(cluster, head, keys_from_secret(token(head).secret))
    assert late.process.wait(LATE) == 2
    assert "no answer within 1 s" in late.text
    assert "used up" in late.text
    assert len(status_hosts(head)) == 4
    assert_trains_on(cluster, head)


def test_a_revoked_host_in_reserve_leaves_within_a_second(cluster: Cluster) -> None:
    head, _ = cluster.train()
    late = cluster.reserve(head)
    assert cluster.dni("revoke", "run", late.name).returncode == 0
    began = time.monotonic()
    cluster.dni.until(lambda: f"{late.name} (" in head.text, "the host is out")
    assert time.monotonic() - began < 1.0
    assert late.process.wait(LATE) == 1
    assert time.monotonic() - began < 3.0
    assert "is out: its key was revoked" in head.text
    assert "the head refuses: its key was revoked" in late.text
    assert "no such host" in cluster.dni("revoke", "run", "host77").stderr
    assert cluster.dni("revoke", "run", "head").returncode == 2
    assert_trains_on(cluster, head)


def test_a_run_ends_when_a_host_with_a_layer_is_revoked(cluster: Cluster) -> None:
    head, at = cluster.train()
    victim = at["layer1"]
    assert cluster.dni("revoke", "run", victim.name).returncode == 0
    began = time.monotonic()
    cluster.dni.until(lambda: (head.folder / "summary.json").exists(), "the run is over")
    assert time.monotonic() - began < 2.0
    assert head.end(LATE) == 1
    failure = head.summary()["failure"]
    assert failure == f"layer1 is gone: {victim.name}, its key was revoked"
    assert {path.stem for path in (head.folder / "weights").iterdir()} == {"layer0", "layer2"}
    assert [at[layer].process.wait(LATE) for layer in ("layer0", "layer1", "layer2")] == [0, 1, 0]
    cluster.dni.nothing_left()


def listeners(cluster: Cluster, head: Training) -> dict[str, list[tuple[str, int]]]:
    """The addresses at which the head, the agents and the workers listen, by name."""
    assert head.find_family() or head.family
    found = {"head": listening_addresses(psutil.Process(head.process.pid))}
    found["source"] = listening_addresses(head.family["source"])
    for host in cluster.hosts:
        found[host.name] = listening_addresses(psutil.Process(host.process.pid))
        found |= {name: listening_addresses(worker) for name, worker in host.workers().items()}
    return found


def test_every_process_listens_at_the_given_address_only(
    cluster: Cluster,
) -> None:
    head, _ = cluster.train()
    found = listeners(cluster, head)
    assert {ip for places in found.values() for ip, _ in places} == {"127.0.0.1"}
    assert found["head"] == [("127.0.0.1", port(token(head).addresses[0]))]
    counts = {name: len(places) for name, places in found.items() if places}
    assert counts == {"head": 1, "source": 1, "layer0": 2, "layer1": 2, "layer2": 1}
    assert_trains_on(cluster, head)


def test_foreign_bytes_at_any_socket_are_dropped(
    cluster: Cluster,
) -> None:
    head, _ = cluster.train()
    found = listeners(cluster, head)
    for _, number in (*found["head"], *found["source"], *found["layer1"]):
        for data in FOREIGN_BYTES:
            assert len(raw_reply(number, data)) <= 256
    assert_trains_on(cluster, head)
    assert cluster.exit_codes() == [0, 0, 0]


def test_a_peer_without_encryption_is_refused_at_every_socket(cluster: Cluster) -> None:
    head, _ = cluster.train()
    found = listeners(cluster, head)
    with zmq.Context() as context:
        for _, number in (*found["head"], *found["layer1"]):
            plain = context.socket(zmq.DEALER)
            monitor = plain.get_monitor_socket(
                zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            )
            plain.linger = 0
            plain.connect(f"tcp://127.0.0.1:{number}")
            plain.send(b"anybody there?")
            events = {recv_monitor_message(monitor)["event"]} if monitor.poll(1000) else set()
            assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in events
            plain.disable_monitor()
            plain.close()
            monitor.close()
    assert_trains_on(cluster, head)
    assert cluster.exit_codes() == [0, 0, 0]


def test_a_peer_that_never_reads_and_one_that_never_sends_do_no_harm(
    cluster: Cluster,
) -> None:
    head, _ = cluster.train()
    keys = generate_keys()
    name = enrol(cluster, head, keys)
    with (
        agent_transport(head, keys) as connection,
        closing(socket.create_connection(("127.0.0.1", port(token(head).addresses[0])))),
    ):
        for number in range(20_000):
            connection.send(Ping(name, number))
        until_learning(cluster, head)
        assert next_message(cluster, connection) is not None
        assert cluster.dni("revoke", "run", name).returncode == 0
        answers: list[object] = []

        def revoked() -> bool:
            answers.extend(connection.receive(0.1))
            return Refused("its key was revoked") in answers

        cluster.dni.until(revoked, "the head answers that the key is revoked")
        assert_trains_on(cluster, head)
    assert cluster.exit_codes() == [0, 0, 0]
