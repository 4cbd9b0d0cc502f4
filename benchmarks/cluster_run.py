"""A cluster run for benchmarks: `dni up`, and the agents that join it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from benchmarks.record import ROOT

DNI = (sys.executable, "-m", "cli")


class ClusterRun:
    """A `dni up` that waits for agents; `enter` is the command that runs another on its host."""

    def __init__(
        self, pipeline: Path, bind: str, *arguments: str, enter: Sequence[str] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [*enter, *DNI, "up", str(pipeline), "--bind", bind, "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stderr is not None
        self.token = _token(self._process.stderr)
        self._agents: list[subprocess.Popen[bytes]] = []

    def join(self, *arguments: str, enter: Sequence[str] = ()) -> None:
        """Start `dni join` with `arguments`."""
        command = [*enter, *DNI, "join", self.token, *arguments]
        self._agents.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT))

    def end(self) -> dict[str, float]:
        """Wait for the end of the run; return its summary. Exit if anything failed."""
        output, errors = self._process.communicate()
        if self._process.returncode or any(agent.wait() for agent in self._agents):
            raise SystemExit(errors)
        summary: dict[str, float] = json.loads(output)
        return summary

    def stop(self) -> None:
        """Stop the run as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()
        for agent in self._agents:
            agent.wait()


def _token(output: IO[str]) -> str:
    for line in output:
        if line.startswith("dni join "):
            return line.split()[-1]
    raise SystemExit("dni up ended without a token")
