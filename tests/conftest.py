"""Fixtures of all tests."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tests.examples  # noqa: F401  registers the profile before it is loaded
from coordinator.engines import processes
from tests.data_help import Answers, arrays, packed
from tests.dni import PATIENCE, Dni
from tests.forked import SERVER, ForkedWorker
from tests.lockstep_runs import LockstepRuns
from tests.no_skips import pytest_addoption, pytest_runtest_makereport  # noqa: F401  hooks
from workers.data import cifar, idx, mnist
from workers.nn import Floats


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """Let commands start with default signal handlers when `nohup` or `&` ignores signals here.

    A command that is executed inherits an ignored signal, but not a handled one.
    """
    numbers = (signal.SIGINT, signal.SIGHUP)
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[None]:
    """Workers and commands are forked, where a test does not start real ones."""
    real, processes.start_process = processes.start_process, ForkedWorker
    yield
    processes.start_process = real
    SERVER.stop()


@pytest.fixture(scope="session")
def lockstep(tmp_path_factory: pytest.TempPathFactory) -> LockstepRuns:
    """Runs in lockstep, each made once per session."""
    return LockstepRuns(tmp_path_factory.mktemp("lockstep"))


@pytest.fixture
def dni(tmp_path: Path) -> Iterator[Dni]:
    """The command, in the empty folder `tmp_path`; whatever a failed test leaves is killed."""
    base = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))  # short: socket paths have 100 bytes
    command = Dni(tmp_path, base)
    try:
        yield command
    finally:
        for process in command.processes():
            process.send_signal(signal.SIGKILL)
        for training in command.trainings:
            training.process.wait(PATIENCE)
        shutil.rmtree(base, ignore_errors=True)


def _difference(value: Callable[[], float], at: Floats, h: float = 1e-5) -> Floats:
    found = np.empty_like(at)
    for i in np.ndindex(at.shape):
        kept = at[i]
        at[i] = kept + h
        above = value()
        at[i] = kept - h
        found[i] = (above - value()) / (2 * h)
        at[i] = kept
    return found


@pytest.fixture
def difference() -> Callable[[Callable[[], float], Floats], Floats]:
    """The gradient of a value by every entry of an array, by central differences."""
    return _difference


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's data or touches the user's cache, and none leaves the machine."""
    monkeypatch.delenv("DNI_DATA", raising=False)
    monkeypatch.setenv("DNI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for source in (mnist, cifar):
        monkeypatch.setattr(source, "MIRRORS", ())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """The four files of `arrays()` as a mirror has them, in place of those of MNIST."""
    raw = {key: packed(array) for key, array in arrays().items()}
    files = {
        key: mnist.MnistFile(idx.NAMES[key], len(raw[key]), hashlib.md5(raw[key]).hexdigest())
        for key in raw
    }
    monkeypatch.setattr(mnist, "FILES", files)
    return {f"{files[key].name}.gz": gzip.compress(raw[key], mtime=0) for key in raw}
