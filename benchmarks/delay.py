"""Four layers on four hosts with a network delay between them: dni and PyTorch's pipeline.

    python -m benchmarks.delay --enter 'ip netns exec wan-{host}' --address '10.77.0.{number}'

`--enter` is the command that runs another command on a host, `--address` is the address of the
host; `{host}` counts from 0, `{number}` from 1. The hosts and the delay must exist before. The
figures are samples/s of the whole training and, for dni, the test error; save them with a name for
the delay, such as `--save delay-050ms --title "Four layers on four hosts, 50 ms one way"`. The
pipeline is examples/mnist-fcn4.toml (DNI_DATA is the folder of MNIST). `--torch` needs the extra
[torch], and GLOO_SOCKET_IFNAME in the environment if the hosts have several interfaces.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cluster_run import ClusterRun
from benchmarks.completed import MNIST, lr_drops
from benchmarks.kernels import let_libraries_choose_kernels
from benchmarks.record import ROOT, Figure, add_save_option, save
from benchmarks.table import show

HOSTS = 4
PORT = 5701
TORCH_PORT = 5702


class HostCommands:
    """How to run commands on the hosts, and the addresses of the hosts."""

    def __init__(self, enter: str, address: str) -> None:
        self._enter = enter
        self._address = address

    def enter(self, host: int) -> list[str]:
        """The command that runs another on `host`."""
        return shlex.split(self._enter.format(host=host, number=host + 1))

    def address(self, host: int) -> str:
        """The address of `host`."""
        return self._address.format(host=host, number=host + 1)


def our_run(
    commands: HostCommands, rule: str, overrides: list[str], folder: Path
) -> dict[str, float]:
    """Train with `rule`, the source on host 0 and one layer per host; return the summary."""
    arguments = [
        argument for setting in (*overrides, f"rule={rule}") for argument in ("-o", setting)
    ]
    arguments += ["--run-dir", str(folder / rule)]
    bind = f"tcp://{commands.address(0)}:{PORT}"
    head = ClusterRun(MNIST, bind, *arguments, enter=commands.enter(0))
    for host in range(HOSTS):
        head.join("--layers", str(host), enter=commands.enter(host))
    return head.end()


def pytorch(commands: HostCommands, steps: int) -> float:
    """Samples/s of PyTorch."""
    arguments = ["--steps", str(steps), "--head", f"{commands.address(0)}:{TORCH_PORT}", "--rank"]
    peer = (sys.executable, str(ROOT / "benchmarks" / "torch_pipeline.py"))
    peers = [
        subprocess.Popen(
            [*commands.enter(rank), *peer, *arguments, str(rank)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(HOSTS)
    ]
    outputs = [process.communicate()[0] for process in peers]
    return float(json.loads(outputs[-1])["samples_per_second"])


def our_figures(
    commands: HostCommands, rule: str, steps: int, overrides: list[str], folder: Path
) -> list[Figure]:
    """Train with `rule`, and print and return the figures."""
    own = [f"train.steps={steps}", lr_drops(steps), "train.threads=1", "train.eval_every=0"]
    summary = our_run(commands, rule, own + overrides, folder)
    figures = [
        Figure(f"dni, {rule}", summary["samples_per_second"], "samples/s"),
        Figure(f"dni, {rule}: test error", summary["test_error"], "%"),
    ]
    show(figures)
    return figures


def parsed() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enter", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--rules", default="cdni,backprop")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--backprop-steps", type=int, default=200, help="steps of backprop")
    parser.add_argument("--torch", type=int, default=0, metavar="STEPS")
    parser.add_argument("--title", default="Four layers on four hosts", help="of the saved figures")
    parser.add_argument("-o", action="append", default=[], dest="overrides")
    add_save_option(parser)
    return parser.parse_args()


def main() -> None:
    """Run the candidates one after the other."""
    options = parsed()
    let_libraries_choose_kernels()
    commands = HostCommands(options.enter, options.address)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for rule in options.rules.split(",") if options.rules else ():
            steps = options.backprop_steps if rule == "backprop" else options.steps
            figures += our_figures(commands, rule, steps, options.overrides, Path(folder))
    if options.torch:
        peer = Figure("PyTorch, 1F1B", pytorch(commands, options.torch), "samples/s")
        show([peer])
        figures.append(peer)
    save(options.save, options.title, figures)


if __name__ == "__main__":
    main()
