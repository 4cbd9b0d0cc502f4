"""Error, speed and bytes per batch for each number format of the edges.

    DNI_DATA=… python -m benchmarks.edge_dtypes [--dtypes float32 int8] [--steps 1500] [--rounds 1]
        [--save]

First the time to encode and to decode an activation of 256 x 256 numbers. Then
examples/mnist-fcn4.toml with cdni, one process per layer, with each format in turn. On one host
there is no gain in speed; on a slow link, the bytes per batch predict the gain.
"""

from __future__ import annotations

import argparse
import tempfile
import timeit
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.completed import MNIST, completed_run, figure, lr_drops
from benchmarks.record import Figure, add_save_option, median, save
from benchmarks.table import show
from coordinator.traces.message_accounting import edge_counts
from coordinator.traces.run import Traces
from protocol import Activation, decode, encode, read_pipeline
from protocol.codec.quantization import EDGE_DTYPES

CALLS: Final = 200


def codec_microseconds(dtype: str) -> tuple[float, float]:
    """The time of `encode` and of `decode` for an activation in the format `dtype`."""
    x = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    message = Activation(1, 1, True, x, np.zeros(256, np.int64))
    frames = [f if isinstance(f, bytes) else f.tobytes() for f in encode(message, None, dtype)]
    encoding = timeit.repeat(lambda: encode(message, None, dtype), number=CALLS)
    decoding = timeit.repeat(lambda: decode(frames), number=CALLS)
    return min(encoding) / CALLS * 1e6, min(decoding) / CALLS * 1e6


class TrainingFigures(NamedTuple):
    """What a training gave; kilobytes are per batch, on the edges between layers."""

    test_error: float
    samples_per_second: float
    kilobytes: float


def train(dtype: str, steps: int, seed: int, folder: Path) -> TrainingFigures:
    """Train with all edges in the format `dtype`."""
    settings = ["rule=cdni", f"edge_dtype={dtype}", f"train.steps={steps}", lr_drops(steps)]
    settings += [f"train.seed={seed}", "train.eval_every=0"]
    result = completed_run(read_pipeline(MNIST, settings), folder)
    counts = [a for a in edge_counts(Traces(folder)) if "source" not in a.edge]
    sent = sum(a.bytes for a in counts if a.kind in ("activation", "gradient"))
    error, rate = (figure(result, key) for key in ("test_error", "samples_per_second"))
    return TrainingFigures(error, rate, sent / steps / 1000)


def codec_figures(dtype: str) -> list[Figure]:
    """The times of the codec for the format `dtype`."""
    encoding, decoding = codec_microseconds(dtype)
    return [Figure(f"{dtype}: encode", encoding, "µs"), Figure(f"{dtype}: decode", decoding, "µs")]


def training_figures(dtype: str, runs: list[TrainingFigures]) -> list[Figure]:
    """The medians of the `runs` with the format `dtype`."""
    errors, rates, kilobytes = map(list, zip(*runs, strict=True))
    return [
        median(f"{dtype}: test error", errors, "%"),
        median(f"{dtype}: rate", rates, "samples/s"),
        median(f"{dtype}: per batch between layers", kilobytes, "kB"),
    ]


def main() -> None:
    """Measure every format and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtypes", nargs="+", choices=EDGE_DTYPES, default=EDGE_DTYPES)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=1)
    add_save_option(parser)
    options = parser.parse_args()
    figures = [each for dtype in options.dtypes for each in codec_figures(dtype)]
    show(figures)
    found: dict[str, list[TrainingFigures]] = {dtype: [] for dtype in options.dtypes}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.rounds):
            for dtype, runs in found.items():
                runs.append(train(dtype, options.steps, seed, Path(folder, f"{dtype}{seed}")))
    trained = [each for dtype, runs in found.items() for each in training_figures(dtype, runs)]
    show(trained)
    note = f"{options.steps:,} steps of cdni; medians of {options.rounds} seeds."
    save(options.save, "Formats of edges on one host", [*figures, *trained], note)


if __name__ == "__main__":
    main()
