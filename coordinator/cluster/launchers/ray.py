"""Agents in actors of Ray, one for each worker slot, spread over the hosts of a Ray cluster.

An actor runs its agent as a separate process, so that a worker cannot harm Ray. The standard input
of the agent is its lifeline: it closes when the actor ends, however it ends.

Ray is imported inside functions, as this module is imported for the help of `dni run`.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Final

from coordinator.cluster.launchers.launcher import last_line
from coordinator.engines.options import option
from protocol import RunError
from protocol.errors import install_hint

JOIN: Final = (sys.executable, "-P", "-m", "dni_command", "join", "-", "--lifeline", "--cpus", "1")
LEAVE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The options of the launcher `ray`."""

    address: str = option("Address of the Ray cluster.", default="auto")


class _AgentActor:
    """The actor; `JOIN` is evaluated where the actor runs and names its Python."""

    def is_placed(self) -> bool:
        """Return once Ray has found a host for the actor."""
        return True

    def run_agent(self, token: str) -> str:
        """Run an agent until it ends; return its exit status and last line of output."""
        agent = subprocess.Popen(
            JOIN,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="surrogateescape",
        )
        assert agent.stdin is not None
        assert agent.stdout is not None
        with suppress(BrokenPipeError):
            agent.stdin.write(f"{token}\n")
            agent.stdin.flush()
        output = last_line(agent.stdout.read())
        return f"ended with status {agent.wait()}: {output}"


class Ray:
    """Starts one actor with one CPU for each worker slot. Implements `Launcher`."""

    api_version: ClassVar[int] = 1
    options_type: ClassVar[type] = RayOptions
    start_timeout: ClassVar[float | None] = 120.0

    def __init__(self, options: RayOptions) -> None:
        self._ray: Any = _import_ray()
        self._address = options.address
        self._connected = False
        self._actors: list[Any] = []
        self._results: list[Any] = []
        self._placements: list[Any] = []

    def local_address(self) -> str:
        """The address by which Ray knows this host."""
        self._connect()
        return str(self._ray.util.get_node_ip_address())

    def _connect(self) -> None:
        """Connect to the cluster, unless this process is connected already."""
        if self._ray.is_initialized():
            return
        try:
            self._ray.init(address=self._address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            start = "start one with `ray start --head`, or name one with --address"
            raise RunError(f"ray: {last_line(str(error))}; {start}") from None
        self._connected = True

    def launch(self, token: str, slots: int) -> None:
        """Start one actor for each slot, on as many hosts as there are."""
        self._connect()
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if cpus < slots:
            raise RunError(f"ray: {slots} workers, but the cluster has {cpus} CPUs")
        settings = {"num_cpus": 1, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        make = self._ray.remote(**settings)(_AgentActor)
        for _ in range(slots):
            actor = make.remote()
            self._actors.append(actor)
            self._placements.append(actor.is_placed.remote())
            self._results.append(actor.run_agent.remote(token))

    def ended(self) -> list[str]:
        """The actors that have ended, each with the last line of its agent's output."""
        done, _ = self._wait(self._results)
        return [f"ray actor {self._results.index(one)}: {self._text(one)}" for one in done]

    def pending(self) -> list[str]:
        """The number of actors that Ray has placed, and the free CPUs of the cluster."""
        if not self._placements:
            return []
        placed, missing = self._wait(self._placements)
        if not missing:
            return ["ray: all actors are placed, not all agents have joined; look at `ray logs`"]
        cpus = self._ray.cluster_resources().get("CPU", 0)
        free = self._ray.available_resources().get("CPU", 0)
        count = f"{len(placed)} of {len(self._placements)} actors are placed"
        return [f"ray: {count}, {free:g} of {cpus:g} CPUs are free; look at `ray status`"]

    def close(self) -> None:
        """Kill the actors that do not end by themselves; their agents end with them."""
        if self._results and not self.ended():
            self._wait(self._results, LEAVE_SECONDS)
        for actor in self._actors:
            self._ray.kill(actor)
        if self._connected:
            self._ray.shutdown()

    def _wait(self, results: list[Any], seconds: float = 0.0) -> tuple[list[Any], list[Any]]:
        """The results that are there within `seconds`, and those that are not."""
        if not results:
            return [], []
        done, missing = self._ray.wait(results, num_returns=len(results), timeout=seconds)
        return done, missing

    def _text(self, result: Any) -> str:
        try:
            return str(self._ray.get(result))
        except self._ray.exceptions.RayError as error:
            return last_line(str(error))


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        hint = install_hint("ray")
        raise RunError(f"engine ray: Ray cannot be imported: {error}; {hint}") from None
    found: ModuleType = ray
    return found
