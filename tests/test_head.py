"""The head, with hosts that are no more than a key and a connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from coordinator import transport
from coordinator.cluster.agent import Agent, software
from coordinator.cluster.artifacts import ArtifactCollector
from coordinator.cluster.head import Head
from coordinator.cluster.registry import Registry
from coordinator.lifecycle.events import WorkerExited
from coordinator.transport import AgentTransport
from protocol import VERSION, Evaluated, Failed, Hello, Leave, Ping, Pong, RunError, ToCoordinator
from protocol.config import HEAD
from protocol.messages import Died, Enrol, Refused, ToAgent, Upload, Welcome
from protocol.security.keys import KeyPair
from protocol.security.token import Token
from protocol.transport import socket_set
from protocol.transport.curve import generate_keys
from tests.cluster_help import BIND, enrol_request
from tests.conftest import wait_until


class Cluster:
    """A head, what it reported, and hosts that have enrolled."""

    def __init__(self, folder: Path, uses: int = 60, upload_seconds: float = 0.3) -> None:
        self.reported: list[str] = []
        self.pings = 0
        self.received: list[ToCoordinator] = []
        self.keys = generate_keys()
        self.enrolment = generate_keys()
        stages = ("layer0", "layer1")
        self.registry = Registry(stages, self.enrolment.public, uses, software(), "clock")
        self.head = Head(
            BIND,
            self.registry,
            self.reported.append,
            self.keys,
            generate_keys(),
            upload_seconds=upload_seconds,
        )
        self.head.add_own_host("ada", 0, 1)
        self.folder = folder
        for name in ("trace", "logs"):
            (folder / name).mkdir()
        self.head.record_in(folder)
        self.stack = ExitStack()

    @property
    def token(self) -> Token:
        secret = bytes.fromhex(self.enrolment.secret)
        return Token((self.head.endpoint,), bytes.fromhex(self.keys.public), secret)

    def host(self, *workers: str) -> tuple[str, KeyPair]:
        """A host that has enrolled, with workers of one layer each; its name and its keys."""
        keys = generate_keys()
        answer = self.registry.enrol(enrol_request(keys), self.enrolment.public, 1e12)
        assert isinstance(answer, Welcome)
        self.registry.hosts[answer.name].workers = {w: frozenset({w}) for w in workers}
        return answer.name, keys

    def connect(self, keys: KeyPair) -> AgentTransport:
        made = AgentTransport(self.head.endpoint, keys, self.keys.public)
        self.stack.callback(made.close, 0)
        return made

    def until(self, condition: Callable[[], object], what: str) -> None:
        def held() -> object:
            self.received += self.head.poll(0.02)
            return condition()

        wait_until(held, what)

    def answer(self, line: AgentTransport) -> ToAgent:
        """The next message of the head on `line`."""
        found: list[ToAgent] = []

        def come() -> bool:
            found.extend(line.receive(0.01))
            return bool(found)

        self.until(come, "the head answers")
        return found[0]

    def wait_until_received(self, line: AgentTransport, name: str) -> None:
        """Wait until the head has received all that was sent on `line`."""
        self.pings += 1
        asked = self.pings
        line.send(Ping(name, asked))

        def answered() -> bool:
            return any(isinstance(m, Pong) and m.asked == asked for m in line.receive(0.01))

        self.until(answered, "an answer comes")


@pytest.fixture
def patient_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose head waits long for files."""
    made = Cluster(tmp_path, upload_seconds=20.0)
    with made.stack, closing(made.head):
        yield made


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    with made.stack, closing(made.head):
        yield made


def part(name: str, path: str, data: bytes, offset: int = 0, last: bool = True) -> Upload:
    return Upload(name, path, offset, last, np.frombuffer(data, np.uint8))


def test_fifty_agents_that_join_at_once_are_enrolled_once_each(cluster: Cluster) -> None:
    welcomes: list[str] = []

    def join() -> None:
        welcomes.append(Agent(cluster.token, 1, (), None, print).enrol().name)

    threads = [threading.Thread(target=join) for _ in range(50)]
    for thread in threads:
        thread.start()
    cluster.until(lambda: not any(thread.is_alive() for thread in threads), "all have an answer")
    assert sorted(welcomes) == sorted(f"host{n}" for n in range(1, 51))
    assert set(cluster.registry.hosts) == {HEAD, *welcomes}
    assert len({host.key for host in cluster.registry.hosts.values()}) == 51


def test_a_refusal_is_reported_on_both_sides_with_its_reason(cluster: Cluster) -> None:
    agent = Agent(cluster.token, 1, ("layer9",), None, print)
    found: list[str] = []

    def join() -> None:
        with pytest.raises(RunError, match="there is no layer9") as caught:
            agent.enrol()
        found.append(str(caught.value))

    thread = threading.Thread(target=join)
    thread.start()
    cluster.until(lambda: not thread.is_alive(), "it has an answer")
    assert found
    assert any("127.0.0.1: there is no layer9" in line for line in cluster.reported)


def test_fifty_requests_at_once_are_answered_with_fifty_names(cluster: Cluster) -> None:
    machines = [(cluster.connect(cluster.enrolment), generate_keys()) for _ in range(50)]
    for line, keys in machines:
        line.send(enrol_request(keys))
    answers = [cluster.answer(line) for line, _ in machines]
    names = {answer.name for answer in answers if isinstance(answer, Welcome)}
    assert len(names) == 50
    known = cluster.registry.hosts
    assert {known[name].key for name in names} == {keys.public for _, keys in machines}


def test_a_repeated_request_is_refused(cluster: Cluster) -> None:
    asked = enrol_request(generate_keys())
    answers = []
    for _ in range(2):
        line = cluster.connect(cluster.enrolment)
        line.send(asked)
        answers.append(cluster.answer(line))
        line.close(0)
    assert [type(answer) for answer in answers] == [Welcome, Refused]
    assert len(cluster.registry.hosts) == 2


def test_messages_in_the_name_of_another_host_are_ignored(
    cluster: Cluster,
) -> None:
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


def test_messages_of_an_agent_in_the_name_of_a_worker_are_ignored(cluster: Cluster) -> None:
    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(Died("layer0", "layer0", 0, 9, ""))
    line.send(part("layer0", "../x.log", b"x"))
    cluster.wait_until_received(line, "layer0")
    assert list(cluster.head.exits()) == []
    assert not cluster.registry.hosts[name].present


def test_a_name_belongs_to_its_key_and_not_to_the_first_connection(cluster: Cluster) -> None:
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


def test_a_host_keeps_its_names_on_a_new_connection(cluster: Cluster) -> None:
    _, keys = cluster.host("layer0")
    for _ in range(3):
        line = cluster.connect(keys)
        cluster.wait_until_received(line, "layer0")
        cluster.head.send("layer0", Leave())
        assert cluster.answer(line) == Leave()
        line.close(0)


def test_parts_of_a_file_are_joined_in_its_place(cluster: Cluster) -> None:
    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(part(name, "layer0.trace", b"one ", last=False))
    line.send(part(name, "layer0.log", b"words"))
    line.send(part(name, "layer0.messages", b"data"))
    cluster.wait_until_received(line, name)
    assert not (cluster.folder / "trace" / "layer0.trace").exists()
    line.send(part(name, "layer0.trace", b"two", offset=4))
    line.send(part(name, "layer0.trace", b"again"))
    cluster.wait_until_received(line, name)
    assert {path.name: path.read_bytes() for path in (cluster.folder / "trace").iterdir()} == {
        "layer0.trace": b"one two",
        "layer0.messages": b"data",
    }
    assert (cluster.folder / "logs" / "layer0.log").read_bytes() == b"words"


@pytest.mark.parametrize(
    "path",
    [
        "../layer0.trace",
        "/tmp/layer0.trace",
        "layer0.trace/../../x.log",
        "layer0.toml",
        "layer0",
        ".trace",
        "layer0.trace.trace",
        "layer0.trace\n",
        "layer0\0.trace",
        "layer1.trace",
        "x" * 300 + ".trace",
    ],
)
def test_a_file_that_no_worker_leaves_is_ignored(cluster: Cluster, path: str) -> None:
    before = {file for file in cluster.folder.parent.rglob("*") if file.name != "status.json"}
    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(part(name, path, b"bytes"))
    cluster.wait_until_received(line, name)
    after = {file for file in cluster.folder.parent.rglob("*") if file.name != "status.json"}
    assert before == after


def test_a_part_out_of_order_is_ignored_and_half_a_file_is_discarded(
    cluster: Cluster,
) -> None:
    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(part(name, "layer0.trace", b"middle", offset=3))
    line.send(part(name, "layer0.log", b"half", last=False))
    cluster.wait_until_received(line, name)
    cluster.head.close()
    assert [*(cluster.folder / "trace").iterdir(), *(cluster.folder / "logs").iterdir()] == []
    assert f"{name} did not send all of its traces and logs" in cluster.reported


def test_a_full_disk_loses_files_only(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(part(name, "layer0.trace", b"one", last=False))
    cluster.wait_until_received(line, name)
    assert len(list((cluster.folder / "trace").iterdir())) == 1
    monkeypatch.setattr(Path, "open", full)
    for _ in range(2):
        line.send(part(name, "layer0.trace", b"two", offset=3))
    line.send(Upload(name, "", 0, True, np.empty(0, np.uint8)))
    cluster.wait_until_received(line, name)
    place = cluster.folder / "trace" / "layer0.trace"
    told = [line for line in cluster.reported if "No space left on device" in line]
    assert list((cluster.folder / "trace").iterdir()) == []
    assert told == [f"{place}: No space left on device; the rest of the file is lost"]
    cluster.head.close()
    wait_until(lambda: Leave in map(type, line.receive(0.01)), "it may go")


def test_a_worker_that_connects_after_the_end_gets_leave(patient_cluster: Cluster) -> None:
    cluster = patient_cluster
    name, keys = cluster.host("layer0")
    agent, worker = cluster.connect(keys), cluster.connect(keys)
    cluster.wait_until_received(agent, name)
    worker.send(Hello("layer0", 1, VERSION, {}))  # type: ignore[arg-type]

    def go() -> None:
        wait_until(lambda: Leave in map(type, worker.receive(0.01)), "it may go")
        agent.send(Upload(name, "", 0, True, np.empty(0, np.uint8)))

    thread = threading.Thread(target=go)
    thread.start()
    cluster.head.close()
    thread.join()
    assert "did not send all" not in "".join(cluster.reported)


def test_last_messages_of_a_dead_worker_and_its_host_are_received(cluster: Cluster) -> None:
    name, keys = cluster.host("layer0")
    agent, worker = cluster.connect(keys), cluster.connect(keys)
    agent.send(Died(name, "layer0", 1, 0, "words"))
    cluster.wait_until_received(agent, name)
    assert list(cluster.head.exits()) == [WorkerExited("layer0", 1, "words")]
    last = Failed("layer0", 3, "error", "its last words")
    worker.send(last)  # type: ignore[arg-type]
    cluster.until(lambda: cluster.received == [last], "the worker was heard, though late")
    agent.send(part(name, "layer0.log", b"words"))
    cluster.wait_until_received(agent, name)
    assert (cluster.folder / "logs" / "layer0.log").exists()


def test_a_message_beyond_the_size_limit_is_dropped_and_others_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < socket_set.MAX_BYTES <= 1 << 31
    monkeypatch.setattr(socket_set, "MAX_BYTES", 10_000)
    cluster = Cluster(tmp_path)
    with cluster.stack, closing(cluster.head):
        name, keys = cluster.host("layer0")
        line = cluster.connect(keys)
        cluster.wait_until_received(line, name)
        line.send(part(name, "layer0.trace", b"x" * 20_000))

        def back() -> bool:
            line.send(Ping(name, 0))
            return any(isinstance(m, Pong) and m.asked == 0 for m in line.receive(0.05))

        cluster.until(back, "it has come back, or was never sent away")
        line.send(part(name, "layer0.log", b"x" * 5_000))
        cluster.wait_until_received(line, name)
        assert (tmp_path / "logs" / "layer0.log").stat().st_size == 5_000
        assert list((tmp_path / "trace").iterdir()) == []


def test_one_poll_handles_a_limited_number_of_messages(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_PER_POLL", 10)
    name, keys = cluster.host()
    line = cluster.connect(keys)
    cluster.wait_until_received(line, name)
    for number in range(100):
        line.send(Enrol(VERSION, "", "", "", "", number, 1, ()))
    most = 0
    cluster.until(lambda: len(cluster.reported) > 1, "the first came")
    while len(cluster.reported) < 101:
        before = len(cluster.reported)
        list(cluster.head.poll(0.02))
        most = max(most, len(cluster.reported) - before)
    assert 0 < most <= 10


def test_messages_of_a_refused_peer_are_dropped(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    line = cluster.connect(generate_keys())

    def tell() -> bool:
        for number in range(10):
            line.send(Ping("nobody", number))
        return "refused a connection" in capsys.readouterr().err

    cluster.until(tell, "it was refused")
    for _ in range(20):
        list(cluster.head.poll(0.01))
        tell()
    assert cluster.received == []


def test_only_valid_parts_prolong_the_wait_for_files(tmp_path: Path) -> None:
    (tmp_path / "trace").mkdir()
    artifacts = ArtifactCollector(print)
    artifacts.last_part = 0.0
    refused = (
        part("host1", "layer1.trace", b"another's"),
        part("host1", "layer0.exe", b"of no kind"),
        part("host1", "layer0.trace", b"not the first", offset=3),
    )
    for message in refused:
        artifacts.add(tmp_path, message, {"layer0"})
    assert artifacts.last_part == 0.0
    artifacts.add(tmp_path, part("host1", "layer0.trace", b"its own"), {"layer0"})
    assert artifacts.last_part > 0.0
    assert [path.name for path in (tmp_path / "trace").iterdir()] == ["layer0.trace"]
