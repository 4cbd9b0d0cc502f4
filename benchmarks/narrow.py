"""What narrow messages cost and bring: error, speed, and bytes on the edges, by their width.

    DNI_DATA=… python -m benchmarks.narrow [--wires float32 int8] [--steps 1500] [--rounds 1]

First what it takes to make frames of an activation of 256 x 256 numbers, and an activation of the
frames. Then examples/mnist-fcn4.toml, cdni, a process a layer, with each width in turn. On one
machine there is nothing to gain; over a slow link the bytes say what to expect.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import timeit
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.whole import figure, whole
from coordinator.traces.message_accounting import edge_counts
from coordinator.traces.run import Traces
from protocol import Activation, decode, encode, read_pipeline
from protocol.codec.quantization import WIRES

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "mnist-fcn4.toml"
CALLS: Final = 200


def microseconds(wire: str) -> tuple[float, float]:
    """What `encode` and `decode` of an activation take on a way of the width `wire`."""
    x = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    message = Activation(1, 1, True, x, np.zeros(256, np.int64))
    frames = [f if isinstance(f, bytes) else f.tobytes() for f in encode(message, None, wire)]
    there = timeit.repeat(lambda: encode(message, None, wire), number=CALLS)
    back = timeit.repeat(lambda: decode(frames), number=CALLS)
    return min(there) / CALLS * 1e6, min(back) / CALLS * 1e6


def trained(wire: str, steps: int, seed: int, folder: Path) -> tuple[float, float, float]:
    """Test error, samples a second and kilobytes that a batch sent between the layers."""
    drops = [steps * 60 // 100, steps * 85 // 100]
    settings = [
        "rule=cdni",
        f"edge_dtype={wire}",
        f"train.steps={steps}",
        f"train.lr_drops={drops}",
    ]
    settings += [f"train.seed={seed}", "train.eval_every=0"]
    result = whole(read_pipeline(EXAMPLE, settings), folder)
    accounts = [a for a in edge_counts(Traces(folder)) if "source" not in a.edge]
    sent = sum(a.bytes for a in accounts if a.kind in ("activation", "gradient"))
    error, rate = (figure(result, key) for key in ("test_error", "samples_per_second"))
    return error, rate, sent / steps / 1000


def main() -> None:
    """Measure every width and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wires", nargs="+", choices=WIRES, default=WIRES)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for wire in options.wires:
        there, back = microseconds(wire)
        print(f"{wire:8s} encode {there:6.1f} µs, decode {back:6.1f} µs", flush=True)
    found: dict[str, list[tuple[float, float, float]]] = {wire: [] for wire in options.wires}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.rounds):
            for wire, runs in found.items():
                runs.append(trained(wire, options.steps, seed, Path(folder, f"{wire}{seed}")))
    for wire, runs in found.items():
        error, rate, sent = map(statistics.median, zip(*runs, strict=True))
        print(
            f"{wire:8s} {options.steps} steps: test error {error:.2f} %, "
            f"{rate:,.0f} samples/s, {sent:,.0f} kB a batch between layers"
        )
    if options.json:
        keys = ("test_error", "samples_per_second", "kilobytes")
        rows = {w: [dict(zip(keys, r, strict=True)) for r in runs] for w, runs in found.items()}
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
