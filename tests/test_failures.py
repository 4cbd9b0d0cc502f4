"""What goes wrong ends the run with one clear account of it, or leaves it undisturbed."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zmq
from safetensors.numpy import load_file

from protocol import Failed, encode

if TYPE_CHECKING:
    from tests.conftest import Dni, Training

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
ENGINES = ("local", "inline")
LATE = 20.0

RAISES_IN_LAYER1 = """
from workers.nn.activation import Tanh  # TINY has one, in layer1
forward = Tanh.forward
calls = []
def broken(self, p, x, train):
    calls.append(1)
    if len(calls) == 7:
        raise RuntimeError("a cosmic ray")
    return forward(self, p, x, train)
Tanh.forward = broken
"""
NO_ZMQ_IN_LAYER1 = """
if worker == "layer1":
    sys.modules["zmq"] = None
"""


# -- two runs in one place


def test_no_force_takes_the_folder_of_a_run_that_is_under_way(dni: Dni) -> None:
    first = dni.train()
    other = dni("run", "tiny.toml", "--run-dir", "run", "--force", "--engine", "inline")
    assert other.returncode == 2
    assert other.stderr.strip().endswith("a run is in progress there; choose another --run-dir")
    first.process.kill()
    first.end(LATE)
    again = ("run", "tiny.toml", "--run-dir", "run", "--force", "-o", "train.steps=20")
    assert dni(*again).returncode == 0


# -- a layer fails


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_that_raises_is_shown_with_name_step_and_traceback_once(
    dni: Dni, engine: str
) -> None:
    training = dni.start("--engine", engine, environment=dni.sitecustomize(RAISES_IN_LAYER1))
    assert training.end(LATE) == 1
    text = training.text
    assert text.count("layer1 failed at step 7") == 1
    assert text.count("Traceback (most recent call last)") == 1
    assert text.count("RuntimeError: a cosmic ray") == 1
    assert "sitecustomize.py" in text
    summary = training.summary()
    assert summary["outcome"] == "failed"
    assert "RuntimeError: a cosmic ray" in summary["failure"]
    dni.nothing_left()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", ["cdni", "backprop"])
def test_numbers_that_are_not_finite_stop_the_run_with_the_layers_name(
    dni: Dni, engine: str, rule: str
) -> None:
    ran = dni(
        *("run", "tiny.toml", "--run-dir", "run", "--engine", engine, "-o", f"rule={rule}"),
        *("-o", "train.optimizer=sgd", "-o", "train.lr=1e30"),
    )
    assert ran.returncode == 1
    found = re.findall(r"layer\d failed at step \d+: .*not finite", ran.stdout + ran.stderr)
    assert len(found) == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    summary = json.loads((dni.home / "run" / "summary.json").read_text("utf-8"))
    assert summary["outcome"] == "failed"
    assert summary["failure"] == found[0]
    dni.nothing_left()


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_that_are_not_finite_are_ignored_where_the_pipeline_says_so(
    dni: Dni, engine: str
) -> None:
    ran = dni(
        *("run", "tiny.toml", "--run-dir", "run", "--engine", engine, "--json"),
        *("-o", "train.optimizer=sgd", "-o", "train.lr=1e30", "-o", "train.on_nonfinite=ignore"),
    )
    assert ran.returncode == 0
    assert "Warning" not in ran.stderr

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is no JSON")

    summary = json.loads(ran.stdout, parse_constant=refuse)
    assert summary["outcome"] == "completed"
    assert summary["steps"] == 40
    for line in (dni.home / "run" / "metrics.jsonl").read_text("utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    dni.nothing_left()


def test_a_worker_that_cannot_start_ends_the_run_quickly_with_its_last_words(dni: Dni) -> None:
    began = time.monotonic()
    training = dni.start(environment=dni.sitecustomize(NO_ZMQ_IN_LAYER1))
    assert training.end(LATE) == 1
    assert time.monotonic() - began < 10.0  # a start takes one or two, patience would be 60
    assert training.text.count("layer1 left by itself with exit status 1") == 1
    assert training.text.count("ModuleNotFoundError") == 1
    assert training.summary()["outcome"] == "failed"
    dni.nothing_left()


# -- strangers at the sockets


def frames(rng: np.random.Generator) -> list[bytes]:
    """A message of one to four random frames."""
    return [rng.bytes(int(rng.integers(0, 200))) for _ in range(int(rng.integers(1, 5)))]


@contextlib.contextmanager
def strangers(folder: Path) -> Iterator[list[zmq.Socket[bytes]]]:
    """Sockets of every wrong kind, connected to every door of a pipeline."""
    context = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def connect(kind: int, door: Path, name: bytes = b"") -> None:
        sockets.append(context.socket(kind))
        sockets[-1].routing_id = name or None
        sockets[-1].connect(f"ipc://{door}")

    try:
        doors = [path for path in folder.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
        assert {door.name for door in doors} >= {"control", "layer1.layer0", "layer1.layer2"}
        for door in doors:
            connect(zmq.PUSH, door, b"pusher")
            for name in (b"stranger", b"layer0", b"source"):
                connect(zmq.DEALER, door, name)
        yield sockets
    finally:
        context.destroy(linger=0)


def throw(training: Training, folder: Path) -> None:
    """Throw garbage at every socket of the pipeline until the run ends by itself."""
    rng = np.random.default_rng(0)
    lie = [bytes(frame) for frame in encode(Failed("layer0", 1, "error", "a lie"))]
    with strangers(folder) as sockets, contextlib.ExitStack() as raw:
        for door in filter(Path.is_socket, list(folder.iterdir())):
            plain = raw.enter_context(socket.socket(socket.AF_UNIX))
            plain.connect(str(door))
            plain.sendall(rng.bytes(1000))
        while training.process.poll() is None:
            for stranger in sockets:
                with contextlib.suppress(zmq.Again):
                    stranger.send_multipart(frames(rng), zmq.NOBLOCK)
                    if stranger.type == zmq.DEALER:
                        stranger.send_multipart(lie, zmq.NOBLOCK)
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.process.wait(0.02)


def test_garbage_at_every_socket_leaves_training_undisturbed(dni: Dni) -> None:
    words = ("-o", "train.steps=800", "-o", "train.schedule=lockstep")
    assert dni("run", "tiny.toml", "--run-dir", "quiet", *words).returncode == 0
    training = dni.start(*words)
    dni.until(lambda: any("test_error" in line for line in training.metrics()), "it trains")
    throw(training, *dni.sockets())
    assert training.end(LATE) == 0
    assert training.summary()["steps"] == 800
    for name in LAYERS:
        disturbed, quiet = (
            load_file(dni.home / run / "weights" / f"{name}.safetensors")
            for run in ("run", "quiet")
        )
        assert disturbed.keys() == quiet.keys()
        for key, array in quiet.items():
            np.testing.assert_array_equal(disturbed[key], array, key)
    for name in ("source", *LAYERS):
        log = (training.folder / "logs" / f"{name}.log").read_text("utf-8")
        assert "dropped a foreign message" in log
    assert "dropped a foreign message" in training.errors.read_text("utf-8")
    assert "Traceback" not in training.text
    dni.nothing_left()


# -- the output and the disk


def test_training_does_not_end_because_nobody_reads_what_it_prints(dni: Dni) -> None:
    command = [sys.executable, "-P", "-m", "cli", "run", "tiny.toml", "--run-dir", "run"]
    with subprocess.Popen(
        [*command, "-o", "train.steps=200"],
        cwd=dni.home,
        env=dni.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"digits: ")
        process.stdout.close()
        process.wait(LATE)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    summary = json.loads((dni.home / "run" / "summary.json").read_text("utf-8"))
    assert (summary["outcome"], summary["steps"]) == ("completed", 200)
    dni.nothing_left()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if made.returncode:
        pytest.skip(f"no right to mount a small disk: {made.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_ends_the_run_with_the_name_of_the_file(
    dni: Dni, small_disk: Path, engine: str
) -> None:
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - 12288)  # room for a beginning, not for all weights
    training = dni.start("--engine", engine, run_dir="small/run")
    assert training.end(LATE) == 1
    text = training.text
    assert re.search(r"small/run/\S+: No space left on device", text), text
    assert "Traceback" not in text
    dni.nothing_left()


@pytest.mark.parametrize("engine", ENGINES)
def test_metrics_that_cannot_be_written_end_the_run_with_the_name_of_the_file(
    dni: Dni, engine: str
) -> None:
    training = dni.endless("--engine", engine)
    dni.until(lambda: any(line.get("updates") for line in training.metrics()), "it trains")
    size = max(4096, (training.folder / "metrics.jsonl").stat().st_size)  # room for the output
    resource.prlimit(training.process.pid, resource.RLIMIT_FSIZE, (size, size))
    assert training.end(LATE) == 1
    assert re.search(r"metrics\.jsonl: File too large", training.text), training.text
    assert "Traceback" not in training.text
    assert training.summary()["outcome"] == "failed"  # this file has room
    dni.nothing_left()


def test_a_run_folder_that_cannot_be_made_is_a_mistake_told_in_one_line(dni: Dni) -> None:
    (dni.home / "file").touch()
    ran = dni("run", "tiny.toml", "--run-dir", "file/run")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: file/run: ")
    assert ran.stdout == ""
    dni.nothing_left()
