"""A head and the machines that join it, as benchmarks start them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
DNI = (sys.executable, "-m", "cli")


class Head:
    """A `dni up` that is waiting for machines; `enter` is what runs a command on its host."""

    def __init__(self, pipeline: Path, bind: str, *words: str, enter: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*enter, *DNI, "up", str(pipeline), "--bind", bind, "--json", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stderr is not None
        self.token = _token(self._process.stderr)
        self._joined: list[subprocess.Popen[bytes]] = []

    def join(self, *words: str, enter: Sequence[str] = ()) -> None:
        """Start a `dni join` with `words`."""
        command = [*enter, *DNI, "join", self.token, *words]
        self._joined.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT))

    def end(self) -> dict[str, float]:
        """The summary, when all is over. Ends the program where anything failed."""
        printed, complaints = self._process.communicate()
        if self._process.returncode or any(machine.wait() for machine in self._joined):
            raise SystemExit(complaints)
        summary: dict[str, float] = json.loads(printed)
        return summary

    def stop(self) -> None:
        """End the run now, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()
        for machine in self._joined:
            machine.wait()


def _token(said: IO[str]) -> str:
    for line in said:
        if line.startswith("dni join "):
            return line.split()[-1]
    raise SystemExit("the head has left")
