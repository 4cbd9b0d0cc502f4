"""The first lines of the command: whose modules are imported, and what Ctrl-C does that early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dni_command

if TYPE_CHECKING:
    from tests.conftest import Dni

MODULES = ("-m", "dni_command")
HOSTILE = "raise SystemExit('a foreign module was imported')\n"
RUN = ("run", "tiny.toml", "--run-dir", "run")
LATE = 30.0


def hostile(folder: Path, *names: str) -> Path:
    """`folder`, with modules of these names that must not be imported."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(HOSTILE, "utf-8")
    return folder


def python(
    dni: Dni, *words: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with `words` in the folder of `dni`."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=dni.home,
        env={**dni.environment, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- foreign modules


@pytest.mark.parametrize("names", [("cli",), ("workers", "protocol"), ("cli", "coordinator")])
def test_a_run_takes_its_own_modules_whatever_pythonpath_has(
    dni: Dni, tmp_path: Path, names: tuple[str, ...]
) -> None:
    elsewhere = hostile(tmp_path / "elsewhere", *names)
    ran = python(dni, "-P", *MODULES, *RUN, environment={"PYTHONPATH": str(elsewhere)})
    assert ran.returncode == 0, ran.stderr
    assert (dni.home / "run" / "weights" / "layer2.safetensors").exists()
    dni.nothing_left()


@pytest.mark.parametrize("start", [MODULES, ("-m", "cli"), ("-c", "from cli import main; main()")])
def test_a_run_takes_its_own_modules_whatever_the_current_folder_has(
    dni: Dni, start: tuple[str, ...]
) -> None:
    hostile(dni.home, "workers", "protocol", "coordinator")
    ran = python(dni, *start, *RUN, "--engine", "inline")
    assert ran.returncode == 0, ran.stderr


def test_python_that_uses_the_command_takes_its_modules_too(dni: Dni) -> None:
    hostile(dni.home, "workers")
    ran = python(dni, "-c", "import cli, workers.data; print(workers.__file__)")
    assert Path(ran.stdout.strip()).parent.parent == Path(dni_command.FOLDER)


@pytest.mark.parametrize(
    "odd",
    [
        {"PYTHONWARNINGS": "error"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONSAFEPATH": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"TZ": "Nowhere/Nothing"},
    ],
    ids=str,
)
def test_a_run_does_not_mind_an_odd_environment(dni: Dni, odd: dict[str, str]) -> None:
    ran = python(dni, "-P", *MODULES, *RUN, environment=odd)
    assert (ran.returncode, ran.stderr) == (0, "")


# -- Ctrl-C

IMPORTS_FOR_EVER = """
import sys, time
class Waits:
    def find_spec(name, path=None, target=None):
        if name == "{module}":
            print("now", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Waits)
"""


def interrupted(dni: Dni, code: str, *words: str) -> tuple[int, str]:
    """Exit status and errors of `dni` with `words`, sent Ctrl-C where `code` has said 'now'."""
    environment = {**dni.environment, **dni.sitecustomize(code)}
    with subprocess.Popen(
        [sys.executable, "-P", *MODULES, *words],
        cwd=dni.home,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LATE)
    return process.returncode, errors


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("rich.console", ("check",)),
        ("click", ("--help",)),
        ("numpy", ("run",)),
        ("numpy", ("evaluate", "run")),
        ("zmq", ("worker", "layer0")),
        ("coordinator.cluster.agent", ("join", "dni1:x")),
    ],
)
def test_ctrl_c_during_an_import_ends_quietly_with_130(
    dni: Dni, module: str, words: tuple[str, ...]
) -> None:
    assert interrupted(dni, IMPORTS_FOR_EVER.format(module=module), *words) == (130, "")


READS_FOR_EVER = """
import pathlib, time
def wait(*_, **__):
    print("now", flush=True)
    time.sleep(60)
pathlib.Path.{method} = wait
"""


@pytest.mark.parametrize(
    ("method", "words"),
    [("open", ("check", "tiny.toml")), ("glob", ("trace", "stats", "newest")), ("open", RUN)],
)
def test_ctrl_c_after_the_imports_ends_quietly_with_130(
    dni: Dni, method: str, words: tuple[str, ...]
) -> None:
    assert interrupted(dni, READS_FOR_EVER.format(method=method), *words) == (130, "")
    assert not (dni.home / "run").exists()


WAITS_FOR_ITS_CONFIGURATION = """
import threading, time
def said():
    while not hasattr(sys.modules.get("workers.process"), "main"):
        time.sleep(0.01)
    time.sleep(0.2)
    print("now", flush=True)
threading.Thread(target=said, daemon=True).start()
"""


def test_a_worker_that_waits_for_its_configuration_ends_with_130(dni: Dni) -> None:
    assert interrupted(dni, WAITS_FOR_ITS_CONFIGURATION, "worker", "layer0") == (130, "")


@pytest.mark.parametrize("final", [False, True])
def test_only_the_first_ctrl_c_raises(monkeypatch: pytest.MonkeyPatch, final: bool) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    handler = dni_command._CtrlC()
    handler.final = final
    with pytest.raises(KeyboardInterrupt):
        handler(signal.SIGINT, None)
    assert ended == [130] * final
    assert handler.final


def test_the_handler_of_a_program_that_imports_us_stays() -> None:
    before = signal.getsignal(signal.SIGINT)
    import cli  # noqa: F401

    assert signal.getsignal(signal.SIGINT) is before
