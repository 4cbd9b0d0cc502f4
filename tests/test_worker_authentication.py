"""Inboxes of a worker in a cluster accept their neighbour and refuse and report everybody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from protocol import Credit, Edge, Message
from protocol.security.keys import PLAIN, KeyPair
from protocol.transport import socket_set
from protocol.transport.curve import generate_keys
from tests.dni import wait_until
from workers.transport.transport import WorkerKeys, WorkerTransport

UP, DOWN = Edge("layer0", "layer1"), Edge("layer2", "layer1")
HERE, BELOW, ABOVE, HEAD = (generate_keys() for _ in range(4))
PEERS = {str(UP): BELOW.public, str(DOWN): ABOVE.public}


@contextmanager
def worker(
    keys: KeyPair, peers: dict[str, str], head: str = HEAD.public
) -> Iterator[WorkerTransport]:
    lifeline, other = os.pipe()
    made = WorkerTransport("tcp://127.0.0.1:9", lifeline, WorkerKeys(*keys, head, peers))
    try:
        yield made
    finally:
        made.close(flush=False)
        os.close(lifeline)
        os.close(other)


@pytest.fixture(params=[HEAD.public, PLAIN], ids=["encrypted", "plain"])
def head(request: pytest.FixtureRequest) -> str:
    """The coordinator's public key, if it has one."""
    return str(request.param)


@pytest.fixture
def layer1(head: str) -> Iterator[WorkerTransport]:
    with worker(HERE, PEERS, head) as made:
        yield made


def received(
    layer1: WorkerTransport, edge: Edge, keys: KeyPair, err: pytest.CaptureFixture[str], head: str
) -> list[Message]:
    """The messages that arrive over `edge` from a peer with `keys`; none if it is refused."""
    endpoint = layer1.bind(edge, "tcp://127.0.0.1:*")
    found: list[Message] = []
    with worker(keys, {str(edge): HERE.public}, head) as peer:
        peer.connect(edge, endpoint, 1)
        peer.send(edge, Credit(7))
        warnings: list[str] = []

        def is_decided() -> bool:
            found.extend(message for _, message in layer1.poll(0.02))
            warnings.append(err.readouterr().err)
            return bool(found) or "refused" in "".join(warnings)

        wait_until(is_decided, "a message arrives or is refused")
    if not found:
        assert (
            f"refused a connection from 127.0.0.1 to {edge}: its key is not enrolled in this run"
            in "".join(warnings)
        )
    return found


def test_messages_of_the_neighbour_arrive(
    layer1: WorkerTransport, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert received(layer1, UP, BELOW, capsys, head) == [Credit(7)]
    assert received(layer1, DOWN, ABOVE, capsys, head) == [Credit(7)]


@pytest.mark.parametrize("theirs", [PLAIN, HEAD.public], ids=["plain", "encrypted"])
def test_encrypted_and_plain_workers_do_not_connect(theirs: str) -> None:
    """A peer cannot switch the encryption of a worker off or on."""
    mine = HEAD.public if theirs == PLAIN else PLAIN
    with worker(HERE, PEERS, mine) as made, worker(BELOW, PEERS, theirs) as peer:
        peer.connect(UP, made.bind(UP, "tcp://127.0.0.1:*"), 1)
        peer.send(UP, Credit(7))
        for _ in range(20):
            assert list(made.poll(0.02)) == []


@pytest.mark.parametrize(
    "keys", [ABOVE, HERE, HEAD, generate_keys()], ids=["above", "here", "head", "stranger"]
)
def test_other_keys_are_refused_even_if_they_belong_to_the_run(
    layer1: WorkerTransport, head: str, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert received(layer1, UP, keys, capsys, head) == []


def test_an_edge_without_a_key_accepts_nobody(
    head: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with worker(HERE, {}, head) as made:
        assert received(made, UP, BELOW, capsys, head) == []


def test_an_impostor_at_the_endpoint_receives_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker connects only to an inbox whose owner has the expected key."""
    with worker(generate_keys(), PEERS) as impostor:
        endpoint = impostor.bind(UP, "tcp://127.0.0.1:*")
        with worker(BELOW, {str(UP): HERE.public}) as peer:
            peer.connect(UP, endpoint, 1)
            peer.send(UP, Credit(7), "float32")
            for _ in range(20):
                assert list(impostor.poll(0.02)) == []
    assert "refused" not in capsys.readouterr().err


def test_a_frame_above_the_limit_is_not_received(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 < socket_set.MAX_BYTES <= 1 << 31
    monkeypatch.setattr(socket_set, "MAX_BYTES", 4)
    with worker(HERE, PEERS) as made:
        endpoint = made.bind(UP, "tcp://127.0.0.1:*")
        with worker(BELOW, {str(UP): HERE.public}) as peer:
            peer.connect(UP, endpoint, 1)
            peer.send(UP, Credit(7), "float32")
            for _ in range(20):
                assert list(made.poll(0.02)) == []
    assert capsys.readouterr().err == ""
