"""A worker's doors where machines are several: each lets in who is at the far end, and says who
else came."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from protocol import Credit, Edge, Message
from protocol.security.keys import PLAIN, KeyPair
from protocol.transport import socket_set
from protocol.transport.curve import generate_keys
from tests.conftest import wait_until
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


def comes(
    layer1: WorkerTransport, edge: Edge, keys: KeyPair, err: pytest.CaptureFixture[str], head: str
) -> list[Message]:
    """What arrives over `edge` when who has `keys` speaks, or nothing when it was refused."""
    door = layer1.bind(edge, "tcp://127.0.0.1:*")
    found: list[Message] = []
    with worker(keys, {str(edge): HERE.public}, head) as peer:
        peer.connect(edge, door, 1)
        peer.send(edge, Credit(7))
        words: list[str] = []

        def settled() -> bool:
            found.extend(message for _, message in layer1.poll(0.02))
            words.append(err.readouterr().err)
            return bool(found) or "refused" in "".join(words)

        wait_until(settled, "it is heard or refused")
    if not found:
        assert (
            f"refused a connection from 127.0.0.1 to {edge}: its key is not enrolled in this run"
            in "".join(words)
        )
    return found


def test_who_is_at_the_far_end_is_heard(
    layer1: WorkerTransport, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert comes(layer1, UP, BELOW, capsys, head) == [Credit(7)]
    assert comes(layer1, DOWN, ABOVE, capsys, head) == [Credit(7)]


@pytest.mark.parametrize("theirs", [PLAIN, HEAD.public], ids=["plain", "encrypted"])
def test_who_wants_it_otherwise_is_not_heard(theirs: str) -> None:
    """Nobody can talk a worker out of encryption, or another into it."""
    mine = HEAD.public if theirs == PLAIN else PLAIN
    with worker(HERE, PEERS, mine) as made, worker(BELOW, PEERS, theirs) as peer:
        peer.connect(UP, made.bind(UP, "tcp://127.0.0.1:*"), 1)
        peer.send(UP, Credit(7))
        for _ in range(20):
            assert list(made.poll(0.02)) == []


@pytest.mark.parametrize(
    "keys", [ABOVE, HERE, HEAD, generate_keys()], ids=["above", "here", "head", "stranger"]
)
def test_nobody_else_is_also_where_it_belongs_to_the_run(
    layer1: WorkerTransport, head: str, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert comes(layer1, UP, keys, capsys, head) == []


def test_an_edge_that_nobody_told_of_is_open_to_nobody(
    head: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with worker(HERE, {}, head) as made:
        assert comes(made, UP, BELOW, capsys, head) == []


def test_who_takes_anothers_place_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker connects only to a door whose owner has the key that it was told."""
    with worker(generate_keys(), PEERS) as impostor:
        door = impostor.bind(UP, "tcp://127.0.0.1:*")
        with worker(BELOW, {str(UP): HERE.public}) as peer:
            peer.connect(UP, door, 1)
            peer.send(UP, Credit(7), "float32")
            for _ in range(20):
                assert list(impostor.poll(0.02)) == []
    assert "refused" not in capsys.readouterr().err


def test_a_message_beyond_the_limit_does_not_come_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 < socket_set.MAX_BYTES <= 1 << 31
    monkeypatch.setattr(socket_set, "MAX_BYTES", 4)
    with worker(HERE, PEERS) as made:
        door = made.bind(UP, "tcp://127.0.0.1:*")
        with worker(BELOW, {str(UP): HERE.public}) as peer:
            peer.connect(UP, door, 1)
            peer.send(UP, Credit(7), "float32")
            for _ in range(20):
                assert list(made.poll(0.02)) == []
    assert capsys.readouterr().err == ""
