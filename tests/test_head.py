"""The head alone, with machines that are no more than a key and a line to it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from coordinator import transport
from coordinator.cluster import head as heads
from coordinator.cluster.agent import Agent, software
from coordinator.cluster.artifacts import Uploads
from coordinator.cluster.head import Head
from coordinator.cluster.registry import Registry
from coordinator.control.tables import host_table
from coordinator.lifecycle.events import WorkerExited
from coordinator.transport import AgentTransport
from protocol import VERSION, Evaluated, Failed, Hello, Leave, Ping, Pong, RunError, ToCoordinator
from protocol.messages import Died, Enrol, Refused, ToAgent, Upload, Welcome
from protocol.pipeline import HEAD
from protocol.security.keys import KeyPair
from protocol.security.token import Token
from protocol.transport import socket_set
from protocol.transport.curve import generate_keys
from tests.cluster_help import BIND, enrol_request
from tests.conftest import wait_until


class House:
    """A head, what it told people, and the keys of machines that are enrolled there."""

    def __init__(self, folder: Path, uses: int = 60) -> None:
        self.said: list[str] = []
        self.pings = 0
        self.heard: list[ToCoordinator] = []
        self.keys = generate_keys()
        self.enrolment = generate_keys()
        cores = ("layer0", "layer1")
        self.registry = Registry(cores, self.enrolment.public, uses, software(), "clock")
        self.head = Head(BIND, self.registry, self.keys, generate_keys(), self.said.append)
        self.folder = folder
        for name in ("trace", "logs"):
            (folder / name).mkdir()
        self.head.begin(folder)
        self.stack = ExitStack()

    @property
    def token(self) -> Token:
        secret = bytes.fromhex(self.enrolment.secret)
        return Token((self.head.endpoint,), bytes.fromhex(self.keys.public), secret)

    def machine(self, *workers: str) -> tuple[str, KeyPair]:
        """One that is enrolled, with workers of a layer each."""
        keys = generate_keys()
        answer = self.registry.enrol(enrol_request(keys), self.enrolment.public, 1e12)
        assert isinstance(answer, Welcome)
        self.registry.agents[answer.name].workers = {w: frozenset({w}) for w in workers}
        return answer.name, keys

    def line(self, keys: KeyPair) -> AgentTransport:
        made = AgentTransport(self.head.endpoint, keys, self.keys.public)
        self.stack.callback(made.close, 0)
        return made

    def until(self, condition: Callable[[], object], what: str) -> None:
        def held() -> object:
            self.heard += self.head.poll(0.02)
            return condition()

        wait_until(held, what)

    def answer(self, line: AgentTransport) -> ToAgent:
        """The next that the head says on `line`."""
        found: list[ToAgent] = []

        def come() -> bool:
            found.extend(line.receive(0.01))
            return bool(found)

        self.until(come, "the head says something")
        return found[0]

    def settled(self, line: AgentTransport, name: str) -> None:
        """Wait until all is heard that was said on `line`."""
        self.pings += 1
        asked = self.pings
        line.send(Ping(name, asked))

        def answered() -> bool:
            return any(isinstance(m, Pong) and m.asked == asked for m in line.receive(0.01))

        self.until(answered, "an answer comes")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(heads, "HOME_SECONDS", 0.3)
    made = House(tmp_path)
    with made.stack, closing(made.head):
        yield made


def part(name: str, path: str, data: bytes, offset: int = 0, last: bool = True) -> Upload:
    return Upload(name, path, offset, last, np.frombuffer(data, np.uint8))


def test_fifty_machines_at_once_are_all_enrolled_and_none_twice(house: House) -> None:
    welcomes: list[str] = []

    def join() -> None:
        welcomes.append(Agent(house.token, 1, (), None, print).enrol().name)

    threads = [threading.Thread(target=join) for _ in range(50)]
    for thread in threads:
        thread.start()
    house.until(lambda: not any(thread.is_alive() for thread in threads), "all have an answer")
    assert sorted(welcomes) == sorted(f"host{n}" for n in range(1, 51))
    assert set(house.registry.agents) == {HEAD, *welcomes}
    assert len({agent.key for agent in house.registry.agents.values()}) == 51


def test_a_head_that_refuses_says_why_to_both_sides(house: House) -> None:
    agent = Agent(house.token, 1, ("layer9",), None, print)
    found: list[str] = []

    def join() -> None:
        with pytest.raises(RunError, match="there is no layer9") as caught:
            agent.enrol()
        found.append(str(caught.value))

    thread = threading.Thread(target=join)
    thread.start()
    house.until(lambda: not thread.is_alive(), "it has an answer")
    assert found
    assert any("127.0.0.1: there is no layer9" in said for said in house.said)


def test_fifty_that_come_at_once_are_all_enrolled_and_none_twice(house: House) -> None:
    machines = [(house.line(house.enrolment), generate_keys()) for _ in range(50)]
    for line, keys in machines:
        line.send(enrol_request(keys))
    answers = [house.answer(line) for line, _ in machines]
    names = {answer.name for answer in answers if isinstance(answer, Welcome)}
    assert len(names) == 50
    known = house.registry.agents
    assert {known[name].key for name in names} == {keys.public for _, keys in machines}


def test_a_host_that_has_its_name_is_in_the_status(house: House) -> None:
    line = house.line(house.enrolment)
    line.send(enrol_request(generate_keys()))
    answer = house.answer(line)
    assert isinstance(answer, Welcome)
    assert answer.name in {host.name for host in house.head.hosts()}


def test_an_enrolment_that_is_said_again_is_refused(house: House) -> None:
    asked = enrol_request(generate_keys())
    answers = []
    for _ in range(2):
        line = house.line(house.enrolment)
        line.send(asked)
        answers.append(house.answer(line))
        line.close(0)
    assert [type(answer) for answer in answers] == [Welcome, Refused]
    assert len(house.registry.agents) == 2


def test_a_machine_is_not_heard_in_anothers_name_nor_about_what_lives_elsewhere(
    house: House,
) -> None:
    victim, _ = house.machine("layer0", "layer1")
    name, keys = house.machine()
    line = house.line(keys)
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
    house.settled(line, name)
    assert house.heard == []
    assert list(house.head.exits()) == []
    assert not house.registry.agents[victim].here
    assert house.registry.agents[name].here
    assert [*(house.folder / "trace").iterdir(), *(house.folder / "logs").iterdir()] == []


def test_a_worker_that_speaks_as_if_it_were_a_machine_does_no_harm(house: House) -> None:
    name, keys = house.machine("layer0")
    line = house.line(keys)
    line.send(Died("layer0", "layer0", 0, 9, ""))
    line.send(part("layer0", "../x.log", b"x"))
    house.settled(line, "layer0")
    assert list(house.head.exits()) == []
    assert not house.registry.agents[name].here


def test_who_took_a_name_first_does_not_keep_another_from_its_own(house: House) -> None:
    _, keys = house.machine("layer0")
    name, others = house.machine()
    thief, line = house.line(others), house.line(keys)
    for message in (Hello("layer0", 1, VERSION, {}), Ping("layer0", 1)):
        thief.send(message)  # type: ignore[arg-type]
    house.settled(thief, name)
    house.settled(line, "layer0")
    house.head.send("layer0", Leave())
    assert house.answer(line) == Leave()
    assert list(thief.receive(0)) == []


def test_who_comes_by_a_new_connection_is_the_same(house: House) -> None:
    _, keys = house.machine("layer0")
    for _ in range(3):
        line = house.line(keys)
        house.settled(line, "layer0")
        house.head.send("layer0", Leave())
        assert house.answer(line) == Leave()
        line.close(0)


def test_what_comes_home_in_parts_is_whole_and_in_its_place(house: House) -> None:
    name, keys = house.machine("layer0")
    line = house.line(keys)
    line.send(part(name, "layer0.trace", b"one ", last=False))
    line.send(part(name, "layer0.log", b"words"))
    line.send(part(name, "layer0.messages", b"data"))
    house.settled(line, name)
    assert not (house.folder / "trace" / "layer0.trace").exists()
    line.send(part(name, "layer0.trace", b"two", offset=4))
    line.send(part(name, "layer0.trace", b"again"))
    house.settled(line, name)
    assert {path.name: path.read_bytes() for path in (house.folder / "trace").iterdir()} == {
        "layer0.trace": b"one two",
        "layer0.messages": b"data",
    }
    assert (house.folder / "logs" / "layer0.log").read_bytes() == b"words"


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
def test_a_file_of_another_name_than_a_worker_leaves_is_not_taken(house: House, path: str) -> None:
    before = set(house.folder.parent.rglob("*"))
    name, keys = house.machine("layer0")
    line = house.line(keys)
    line.send(part(name, path, b"bytes"))
    house.settled(line, name)
    after = set(house.folder.parent.rglob("*"))
    assert before == after


def test_a_part_that_is_not_the_next_is_not_taken_and_halves_are_not_kept(house: House) -> None:
    name, keys = house.machine("layer0")
    line = house.line(keys)
    line.send(part(name, "layer0.trace", b"middle", offset=3))
    line.send(part(name, "layer0.log", b"half", last=False))
    house.settled(line, name)
    house.head.close()
    assert [*(house.folder / "trace").iterdir(), *(house.folder / "logs").iterdir()] == []
    assert f"{name} did not bring home all of its traces" in house.said


def test_a_full_disk_loses_files_and_nothing_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    name, keys = house.machine("layer0")
    line = house.line(keys)
    line.send(part(name, "layer0.trace", b"one", last=False))
    house.settled(line, name)
    assert len(list((house.folder / "trace").iterdir())) == 1
    monkeypatch.setattr(Path, "open", full)
    for _ in range(2):
        line.send(part(name, "layer0.trace", b"two", offset=3))
    line.send(Upload(name, "", 0, True, np.empty(0, np.uint8)))
    house.settled(line, name)
    place = house.folder / "trace" / "layer0.trace"
    told = [said for said in house.said if "No space left on device" in said]
    assert list((house.folder / "trace").iterdir()) == []
    assert told == [f"{place}: No space left on device; the rest of it is lost"]
    house.head.close()
    wait_until(lambda: Leave in map(type, line.receive(0.01)), "it may go")


def test_a_worker_that_comes_when_all_is_over_is_told_to_leave(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "HOME_SECONDS", 20.0)
    name, keys = house.machine("layer0")
    agent, worker = house.line(keys), house.line(keys)
    house.settled(agent, name)
    worker.send(Hello("layer0", 1, VERSION, {}))  # type: ignore[arg-type]

    def go() -> None:
        wait_until(lambda: Leave in map(type, worker.receive(0.01)), "it may go")
        agent.send(Upload(name, "", 0, True, np.empty(0, np.uint8)))

    thread = threading.Thread(target=go)
    thread.start()
    house.head.close()
    thread.join()
    assert "did not bring home" not in "".join(house.said)


def test_who_was_there_when_a_worker_died_is_still_waited_for_and_heard(house: House) -> None:
    name, keys = house.machine("layer0")
    agent, worker = house.line(keys), house.line(keys)
    agent.send(Died(name, "layer0", 1, 0, "words"))
    house.settled(agent, name)
    assert list(house.head.exits()) == [WorkerExited("layer0", 1, "words")]
    last = Failed("layer0", 3, "error", "its last words")
    worker.send(last)  # type: ignore[arg-type]
    house.until(lambda: house.heard == [last], "the worker was heard, though late")
    agent.send(part(name, "layer0.log", b"words"))
    house.settled(agent, name)
    assert (house.folder / "logs" / "layer0.log").exists()


def test_a_silent_machine_is_out_and_told_so_but_not_where_it_was_the_head_that_slept(
    house: House,
) -> None:
    name, keys = house.machine("layer0")
    line = house.line(keys)
    house.settled(line, name)
    agent = house.registry.agents[name]
    agent.seen -= heads.LOST_SECONDS + 1
    house.head._looked -= heads.DEAF_SECONDS + 1
    house.until(lambda: agent.seen > house.head._looked - 1, "the head has looked")
    assert name in house.registry.agents
    agent.seen -= heads.LOST_SECONDS + 1
    house.until(lambda: name not in house.registry.agents, "it is out")
    (gone,) = house.head.exits()
    assert isinstance(gone, WorkerExited)
    assert gone.name == "layer0"
    assert house.answer(line) == Refused("nothing was heard of it for 5 s")


def test_the_hosts_of_the_head_are_itself_and_those_that_enrolled(house: House) -> None:
    name, keys = house.machine("layer0")
    house.settled(house.line(keys), name)
    workers = {host.name: dict(host.workers) for host in house.head.hosts()}
    assert workers == {HEAD: {}, name: {"layer0": ["layer0"]}}


def test_a_message_beyond_the_limit_is_not_taken_and_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < socket_set.MAX_BYTES <= 1 << 31
    monkeypatch.setattr(socket_set, "MAX_BYTES", 10_000)
    house = House(tmp_path)
    with house.stack, closing(house.head):
        name, keys = house.machine("layer0")
        line = house.line(keys)
        house.settled(line, name)
        line.send(part(name, "layer0.trace", b"x" * 20_000))

        def back() -> bool:
            line.send(Ping(name, 0))
            return any(isinstance(m, Pong) and m.asked == 0 for m in line.receive(0.05))

        house.until(back, "it has come back, or was never sent away")
        line.send(part(name, "layer0.log", b"x" * 5_000))
        house.settled(line, name)
        assert (tmp_path / "logs" / "layer0.log").stat().st_size == 5_000
        assert list((tmp_path / "trace").iterdir()) == []
        monkeypatch.setattr(heads, "HOME_SECONDS", 0.1)


def test_a_flood_does_not_keep_the_head_from_other_things(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_PER_POLL", 10)
    name, keys = house.machine()
    line = house.line(keys)
    house.settled(line, name)
    for number in range(100):
        line.send(Enrol(VERSION, "", "", "", "", number, 1, ()))
    most = 0
    house.until(lambda: len(house.said) > 1, "the first came")
    while len(house.said) < 101:
        before = len(house.said)
        list(house.head.poll(0.02))
        most = max(most, len(house.said) - before)
    assert 0 < most <= 10


def test_messages_of_a_refused_peer_are_dropped(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    line = house.line(generate_keys())

    def tell() -> bool:
        for number in range(10):
            line.send(Ping("nobody", number))
        return "refused a connection" in capsys.readouterr().err

    house.until(tell, "it was refused")
    for _ in range(20):
        list(house.head.poll(0.01))
        tell()
    assert house.heard == []


def test_what_a_machine_calls_itself_is_shown_as_it_is() -> None:
    agent = {"name": "host1", "host": "[/b][red]ada", "address": "10.0.0.2", "slots": 1}
    rest = {"cpus": 1, "workers": {}, "silent_seconds": 0.1}
    head = {"name": "head", "host": "", "address": "", "slots": 0}
    busy = agent | rest | {"workers": {"layer0": []}}
    found = {"endpoint": "e", "hosts": [busy, agent | rest, head | rest]}
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(host_table(found))
    shown = capture.get()
    assert "[/b][red]ada" in shown
    assert shown.count("in reserve") == 1, "which the head never is"


def test_only_parts_that_are_wanted_keep_the_head_waiting(tmp_path: Path) -> None:
    (tmp_path / "trace").mkdir()
    uploads = Uploads(print)
    uploads.at = 0.0
    refused = (
        part("host1", "layer1.trace", b"another's"),
        part("host1", "layer0.exe", b"of no kind"),
        part("host1", "layer0.trace", b"not the first", offset=3),
    )
    for message in refused:
        uploads.take(tmp_path, message, {"layer0"})
    assert uploads.at == 0.0
    uploads.take(tmp_path, part("host1", "layer0.trace", b"its own"), {"layer0"})
    assert uploads.at > 0.0
    assert [path.name for path in (tmp_path / "trace").iterdir()] == ["layer0.trace"]
