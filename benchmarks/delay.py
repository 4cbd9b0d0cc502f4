"""Four layers on four hosts with some delay between them: ours, and PyTorch's pipeline.

    python -m benchmarks.delay --enter 'ip netns exec wan-{host}' --address '10.77.0.{number}'

`--enter` is what runs a command on a host, `--address` that host's address; `{host}` counts from 0,
`{number}` from 1. How far apart the hosts are is for you to arrange, before; this program prints
one line a contestant: samples/s over the whole training, and ours the test error too. The pipeline
is examples/mnist-fcn4.toml (DNI_DATA says where MNIST is). `--torch` needs the extra [torch], and
GLOO_SOCKET_IFNAME in the environment where the hosts' interface is not the first.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machines import ROOT, Head

EXAMPLE = ROOT / "examples" / "mnist-fcn4.toml"
HOSTS = 4
PORT = 5701
TORCH_PORT = 5702


class Hosts:
    """Where commands run."""

    def __init__(self, enter: str, address: str) -> None:
        self._enter = enter
        self._address = address

    def enter(self, host: int) -> list[str]:
        """What runs a command on `host`."""
        return shlex.split(self._enter.format(host=host, number=host + 1))

    def address(self, host: int) -> str:
        """The address of `host`."""
        return self._address.format(host=host, number=host + 1)


def ours(hosts: Hosts, rule: str, overrides: list[str], folder: Path) -> dict[str, float]:
    """Train with `rule`, the source at host 0 and a layer on each; what the summary says."""
    words = [word for setting in (*overrides, f"rule={rule}") for word in ("-o", setting)]
    words += ["--run-dir", str(folder / rule)]
    bind = f"tcp://{hosts.address(0)}:{PORT}"
    head = Head(EXAMPLE, bind, *words, enter=hosts.enter(0))
    for host in range(HOSTS):
        head.join("--layers", str(host), enter=hosts.enter(host))
    return head.end()


def pytorch(hosts: Hosts, steps: int) -> float:
    """The peer's samples/s."""
    words = ["--steps", str(steps), "--head", f"{hosts.address(0)}:{TORCH_PORT}", "--rank"]
    peer = (sys.executable, str(ROOT / "benchmarks" / "torch_pipeline.py"))
    peers = [
        subprocess.Popen(
            [*hosts.enter(rank), *peer, *words, str(rank)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(HOSTS)
    ]
    printed = [process.communicate()[0] for process in peers]
    return float(json.loads(printed[-1])["samples_per_second"])


def main() -> None:
    """Run what was asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enter", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--rules", default="cdni,backprop")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--locked-steps", type=int, default=200, help="of backprop")
    parser.add_argument("--torch", type=int, default=0, metavar="STEPS")
    parser.add_argument("-o", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    hosts = Hosts(options.enter, options.address)
    with tempfile.TemporaryDirectory() as folder:
        for rule in options.rules.split(",") if options.rules else ():
            steps = options.locked_steps if rule == "backprop" else options.steps
            drops = f"train.lr_drops=[{steps * 6 // 10}, {steps * 85 // 100}]"
            own = [f"train.steps={steps}", drops, "train.threads=1", "train.eval_every=0"]
            summary = ours(hosts, rule, own + options.overrides, Path(folder))
            rate, error = summary["samples_per_second"], summary["test_error"]
            print(f"{rule}: {rate:,.0f} samples/s, {steps:,} steps, test error {error:.2f} %")
    if options.torch:
        print(f"PyTorch 1F1B: {pytorch(hosts, options.torch):,.0f} samples/s")


if __name__ == "__main__":
    main()
