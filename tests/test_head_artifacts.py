"""The files that hosts send to the head, and the last messages of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from coordinator.cluster.artifacts import ArtifactCollector
from coordinator.lifecycle.events import WorkerExited
from protocol import VERSION, Failed, Hello, Leave, Ping, Pong
from protocol.messages import Died, Upload
from protocol.transport import socket_set
from tests.dni import wait_until
from tests.head_help import HeadWithHosts, head_with_hosts, part


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[HeadWithHosts]:
    with head_with_hosts(tmp_path) as found:
        yield found


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[HeadWithHosts]:
    """A head that waits long for files."""
    with head_with_hosts(tmp_path, upload_seconds=20.0) as found:
        yield found


def test_parts_of_a_file_are_joined_in_its_place(cluster: HeadWithHosts) -> None:
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
def test_a_file_that_no_worker_leaves_is_ignored(cluster: HeadWithHosts, path: str) -> None:
    before = set(cluster.folder.parent.rglob("*"))
    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(part(name, path, b"bytes"))
    cluster.wait_until_received(line, name)
    after = set(cluster.folder.parent.rglob("*"))
    assert before == after


def test_a_part_out_of_order_is_ignored_and_half_a_file_is_discarded(
    cluster: HeadWithHosts,
) -> None:
    name, keys = cluster.host("layer0")
    line = cluster.connect(keys)
    line.send(part(name, "layer0.trace", b"middle", offset=3))
    line.send(part(name, "layer0.log", b"half", last=False))
    cluster.wait_until_received(line, name)
    cluster.head.close()
    assert [*(cluster.folder / "trace").iterdir(), *(cluster.folder / "logs").iterdir()] == []
    assert f"{name} did not send all of its traces and logs" in cluster.reported


def test_a_full_disk_loses_files_only(
    cluster: HeadWithHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    warnings = [line for line in cluster.reported if "No space left on device" in line]
    assert list((cluster.folder / "trace").iterdir()) == []
    assert warnings == [f"{place}: No space left on device; the rest of the file is lost"]
    cluster.head.close()
    wait_until(lambda: Leave in map(type, line.receive(0.01)), "the head sends Leave")


def test_a_worker_that_connects_after_the_end_gets_leave(patient: HeadWithHosts) -> None:
    cluster = patient
    name, keys = cluster.host("layer0")
    agent, worker = cluster.connect(keys), cluster.connect(keys)
    cluster.wait_until_received(agent, name)
    worker.send(Hello("layer0", 1, VERSION, {}))  # type: ignore[arg-type]

    def finish() -> None:
        wait_until(lambda: Leave in map(type, worker.receive(0.01)), "the head sends Leave")
        agent.send(Upload(name, "", 0, True, np.empty(0, np.uint8)))

    thread = threading.Thread(target=finish)
    thread.start()
    cluster.head.close()
    thread.join()
    assert "did not send all" not in "".join(cluster.reported)


def test_last_messages_of_a_dead_worker_and_its_host_are_received(cluster: HeadWithHosts) -> None:
    name, keys = cluster.host("layer0")
    agent, worker = cluster.connect(keys), cluster.connect(keys)
    agent.send(Died(name, "layer0", 1, 0, "words"))
    cluster.wait_until_received(agent, name)
    assert list(cluster.head.exits()) == [WorkerExited("layer0", 1, "words")]
    last = Failed("layer0", 3, "error", "late")
    worker.send(last)  # type: ignore[arg-type]
    cluster.until(lambda: cluster.received == [last], "the head receives the message")
    agent.send(part(name, "layer0.log", b"words"))
    cluster.wait_until_received(agent, name)
    assert (cluster.folder / "logs" / "layer0.log").exists()


def test_a_message_beyond_the_size_limit_is_dropped_and_others_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < socket_set.MAX_BYTES <= 1 << 31
    monkeypatch.setattr(socket_set, "MAX_BYTES", 10_000)
    with head_with_hosts(tmp_path) as cluster:
        name, keys = cluster.host("layer0")
        line = cluster.connect(keys)
        cluster.wait_until_received(line, name)
        line.send(part(name, "layer0.trace", b"x" * 20_000))

        def answered() -> bool:
            line.send(Ping(name, 0))
            return any(isinstance(m, Pong) and m.sent_at == 0 for m in line.receive(0.05))

        cluster.until(answered, "the connection works")
        line.send(part(name, "layer0.log", b"x" * 5_000))
        cluster.wait_until_received(line, name)
        assert (tmp_path / "logs" / "layer0.log").stat().st_size == 5_000
        assert list((tmp_path / "trace").iterdir()) == []


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
