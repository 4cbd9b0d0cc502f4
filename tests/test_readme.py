"""The commands of the README run as they are written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.dni import Dni
from tests.recipes import PROJECT, Reader, recipe

NEEDS_A_NETWORK = "dni data get"


@pytest.mark.nightly
def test_the_commands_for_runs_and_traces_succeed_in_their_order(dni: Dni) -> None:
    reader = Reader(dni)
    lines = [*recipe("README.md", "dni evaluate"), *recipe("README.md", "dni trace stats")]
    assert len(lines) > 10
    for _, command in lines:
        if not command.startswith(NEEDS_A_NETWORK):
            ran = reader.run(command)
            assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"


@pytest.mark.nightly
def test_the_example_in_python_trains_and_evaluates(dni: Dni) -> None:
    program = PROJECT / "examples" / "in_python.py"
    environment = {**dni.environment, "PYTHONPATH": str(PROJECT)}
    ran = subprocess.run(
        [sys.executable, program],
        cwd=dni.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert " errors in the test set" in ran.stdout
