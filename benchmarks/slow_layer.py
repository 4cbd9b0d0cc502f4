"""The update rates of all layers while one layer is slowed tenfold from outside.

    DNI_DATA=… python -m benchmarks.slow_layer [--rules backprop cdni unlocked-cdni] [--rounds 3]

SIGSTOP and SIGCONT slow a worker: it gets a tenth of the processor time that it uses at full speed,
whatever the load of the host is. The rates are compared with those at full speed before and after,
in the same run.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

from benchmarks.completed import MNIST
from benchmarks.record import Figure, add_save_option, median, save
from benchmarks.table import show

RULES: Final = ("backprop", "cdni", "unlocked-cdni")
SLOWER: Final = 10
TICK_SECONDS: Final = 0.002
REPORT_GAP_SECONDS: Final = 1.2
"""The longest time between two reports of a worker, even of a slowed one."""

Rates = dict[str, float]


def at_work(process: psutil.Process) -> float:
    """The processor time that `process` has used, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def slowed(process: psutil.Process, share: float) -> Iterator[None]:
    """Limit `process` to this share of a processor."""
    over = threading.Event()

    def throttle() -> None:
        began, used = time.monotonic(), at_work(process)
        while not over.wait(TICK_SECONDS):
            ahead = at_work(process) - used > share * (time.monotonic() - began)
            process.send_signal(signal.SIGSTOP if ahead else signal.SIGCONT)
        process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Trial:
    """An endless run whose update rates are measured while it trains."""

    def __init__(self, pipeline: Path, folder: Path, overrides: Sequence[str]) -> None:
        self._folder = folder
        endless = ("train.steps=1000000000", "train.eval_every=0", "train.lr_drops=[]")
        settings = [part for setting in (*endless, *overrides) for part in ("-o", setting)]
        command = [sys.executable, "-m", "cli", "run", str(pipeline), "--run-dir", str(folder)]
        self._process = subprocess.Popen([*command, *settings], stdout=subprocess.DEVNULL)

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def workers(self) -> dict[str, psutil.Process]:
        """The processes of the layers, after all of them have made updates."""
        while not self._updates():
            if self._process.poll() is not None:
                raise RuntimeError("the run has ended")
            time.sleep(0.1)
        time.sleep(REPORT_GAP_SECONDS)
        children = psutil.Process(self._process.pid).children()
        lines = {child.cmdline()[-1]: child for child in children}
        return {name: lines[name] for name in sorted(self._updates())}

    def rates(self, seconds: float) -> Rates:
        """Updates per second of each layer, over the next `seconds`."""
        time.sleep(REPORT_GAP_SECONDS)
        before = self._updates()
        time.sleep(seconds)
        after = self._updates()
        found = {}
        for name, (began, updates) in before.items():
            ended, total = after[name]
            found[name] = (total - updates) / (ended - began) if ended > began else 0.0
        return found

    def kept(self, process: psutil.Process, seconds: float) -> Rates:
        """The share of its rate that each layer keeps while the worker `process` is slowed."""
        began, used = time.monotonic(), at_work(process)
        first = self.rates(seconds)
        share = (at_work(process) - used) / (time.monotonic() - began)
        with slowed(process, share / SLOWER):
            slow = self.rates(seconds)
        second = self.rates(seconds)
        return {name: 2 * slow[name] / (first[name] + second[name]) for name in first}

    def _updates(self) -> dict[str, tuple[float, int]]:
        """The time of the last report and its number of updates, for each layer with updates."""
        path = self._folder / "metrics.jsonl"
        if not path.exists():
            return {}
        *lines, _ = path.read_text("utf-8").split("\n")
        found = {}
        for line in map(json.loads, lines):
            if line.get("updates"):
                found[line["layer"]] = line["seconds"], line["updates"]
        return found


def slow_each(trial: Trial, rule: str, rounds: int, seconds: float) -> Iterator[Figure]:
    """Slow each layer of `trial` in turn; yield the shares that the layers keep."""
    workers = trial.workers()
    for slow, process in workers.items():
        found = [trial.kept(process, seconds) for _ in range(rounds)]
        for name in workers:
            shares = [100 * kept[name] for kept in found]
            target = "≥ 90 %" if rule.startswith("unlocked") and name != slow else ""
            yield median(f"{rule}, {slow} slowed: {name} keeps", shares, "%", target)


def main() -> None:
    """Slow each layer in turn, for every rule; print the shares, medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    add_save_option(parser)
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        for rule in options.rules:
            with Trial(MNIST, Path(scratch) / rule, [f"rule={rule}"]) as trial:
                found = list(slow_each(trial, rule, options.rounds, options.seconds))
            show(found)
            figures += found
    note = "Updates per second of each layer as a share of those at full speed."
    save(options.save, "Rates of all layers while one is slowed tenfold", figures, note)


if __name__ == "__main__":
    main()
