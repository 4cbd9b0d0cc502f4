"""The head: who may enrol and send, with hosts that are no more than a key and a connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from coordinator import transport
from coordinator.cluster.agent import Agent
from protocol import VERSION, Evaluated, Failed, Hello, Leave, Ping, RunError
from protocol.config import HEAD
from protocol.errors import LostError
from protocol.messages import Died, Enrol, Refused, Upload, Welcome
from protocol.transport.curve import generate_keys
from tests.cluster_help import enrol_request
from tests.head_help import HeadWithHosts, head_with_hosts, part


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[HeadWithHosts]:
    with head_with_hosts(tmp_path) as found:
        yield found


def test_fifty_agents_that_join_at_once_are_enrolled_once_each(cluster: HeadWithHosts) -> None:
    welcomes: list[str] = []

    def join() -> None:
        welcomes.append(Agent(cluster.token, 1, (), None, print).enrol().name)

    threads = [threading.Thread(target=join) for _ in range(50)]
    for thread in threads:
        thread.start()
    cluster.until(
        lambda: not any(thread.is_alive() for thread in threads), "all agents have an answer"
    )
    assert sorted(welcomes) == sorted(f"host{n}" for n in range(1, 51))
    assert set(cluster.registry.hosts) == {HEAD, *welcomes}
    assert len({host.key for host in cluster.registry.hosts.values()}) == 51


def test_an_agent_whose_lifeline_closes_does_not_wait_for_the_answer_of_the_head(
    cluster: HeadWithHosts,
) -> None:
    agent = Agent(cluster.token, 1, (), None, print, lifeline_closed=lambda: True)
    with pytest.raises(LostError, match="the process that started this agent has ended"):
        agent.enrol()


def test_a_refusal_is_reported_on_both_sides_with_its_reason(cluster: HeadWithHosts) -> None:
    agent = Agent(cluster.token, 1, ("layer9",), None, print)
    found: list[str] = []

    def join() -> None:
        with pytest.raises(RunError, match="there is no layer9") as caught:
            agent.enrol()
        found.append(str(caught.value))

    thread = threading.Thread(target=join)
    thread.start()
    cluster.until(lambda: not thread.is_alive(), "the head has answered")
    assert found
    assert any("127.0.0.1: there is no layer9" in line for line in cluster.reported)


def test_fifty_requests_at_once_are_answered_with_fifty_names(cluster: HeadWithHosts) -> None:
    hosts = [(cluster.connect(cluster.enrolment), generate_keys()) for _ in range(50)]
    for line, keys in hosts:
        line.send(enrol_request(keys))
    answers = [cluster.answer(line) for line, _ in hosts]
    names = {answer.name for answer in answers if isinstance(answer, Welcome)}
    assert len(names) == 50
    known = cluster.registry.hosts
    assert {known[name].key for name in names} == {keys.public for _, keys in hosts}


def test_a_repeated_request_is_refused(cluster: HeadWithHosts) -> None:
    request = enrol_request(generate_keys())
    answers = []
    for _ in range(2):
        line = cluster.connect(cluster.enrolment)
        line.send(request)
        answers.append(cluster.answer(line))
        line.close(0)
    assert [type(answer) for answer in answers] == [Welcome, Refused]
    assert len(cluster.registry.hosts) == 2


def test_messages_in_the_name_of_another_host_are_ignored(cluster: HeadWithHosts) -> None:
    victim, _ = cluster.host("layer0", "layer1")
    name, keys = cluster.host()
    line = cluster.connect(keys)
    empty = np.empty(0, np.uint8)
    line.send(Died(victim, "layer0", 0, 9, "spoofed"))
    line.send(Died(name, "layer0", 0, 9, "spoofed"))
    line.send(Ping(victim, 1))
    line.send(part(victim, "layer0.trace", b"spoofed"))
    line.send(part(name, "layer0.trace", b"spoofed"))
    line.send(part(name, f"{name}.log", b"spoofed"))
    line.send(Upload(victim, "", 0, True, empty))
    for message in (
        Failed("layer0", 1, "error", "spoofed"),
        Hello("layer0", 1, VERSION, {}),
        Evaluated("layer1", 1, 0.5, 1, 2),
    ):
        line.send(message)  # type: ignore[arg-type]
    cluster.wait_until_received(line, name)
    assert cluster.received == []
    assert list(cluster.head.exits()) == []
    assert not cluster.registry.hosts[victim].present
    assert cluster.registry.hosts[name].present
    assert [*(cluster.folder / "trace").iterdir(), *(cluster.folder / "logs").iterdir()] == []


def test_messages_of_an_agent_in_the_name_of_a_worker_are_ignored(cluster: HeadWithHosts) -> None:
    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(Died("layer0", "layer0", 0, 9, ""))
    line.send(part("layer0", "../x.log", b"x"))
    cluster.wait_until_received(line, "layer0")
    assert list(cluster.head.exits()) == []
    assert not cluster.registry.hosts[name].present


def test_a_name_belongs_to_its_key_and_not_to_the_first_connection(cluster: HeadWithHosts) -> None:
    _, keys = cluster.host("layer0")
    name, others = cluster.host()
    thief, line = cluster.connect(others), cluster.connect(keys)
    for message in (Hello("layer0", 1, VERSION, {}), Ping("layer0", 1)):
        thief.send(message)  # type: ignore[arg-type]
    cluster.wait_until_received(thief, name)
    cluster.wait_until_received(line, "layer0")
    cluster.head.send("layer0", Leave())
    assert cluster.answer(line) == Leave()
    assert list(thief.receive(0)) == []


def test_a_host_keeps_its_names_on_a_new_connection(cluster: HeadWithHosts) -> None:
    _, keys = cluster.host("layer0")
    for _ in range(3):
        line = cluster.connect(keys)
        cluster.wait_until_received(line, "layer0")
        cluster.head.send("layer0", Leave())
        assert cluster.answer(line) == Leave()
        line.close(0)


def test_one_poll_handles_a_limited_number_of_messages(
    cluster: HeadWithHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_PER_POLL", 10)
    name, keys = cluster.host()
    line = cluster.connect(keys)
    cluster.wait_until_received(line, name)
    for number in range(100):
        line.send(Enrol(VERSION, "", "", "", "", number, 1, ()))
    most = 0
    cluster.until(lambda: len(cluster.reported) > 1, "the head has received some")
    while len(cluster.reported) < 101:
        before = len(cluster.reported)
        list(cluster.head.poll(0.02))
        most = max(most, len(cluster.reported) - before)
    assert 0 < most <= 10


def test_messages_of_a_refused_peer_are_dropped(
    cluster: HeadWithHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    line = cluster.connect(generate_keys())

    def send() -> bool:
        for number in range(10):
            line.send(Ping("nobody", number))
        return "refused a connection" in capsys.readouterr().err

    cluster.until(send, "the head refuses it")
    for _ in range(20):
        list(cluster.head.poll(0.01))
        send()
    assert cluster.received == []
