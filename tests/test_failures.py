"""A fault ends the run with one clear error, or does not affect the run at all."""

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
    from tests.dni import Dni, Training

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


# -- two runs in one folder


def test_force_does_not_take_the_folder_of_a_run_in_progress(dni: Dni) -> None:
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
def test_an_exception_in_a_layer_is_reported_once_with_layer_step_and_traceback(
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
def test_a_nonfinite_number_ends_the_run_and_names_the_layer(
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
def test_nonfinite_numbers_are_ignored_with_on_nonfinite_ignore(dni: Dni, engine: str) -> None:
    ran = dni(
        *("run", "tiny.toml", "--run-dir", "run", "--engine", engine, "--json"),
        *("-o", "train.optimizer=sgd", "-o", "train.lr=1e30", "-o", "train.on_nonfinite=ignore"),
    )
    assert ran.returncode == 0
    assert "Warning" not in ran.stderr

    def refuse(text: str) -> None:
        pytest.fail(f"{text} is no JSON")

    summary = json.loads(ran.stdout, parse_constant=refuse)
    assert summary["outcome"] == "completed"
    assert summary["steps"] == 40
    for line in (dni.home / "run" / "metrics.jsonl").read_text("utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    dni.nothing_left()


def test_a_worker_that_cannot_start_ends_the_run_soon_with_the_end_of_its_log(dni: Dni) -> None:
    began = time.monotonic()
    training = dni.start(environment=dni.sitecustomize(NO_ZMQ_IN_LAYER1))
    assert training.end(LATE) == 1
    assert time.monotonic() - began < 10.0  # a start takes one or two; ENLIST_SECONDS is 60
    assert training.text.count("layer1 exited with status 1") == 1
    assert training.text.count("ModuleNotFoundError") == 1
    assert training.summary()["outcome"] == "failed"
    dni.nothing_left()


# -- foreign peers at the sockets


def frames(rng: np.random.Generator) -> list[bytes]:
    """A message of one to four random frames."""
    return [rng.bytes(int(rng.integers(0, 200))) for _ in range(int(rng.integers(1, 5)))]


@contextlib.contextmanager
def foreign_peers(folder: Path) -> Iterator[list[zmq.Socket[bytes]]]:
    """Sockets of wrong types and names, connected to every socket of a pipeline."""
    context = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def connect(kind: int, endpoint: Path, name: bytes = b"") -> None:
        sockets.append(context.socket(kind))
        sockets[-1].routing_id = name or None
        sockets[-1].connect(f"ipc://{endpoint}")

    try:
        endpoints = [path for path in folder.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
        assert {endpoint.name for endpoint in endpoints} >= {
            "head",
            "layer1.layer0",
            "layer1.layer2",
        }
        for endpoint in endpoints:
            connect(zmq.PUSH, endpoint, b"pusher")
            for name in (b"foreign", b"layer0", b"source"):
                connect(zmq.DEALER, endpoint, name)
        yield sockets
    finally:
        context.destroy(linger=0)


def send_garbage(training: Training, folder: Path) -> None:
    """Send garbage to every socket of the pipeline until the run ends by itself."""
    rng = np.random.default_rng(0)
    forged = [bytes(frame) for frame in encode(Failed("layer0", 1, "error", "forged"))]
    with foreign_peers(folder) as peers, contextlib.ExitStack() as raw:
        for endpoint in filter(Path.is_socket, list(folder.iterdir())):
            plain = raw.enter_context(socket.socket(socket.AF_UNIX))
            plain.connect(str(endpoint))
            plain.sendall(rng.bytes(1000))
        while training.process.poll() is None:
            for peer in peers:
                with contextlib.suppress(zmq.Again):
                    peer.send_multipart(frames(rng), zmq.NOBLOCK)
                    if peer.type == zmq.DEALER:
                        peer.send_multipart(forged, zmq.NOBLOCK)
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.process.wait(0.02)


def test_garbage_at_every_socket_does_not_affect_training(dni: Dni) -> None:
    arguments = ("-o", "train.steps=800", "-o", "train.schedule=lockstep")
    assert dni("run", "tiny.toml", "--run-dir", "quiet", *arguments).returncode == 0
    training = dni.start(*arguments)
    dni.until(lambda: any("test_error" in line for line in training.metrics()), "training goes on")
    send_garbage(training, *dni.sockets())
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


def test_training_goes_on_when_the_reader_of_its_output_has_gone(dni: Dni) -> None:
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
        pytest.skip("no mount command")
    if made.returncode:
        pytest.skip(f"mount of a small disk refused: {made.stderr.strip()}")
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
        file.truncate(filler.stat().st_size - 12288)  # room for the start, not for all weights
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
    dni.until(lambda: any(line.get("updates") for line in training.metrics()), "training goes on")
    size = max(4096, (training.folder / "metrics.jsonl").stat().st_size)  # room for the output
    resource.prlimit(training.process.pid, resource.RLIMIT_FSIZE, (size, size))
    assert training.end(LATE) == 1
    assert re.search(r"metrics\.jsonl: File too large", training.text), training.text
    assert "Traceback" not in training.text
    assert training.summary()["outcome"] == "failed"  # summary.json is small enough
    dni.nothing_left()


def test_a_run_folder_that_cannot_be_created_is_an_error_of_one_line(dni: Dni) -> None:
    (dni.home / "file").touch()
    ran = dni("run", "tiny.toml", "--run-dir", "file/run")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: file/run: ")
    assert ran.stdout == ""
    dni.nothing_left()
