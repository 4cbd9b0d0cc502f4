"""The commands of README and docs, read from their pages and run as they are written.

The pipeline files that the commands name are short ones here, and the token is the one that
`dni up` has printed.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.dni import COMMAND, Dni
from tests.network_hosts import NetworkHosts

PROJECT: Final = Path(__file__).parents[1]
PIPELINE: Final = """\
[data]
name = "digits"
batch = 32
[train]
steps = {steps}
"""
HIDDEN: Final = '[[layer]]\nmodules = ["linear 16", "relu"]\n'
OUTPUT: Final = '[[layer]]\nmodules = ["linear 10"]\n'
LATE: Final = 60.0


class Line(NamedTuple):
    """A command, and the host on which it runs; "" for the host of the reader."""

    host: str
    command: str


def recipe(page: str, start: str) -> list[Line]:
    """The block of `page` with a line that starts with the pattern `start`, without comments."""
    text = (PROJECT / page).read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if re.search(rf"^{start}\b", block, re.MULTILINE)]
    found = []
    for line in block.splitlines():
        host, _, command = line.rpartition("$ ")
        found.append(Line(host.strip(), command.partition(" # ")[0].strip()))
    return found


class Reader:
    """A reader of the docs: a folder with the files that recipes name, and `dni` on the PATH."""

    def __init__(self, dni: Dni, steps: int = 40, layers: int = 4) -> None:
        self.dni = dni
        self.program = dni.home / "bin" / "dni"
        self.install("dni", f'exec {shlex.join(COMMAND)} "$@"')
        dni.environment["PATH"] = f"{self.program.parent}:{dni.environment['PATH']}"
        (dni.home / "examples").mkdir()
        text = PIPELINE.format(steps=steps) + (layers - 1) * HIDDEN + OUTPUT
        for name in ("examples/mnist-fcn4.toml", "pipeline.toml"):
            (dni.home / name).write_text(text, "utf-8")
        self.started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def install(self, name: str, script: str) -> None:
        """Put a shell script on the PATH."""
        program = self.program.with_name(name)
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        program.chmod(0o755)

    def start(self, command: str, before: Sequence[str] = ()) -> Path:
        """Start a command line; the file that gets its output."""
        output = self.dni.home / f"{len(self.started)}.out"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*before, "sh", "-c", f"exec {command}"],
                cwd=self.dni.home,
                env=self.dni.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.started.append((process, output))
        return output

    def end(self) -> list[int]:
        """The exit codes of all commands that were started."""
        return [process.wait(LATE) for process, _ in self.started]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.dni.home,
            env=self.dni.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LATE,
            check=False,
        )

    @contextmanager
    def up(self, hosts: NetworkHosts, lines: Sequence[Line]) -> Iterator[None]:
        """Start a head and the hosts that join it."""
        names = list(dict.fromkeys(line.host for line in lines))
        head, *joins = lines
        output = self.start(head.command, hosts.at(0))
        token = re.compile(r"^dni join (dni1:\S+)$", re.MULTILINE)
        self.dni.until(lambda: token.search(output.read_text("utf-8")), "it prints the line")
        found = token.search(output.read_text("utf-8"))
        assert found
        try:
            for line in joins:
                command = line.command.replace("dni1:…", found[1])
                assert found[1] in command
                self.start(command, hosts.at(names.index(line.host)))
            yield
        finally:
            for process, _ in self.started:
                if process.poll() is None:
                    process.kill()
