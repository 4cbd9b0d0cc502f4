"""The first lines of the command: the imported modules, and Ctrl-C during imports."""

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
    from tests.dni import Dni

MODULES = ("-m", "dni_command")
HOSTILE = "raise SystemExit('a foreign module was imported')\n"
RUN = ("run", "tiny.toml", "--run-dir", "run")
LATE = 30.0


def hostile(folder: Path, *names: str) -> Path:
    """`folder` with modules of these names, which end the process when they are imported."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(HOSTILE, "utf-8")
    return folder


def run_python(
    dni: Dni, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` in the folder of `dni`."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=dni.home,
        env={**dni.environment, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- foreign modules


@pytest.mark.parametrize("names", [("cli",), ("workers", "protocol"), ("cli", "coordinator")])
def test_a_run_imports_its_own_modules_whatever_pythonpath_is(
    dni: Dni, tmp_path: Path, names: tuple[str, ...]
) -> None:
    other = hostile(tmp_path / "elsewhere", *names)
    ran = run_python(dni, "-P", *MODULES, *RUN, environment={"PYTHONPATH": str(other)})
    assert ran.returncode == 0, ran.stderr
    assert (dni.home / "run" / "weights" / "layer2.safetensors").exists()
    dni.nothing_left()


@pytest.mark.parametrize("start", [MODULES, ("-m", "cli"), ("-c", "from cli import main; main()")])
def test_a_run_imports_its_own_modules_whatever_the_current_folder_holds(
    dni: Dni, start: tuple[str, ...]
) -> None:
    hostile(dni.home, "workers", "protocol", "coordinator")
    ran = run_python(dni, *start, *RUN, "--engine", "inline")
    assert ran.returncode == 0, ran.stderr


def test_a_python_program_that_imports_cli_gets_its_modules(dni: Dni) -> None:
    hostile(dni.home, "workers")
    ran = run_python(dni, "-c", "import cli, workers.data; print(workers.__file__)")
    assert Path(ran.stdout.strip()).parent.parent == Path(dni_command.FOLDER)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONWARNINGS": "error"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONSAFEPATH": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"TZ": "Nowhere/Nothing"},
    ],
    ids=str,
)
def test_a_run_works_in_an_unusual_environment(dni: Dni, variables: dict[str, str]) -> None:
    ran = run_python(dni, "-P", *MODULES, *RUN, environment=variables)
    assert (ran.returncode, ran.stderr) == (0, "")


# -- Ctrl-C

BLOCKING_IMPORT = """
import sys, time
class Waits:
    def find_spec(name, path=None, target=None):
        if name == "{module}":
            print("now", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Waits)
"""


def interrupted(dni: Dni, code: str, *arguments: str) -> tuple[int, str]:
    """Exit status and errors of `dni` with `arguments`, sent Ctrl-C when `code` prints 'now'."""
    environment = {**dni.environment, **dni.sitecustomize(code)}
    with subprocess.Popen(
        [sys.executable, "-P", *MODULES, *arguments],
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
    ("module", "arguments"),
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
    dni: Dni, module: str, arguments: tuple[str, ...]
) -> None:
    assert interrupted(dni, BLOCKING_IMPORT.format(module=module), *arguments) == (130, "")


BLOCKING_READ = """
import pathlib, time
def wait(*_, **__):
    print("now", flush=True)
    time.sleep(60)
pathlib.Path.{method} = wait
"""


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("open", ("check", "tiny.toml")), ("glob", ("trace", "stats", "newest")), ("open", RUN)],
)
def test_ctrl_c_after_the_imports_ends_quietly_with_130(
    dni: Dni, method: str, arguments: tuple[str, ...]
) -> None:
    assert interrupted(dni, BLOCKING_READ.format(method=method), *arguments) == (130, "")
    assert not (dni.home / "run").exists()


WAIT_FOR_CONFIGURATION = """
import threading, time
def said():
    while not hasattr(sys.modules.get("workers.process"), "main"):
        time.sleep(0.01)
    time.sleep(0.2)
    print("now", flush=True)
threading.Thread(target=said, daemon=True).start()
"""


def test_a_worker_that_waits_for_its_configuration_ends_with_130(dni: Dni) -> None:
    assert interrupted(dni, WAIT_FOR_CONFIGURATION, "worker", "layer0") == (130, "")


@pytest.mark.parametrize("final", [False, True])
def test_only_the_first_ctrl_c_raises(monkeypatch: pytest.MonkeyPatch, final: bool) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    handler = dni_command.CtrlC()
    handler.final = final
    with pytest.raises(KeyboardInterrupt):
        handler(signal.SIGINT, None)
    assert statuses == [130] * final
    assert handler.final


def test_importing_cli_leaves_the_signal_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    import cli  # noqa: F401

    assert signal.getsignal(signal.SIGINT) is before
