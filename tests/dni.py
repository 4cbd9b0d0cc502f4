"""The `dni` command as tests run it: in a folder of its own, with proof that nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from tests.forked import CommandProcess, Forked, Stream, base_of, workers_of

TINY = """\
name = "tiny"
[data]
name = "digits"
batch = 32
[train]
steps = 40
eval_every = 20
seed = 3
[[layer]]
modules = ["linear 16", "batchnorm", "relu"]
[[layer]]
modules = ["linear 16", "tanh"]
[[layer]]
modules = ["linear 10"]
"""
LAYERS = ("layer0", "layer1", "layer2")
WORKERS = ("source", *LAYERS)
COMMAND = (sys.executable, "-P", "-m", "cli")
ENDLESS = ("-o", "train.steps=1000000000", "-o", "train.eval_every=0")
SHM = Path("/dev/shm")
PATIENCE = 30.0
AT_START = ("PYTHON", "LANG", "LC_", "OPENBLAS", "OMP_", "MKL", "BLIS", "VECLIB")


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Return as soon as `condition` holds; fail when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still waiting until {what}"
        time.sleep(0.005)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _read_at_start(environment: Mapping[str, str]) -> bool:
    """Whether an interpreter would start in another way with `environment` than this one did."""
    return any(
        name.startswith(AT_START) and os.environ.get(name) != value
        for name, value in environment.items()
    )


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Training:
    """A `dni run` of TINY under way; `folder` is what it leaves."""

    process: CommandProcess
    folder: Path
    output: Path
    errors: Path
    workers: tuple[str, ...] = WORKERS
    family: dict[str, psutil.Process] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What it has printed so far, on both streams."""
        return self.output.read_text("utf-8") + self.errors.read_text("utf-8")

    def find_family(self) -> bool:
        """Note the worker processes; True when all of them are there."""
        self.family.update(workers_of(self.process.pid))
        return set(self.family) == set(self.workers)

    def metrics(self) -> list[dict[str, Any]]:
        """The complete lines of metrics.jsonl."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return []
        *lines, _ = path.read_text("utf-8").split("\n")
        return [json.loads(line) for line in lines]

    def summary(self) -> dict[str, Any]:
        """What summary.json holds."""
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text("utf-8"))
        return found

    def until_training(self) -> None:
        """Wait until every layer has said that it learns."""

        def learns() -> bool:
            assert self.process.poll() is None, self.text
            said = {line["layer"] for line in self.metrics() if line.get("updates")}
            return said >= set(LAYERS) and self.find_family()

        wait_until(learns, "every layer has learnt something")

    def signal(self, number: int) -> None:
        """Send a signal to the coordinator."""
        os.kill(self.process.pid, number)

    def end(self, seconds: float) -> int:
        """The exit code, which must be there within `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still there after {seconds} s: {self.text}")


class Dni:
    """Runs the command; `home` is the current folder, `base` holds sockets and temporary files."""

    until = staticmethod(wait_until)

    def __init__(self, home: Path, base: Path) -> None:
        self.home = home
        self.base = base
        self.trainings: list[Training] = []
        self.limits: dict[str, dict[str, float]] = {}
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(base),
            "TMPDIR": str(base),
            "DNI_CACHE": str(home / "cache"),
        }
        for name in ("DNI_DATA", "COLUMNS", "FORCE_COLOR", "PYTHONPATH"):
            self.environment.pop(name, None)
        (home / "tiny.toml").write_text(TINY, "utf-8")
        self._shm = self._shared()

    def __call__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        stdout: Stream | None = None,
        stderr: Stream | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `dni` with `arguments` to its end; returns what goes to no `stdout` or `stderr`."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            streams = (out if stdout is None else stdout, err if stderr is None else stderr)
            process = self.spawn(arguments, *streams, environment)
            try:
                status = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            texts = [_text(file) for file in (out, err)]
        return subprocess.CompletedProcess(arguments, status, *texts)

    def spawn(
        self,
        arguments: Sequence[str],
        out: Stream,
        err: Stream,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        command: Sequence[str] = (),
    ) -> CommandProcess:
        """Start `dni` with `arguments` as the leader of a session, with nothing to read.

        It is forked, but executed with `command` where there is one, and with COMMAND where
        the environment has other variables that an interpreter reads when it starts than this one.
        """
        wanted = {**self.environment, **(environment or {})}
        folder = folder or self.home
        if not command and _read_at_start(wanted):
            command = COMMAND
        if command:
            return subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=wanted,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        with Path(os.devnull).open("rb") as nothing:
            return Forked(arguments, wanted, (nothing, out, err), folder, self.limits)

    def start(
        self,
        *arguments: str,
        run_dir: str = "run",
        environment: Mapping[str, str] | None = None,
        workers: tuple[str, ...] = WORKERS,
    ) -> Training:
        """Start `dni run tiny.toml` with `arguments`, as the leader of a process group.

        `workers` are the processes that are to come of it.
        """
        output, errors = (self.home / f"{Path(run_dir).name}.{part}" for part in ("out", "err"))
        with output.open("wb") as out, errors.open("wb") as err:
            run = ("run", "tiny.toml", "--run-dir", run_dir, *arguments)
            process = self.spawn(run, out, err, environment)
        training = Training(process, self.home / run_dir, output, errors, workers)
        self.trainings.append(training)
        return training

    def endless(
        self, *arguments: str, run_dir: str = "run", workers: tuple[str, ...] = WORKERS
    ) -> Training:
        """Start a run that does not end by itself."""
        return self.start(*ENDLESS, *arguments, run_dir=run_dir, workers=workers)

    def train(self, *arguments: str, workers: tuple[str, ...] = WORKERS) -> Training:
        """Start a run that does not end by itself, and wait until all its layers learn."""
        training = self.endless(*arguments, workers=workers)
        training.until_training()
        return training

    def sitecustomize(self, code: str) -> dict[str, str]:
        """An environment in which every Python runs `code` first; `worker` is its name or ""."""
        folder = self.home / "site"
        folder.mkdir()
        who = "import sys\nworker = sys.orig_argv[-1] if 'worker' in sys.orig_argv else ''\n"
        (folder / "sitecustomize.py").write_text(who + code, "utf-8")
        return {"PYTHONPATH": str(folder)}

    def processes(self) -> list[psutil.Process]:
        """Every process that inherited our folder for temporary files and still lives."""
        found = []
        for process in psutil.process_iter():
            try:
                if base_of(process) == str(self.base) and _lives(process):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def sockets(self) -> list[Path]:
        """The socket folders that are there now."""
        return sorted(self.base.glob("*dni-*"))

    def family(self) -> list[psutil.Process]:
        """The workers that are known to have been there and still live."""
        return [p for t in self.trainings for p in t.family.values() if _lives(p)]

    def _shared(self) -> set[str]:
        return {entry.name for entry in SHM.iterdir()} if SHM.is_dir() else set()

    @staticmethod
    def _of_another(name: str) -> bool:
        """Whether this is the folder of a run that somebody else on the machine has under way."""
        argument, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        return argument == "dni" and pid.isdecimal() and psutil.pid_exists(int(pid))

    def nothing_left(self, *but: Path) -> None:
        """No process, socket folder, temporary file or shared memory is left, except `but`."""
        assert self.processes() == []
        assert self.family() == []
        assert sorted(self.base.iterdir()) == sorted(but)
        assert list(self.home.rglob("*.part")) == []
        pids = {str(t.process.pid) for t in self.trainings}
        pids |= {str(p.pid) for t in self.trainings for p in t.family.values()}
        new = {name for name in self._shared() - self._shm if not self._of_another(name)}
        assert [name for name in new if "dni" in name or any(pid in name for pid in pids)] == []
