"""Agents in actors of Ray, one a worker, spread over the nodes of a cluster.

An actor runs the agent as a process of its own, so that a worker can never hurt Ray. The agent's
standard input is its lifeline: it closes with the actor, however that ends.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any, Final

import ray

from coordinator.cluster.launchers.launcher import last_words
from protocol import RunError

JOIN: Final = (sys.executable, "-P", "-m", "dni_command", "join", "-", "--lifeline", "--cores", "1")
LEAVE_SECONDS: Final = 5.0


class _Slot:
    """What an actor does on its node; `JOIN` there names the Python of the actor."""

    def placed(self) -> bool:
        """Answers once the cluster has found a place for the actor."""
        return True

    def live(self, token: str) -> str:
        """Be an agent until it ends; how, and its last words."""
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
        words = last_words(agent.stdout.read())
        return f"ended with status {agent.wait()}: {words}"


class Ray:
    """An actor with one processor for each worker, in the cluster at `address`. See `Launcher`."""

    start_timeout: float | None = 120.0

    def __init__(self, address: str = "auto") -> None:
        self._address = address
        self._own = False
        self._actors: list[Any] = []
        self._lives: list[Any] = []
        self._placed: list[Any] = []

    def home(self) -> str:
        """The address by which Ray knows this machine."""
        self._connect()
        return str(ray.util.get_node_ip_address())

    def _connect(self) -> None:
        """Belong to the cluster, unless this process does already."""
        if ray.is_initialized():
            return
        try:
            ray.init(address=self._address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            start = "start one with `ray start --head`, or name one with --address"
            raise RunError(f"ray: {last_words(str(error))}; {start}") from None
        self._own = True

    def launch(self, token: str, slots: int) -> None:
        """Start so many actors, on as many nodes as there are."""
        self._connect()
        have = int(ray.cluster_resources().get("CPU", 0))
        if have < slots:
            raise RunError(f"ray: {slots} workers, but the cluster has {have} processors")
        make = ray.remote(num_cpus=1, scheduling_strategy="SPREAD", max_restarts=0)(_Slot)
        for _ in range(slots):
            actor = make.remote()
            self._actors.append(actor)
            self._placed.append(actor.placed.remote())
            self._lives.append(actor.live.remote(token))

    def gone(self) -> list[str]:
        """The actors that have ended, with the last words of their agents."""
        if not self._lives:
            return []
        over, _ = ray.wait(self._lives, num_returns=len(self._lives), timeout=0)
        return [f"ray actor {self._lives.index(life)}: {_words(life)}" for life in over]

    def waiting(self) -> list[str]:
        """How many actors have a place, and what the cluster has free."""
        if not self._placed:
            return []
        placed, missing = ray.wait(self._placed, num_returns=len(self._placed), timeout=0)
        if not missing:
            return ["ray: all actors are placed, not all agents have joined; look at `ray logs`"]
        have = ray.cluster_resources().get("CPU", 0)
        free = ray.available_resources().get("CPU", 0)
        places = f"{len(placed)} of {len(self._placed)} actors are placed"
        return [f"ray: {places}, {free:g} of {have:g} processors are free; look at `ray status`"]

    def close(self) -> None:
        """Kill the actors that do not end by themselves; their agents end with them."""
        if self._lives and not self.gone():
            ray.wait(self._lives, num_returns=len(self._lives), timeout=LEAVE_SECONDS)
        for actor in self._actors:
            ray.kill(actor)
        if self._own:
            ray.shutdown()


def _words(life: Any) -> str:
    try:
        return str(ray.get(life))
    except ray.exceptions.RayError as error:
        return last_words(str(error))
