"""Whoever has no key of the run is not let in, whoever lost it is out, and training goes on."""

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
from tests.several_help import (
    Several,
    enrolled,
    heard,
    learning,
    listening,
    machines,
    port,
    raw,
    request,
    speaking,
    standing,
    token,
)

if TYPE_CHECKING:
    from tests.conftest import Dni, Training

pytestmark = pytest.mark.slow

LATE = 25.0
NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
TWO_GIB = b"\x02" + (2**31).to_bytes(8, "big")
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
NONSENSE = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
    b"\x00" * 4096,
    b"\xff" * 4096,
    NULL_GREETING + READY + TWO_GIB + b"x" * 4096,
    CURVE_GREETING + TWO_GIB + b"x" * 4096,
)


@pytest.fixture
def several(dni: Dni) -> Iterator[Several]:
    with machines(dni) as found:
        yield found


def undisturbed(several: Several, head: Training) -> None:
    """It trains, nobody else is there, and it ends as it should."""
    learning(several, head)
    assert several.dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130, head.text
    assert head.summary()["outcome"] == "interrupted"
    assert "Traceback" not in head.text
    assert {path.stem for path in (head.folder / "weights").iterdir()} == {
        *("layer0", "layer1", "layer2")
    }


def refused(several: Several, head: Training, keys: KeyPair) -> None:
    """The head does not let `keys` in, says so, and nothing of what they say is answered."""
    before = head.text.count("its key is not enrolled in this run")
    with speaking(head, keys) as line:
        line.send(request(generate_keys()))
        line.send(Ping("host9", 1))
        several.dni.until(
            lambda: head.text.count("its key is not enrolled in this run") > before, "it is refused"
        )
        assert list(line.receive(0.3)) == []
    assert (
        "refused a connection from 127.0.0.1 to the head: its key is not enrolled in this run"
        in head.text
    )
    assert "host9" not in standing(head)


def test_who_has_no_key_of_this_run_is_not_let_in(several: Several) -> None:
    head, _ = several.train()
    other = several.up("--workers", "1", run_dir="other")
    refused(several, head, generate_keys())
    refused(several, head, keys_from_secret(token(other).secret))
    other.signal(2)
    assert other.end(LATE) == 130
    undisturbed(several, head)
    assert several.ends() == [0, 0, 0]


def test_a_token_that_is_used_up_lets_nobody_in(several: Several) -> None:
    head, _ = several.train("--joins", "3")
    late = several.join(head)
    refused(several, head, keys_from_secret(token(head).secret))
    assert late.process.wait(LATE) == 2
    assert "no answer within 10 s" in late.text
    assert "used up" in late.text
    assert len(standing(head)) == 4
    undisturbed(several, head)


def test_a_reserve_that_is_revoked_is_out_within_a_second(several: Several) -> None:
    head, _ = several.train()
    late = several.reserve(head)
    assert several.dni("revoke", "run", late.name).returncode == 0
    began = time.monotonic()
    several.dni.until(lambda: f"{late.name} (" in head.text, "it is out")
    assert time.monotonic() - began < 1.0
    assert late.process.wait(LATE) == 1
    assert time.monotonic() - began < 3.0
    assert "is out: its key was revoked" in head.text
    assert "the head refuses: its key was revoked" in late.text
    assert "no such machine" in several.dni("revoke", "run", "host77").stderr
    assert several.dni("revoke", "run", "head").returncode == 2
    undisturbed(several, head)


def test_a_run_ends_when_a_machine_that_it_needs_is_revoked(several: Several) -> None:
    head, at = several.train()
    victim = at["layer1"]
    assert several.dni("revoke", "run", victim.name).returncode == 0
    began = time.monotonic()
    several.dni.until(lambda: (head.folder / "summary.json").exists(), "the run is over")
    assert time.monotonic() - began < 2.0
    assert head.end(LATE) == 1
    failure = head.summary()["failure"]
    assert failure == f"layer1 is gone: {victim.name}, its key was revoked"
    assert {path.stem for path in (head.folder / "weights").iterdir()} == {"layer0", "layer2"}
    assert [at[layer].process.wait(LATE) for layer in ("layer0", "layer1", "layer2")] == [0, 1, 0]
    several.dni.nothing_left()


def doors(several: Several, head: Training) -> dict[str, list[tuple[str, int]]]:
    """Where the head and all workers listen, by who."""
    assert head.find_family() or head.family
    found = {"head": listening(psutil.Process(head.process.pid))}
    found["source"] = listening(head.family["source"])
    for machine in several.machines:
        found[machine.name] = listening(psutil.Process(machine.process.pid))
        found |= {name: listening(worker) for name, worker in machine.workers().items()}
    return found


def test_nobody_listens_anywhere_but_at_the_address_that_was_given(several: Several) -> None:
    head, _ = several.train()
    found = doors(several, head)
    assert {ip for places in found.values() for ip, _ in places} == {"127.0.0.1"}
    assert found["head"] == [("127.0.0.1", port(token(head).addresses[0]))]
    counts = {name: len(places) for name, places in found.items() if places}
    assert counts == {"head": 1, "source": 1, "layer0": 2, "layer1": 2, "layer2": 1}
    undisturbed(several, head)


def test_bytes_that_are_no_words_of_ours_do_not_disturb_at_any_door(several: Several) -> None:
    head, _ = several.train()
    found = doors(several, head)
    for _, number in (*found["head"], *found["source"], *found["layer1"]):
        for nonsense in NONSENSE:
            assert len(raw(number, nonsense)) <= 256
    undisturbed(several, head)
    assert several.ends() == [0, 0, 0]


def test_who_speaks_plain_text_gets_past_no_door(several: Several) -> None:
    head, _ = several.train()
    found = doors(several, head)
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
    undisturbed(several, head)
    assert several.ends() == [0, 0, 0]


def test_a_peer_that_never_reads_and_one_that_never_speaks_do_not_disturb(
    several: Several,
) -> None:
    head, _ = several.train()
    keys = generate_keys()
    name = enrolled(several, head, keys)
    with (
        speaking(head, keys) as line,
        closing(socket.create_connection(("127.0.0.1", port(token(head).addresses[0])))),
    ):
        for number in range(20_000):
            line.send(Ping(name, number))
        learning(several, head)
        assert heard(several, line) is not None
        assert several.dni("revoke", "run", name).returncode == 0
        answers: list[object] = []

        def told() -> bool:
            answers.extend(line.receive(0.1))
            return Refused("its key was revoked") in answers

        several.dni.until(told, "it is told that it is out")
        undisturbed(several, head)
    assert several.ends() == [0, 0, 0]
