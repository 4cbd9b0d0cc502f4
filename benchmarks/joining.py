"""The time that `dni join` takes while the head waits.

    python -m benchmarks.joining [--rounds 5] [--crowd 50] [--save]

First the time from `dni join` to the first batch that a layer uses, for one agent with all layers
of the embedded example over the loopback interface, by the clock of the trace. Then, for a number
of agents that start at once, the time until the last one has joined, and the number of their names.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.cluster_run import ClusterRun
from benchmarks.record import ROOT, Figure, add_save_option, median, save
from benchmarks.table import show
from coordinator.control.client import status
from coordinator.traces.messages import match_messages
from coordinator.traces.run import Traces
from protocol import Edge, RunError
from protocol.config import HEAD
from protocol.trace_format import ACTIVATION

EXAMPLE = ROOT / "workers" / "data" / "digits.toml"
BIND = "tcp://127.0.0.1:*"
PATIENCE = 60.0
FIRST = Edge("source", "layer0")


def first_batch(folder: Path) -> float:
    """Seconds from the command to the first batch."""
    cluster = ClusterRun(EXAMPLE, BIND, "-o", "train.steps=50", "--run-dir", str(folder))
    began = time.monotonic_ns()
    cluster.join("--slots", "3")
    cluster.end()
    found = match_messages(Traces(folder).edge_records(FIRST), FIRST, ACTIVATION)
    return (int(found.used[0]) - began) / 1e9


def crowd(folder: Path, count: int) -> tuple[float, int]:
    """Seconds until `count` agents have joined, and the number of different names."""
    arguments = ("-o", "train.steps=1000000000", "--joins", str(count), "--run-dir", str(folder))
    cluster = ClusterRun(EXAMPLE, BIND, *arguments)
    began = time.monotonic()
    for _ in range(count):
        cluster.join()
    names: set[str] = set()
    while len(names) < count and time.monotonic() - began < PATIENCE:
        names |= host_names(folder)
        time.sleep(0.01)
    spent = time.monotonic() - began
    cluster.stop()
    return spent, len(names)


def host_names(folder: Path) -> set[str]:
    """The names of the hosts that have joined."""
    try:
        return {host["name"] for host in status(folder)["hosts"]} - {HEAD}
    except RunError:
        return set()


def main() -> None:
    """Measure and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--crowd", type=int, default=50)
    add_save_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [first_batch(Path(folder) / str(number)) for number in range(options.rounds)]
        figures = [median("from dni join to the first batch", found, "s", "≤ 3 s")]
        if options.crowd:
            spent, names = crowd(Path(folder) / "crowd", options.crowd)
            at_once = f"{options.crowd} agents at once"
            figures.append(Figure(f"{at_once}: names", names, target=str(options.crowd)))
            figures.append(Figure(f"{at_once}: time", spent, "s"))
    show(figures)
    save(options.save, "Joining a run", figures)


if __name__ == "__main__":
    main()
