"""Signals: ignored ones stay ignored, the others end a run with its weights saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.interrupts import SIGNALS, count_interrupts
from tests.cluster_help import BIND
from tests.dni import COMMAND, ENDLESS

if TYPE_CHECKING:
    from tests.dni import Dni

NUMBERS = [getattr(signal, name) for name in SIGNALS]
LATE = 30.0


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in NUMBERS]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    with count_interrupts() as seen:
        assert signal.getsignal(number) is signal.SIG_IGN
        os.kill(os.getpid(), number)
    assert seen.count == 0
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", NUMBERS)
def test_other_signals_are_counted_while_one_is_ignored(number: signal.Signals) -> None:
    ignored = next(other for other in NUMBERS if other != number)
    signal.signal(ignored, signal.SIG_IGN)
    before = signal.getsignal(number)
    with count_interrupts() as seen:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), ignored)
    assert (seen.count, seen.signal) == (1, number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_handler_that_was_not_installed_from_python_stays(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    real = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda n: None if n == number else real(n))
    before = real(number)
    with count_interrupts():
        assert real(number) is before
    assert real(number) is before


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    found: list[object] = []

    def probe() -> None:
        with count_interrupts():
            found.extend(signal.getsignal(number) for number in NUMBERS)

    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
    assert found == before


# -- the commands


def started(dni: Dni, number: int, *arguments: str) -> subprocess.Popen[str]:
    """Start `dni` with the signal `number` ignored, as `nohup` and `&` in a script start it."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=dni.home,
            env=dni.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(number, before)


def has_signal(pid: int, key: str, number: int) -> bool:
    """Whether a process catches (SigCgt) or ignores (SigIgn) a signal."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith(key))
    return bool(mask >> (number - 1) & 1)


RUN = ("run", "tiny.toml", *ENDLESS, "--run-dir", "run")
COMPARE = ("compare", "tiny.toml", *ENDLESS, "--rules", "cdni", "--seeds", "1", "--out", "out")
UP = ("up", "tiny.toml", "--bind", BIND, "--run-dir", "run")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("arguments", [RUN, COMPARE, UP], ids=lambda arguments: arguments[0])
def test_a_command_that_was_started_with_a_signal_ignored_ignores_it(
    dni: Dni, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    process = started(dni, number, *arguments)
    dni.until(lambda: has_signal(process.pid, "SigCgt", signal.SIGTERM), "it handles signals")
    os.kill(process.pid, number)
    assert has_signal(process.pid, "SigIgn", number)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LATE)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_ignores_a_signal_can_be_stopped(dni: Dni, number: signal.Signals) -> None:
    process = started(dni, number, *RUN)
    dni.until(lambda: dni("stop", "run").returncode == 0, "the run can be stopped")
    output, _ = process.communicate(timeout=LATE)
    assert process.returncode == 128 + signal.SIGINT, output
    dni.nothing_left()


@pytest.mark.slow
def test_trace_follow_that_was_started_with_a_signal_ignored_ignores_it(dni: Dni) -> None:
    training = dni.train()
    with started(dni, signal.SIGINT, "trace", "follow", "run", "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("{")
        os.kill(process.pid, signal.SIGINT)
        for _ in range(2000):
            assert process.stdout.readline().startswith("{")
        process.terminate()
        process.stdout.read()
    training.signal(signal.SIGTERM)
    assert training.end(LATE) == 128 + signal.SIGTERM
