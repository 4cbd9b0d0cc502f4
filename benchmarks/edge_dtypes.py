"""Error, speed and bytes per batch for each number format of the edges.

    DNI_DATA=… python -m benchmarks.edge_dtypes [--dtypes float32 int8] [--steps 1500] [--rounds 1]

First the time to encode and to decode an activation of 256 x 256 numbers. Then
examples/mnist-fcn4.toml with cdni, one process per layer, with each format in turn. On one host
there is no gain in speed; on a slow link, the bytes per batch predict the gain.
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

from benchmarks.completed import completed_run, figure
from coordinator.traces.message_accounting import edge_counts
from coordinator.traces.run import Traces
from protocol import Activation, decode, encode, read_pipeline
from protocol.codec.quantization import EDGE_DTYPES

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "mnist-fcn4.toml"
CALLS: Final = 200


def codec_microseconds(dtype: str) -> tuple[float, float]:
    """The time of `encode` and of `decode` for an activation in the format `dtype`."""
    x = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    message = Activation(1, 1, True, x, np.zeros(256, np.int64))
    frames = [f if isinstance(f, bytes) else f.tobytes() for f in encode(message, None, dtype)]
    encoding = timeit.repeat(lambda: encode(message, None, dtype), number=CALLS)
    decoding = timeit.repeat(lambda: decode(frames), number=CALLS)
    return min(encoding) / CALLS * 1e6, min(decoding) / CALLS * 1e6


def trained(dtype: str, steps: int, seed: int, folder: Path) -> tuple[float, float, float]:
    """Test error, samples per second, and kilobytes per batch between layers."""
    drops = [steps * 60 // 100, steps * 85 // 100]
    settings = [
        "rule=cdni",
        f"edge_dtype={dtype}",
        f"train.steps={steps}",
        f"train.lr_drops={drops}",
    ]
    settings += [f"train.seed={seed}", "train.eval_every=0"]
    result = completed_run(read_pipeline(EXAMPLE, settings), folder)
    counts = [a for a in edge_counts(Traces(folder)) if "source" not in a.edge]
    sent = sum(a.bytes for a in counts if a.kind in ("activation", "gradient"))
    error, rate = (figure(result, key) for key in ("test_error", "samples_per_second"))
    return error, rate, sent / steps / 1000


def main() -> None:
    """Measure every format and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtypes", nargs="+", choices=EDGE_DTYPES, default=EDGE_DTYPES)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for dtype in options.dtypes:
        encoding, decoding = codec_microseconds(dtype)
        print(f"{dtype:8s} encode {encoding:6.1f} µs, decode {decoding:6.1f} µs", flush=True)
    found: dict[str, list[tuple[float, float, float]]] = {dtype: [] for dtype in options.dtypes}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.rounds):
            for dtype, runs in found.items():
                runs.append(trained(dtype, options.steps, seed, Path(folder, f"{dtype}{seed}")))
    for dtype, runs in found.items():
        error, rate, sent = map(statistics.median, zip(*runs, strict=True))
        print(
            f"{dtype:8s} {options.steps} steps: test error {error:.2f} %, "
            f"{rate:,.0f} samples/s, {sent:,.0f} kB per batch between layers"
        )
    if options.json:
        keys = ("test_error", "samples_per_second", "kilobytes")
        rows = {w: [dict(zip(keys, r, strict=True)) for r in runs] for w, runs in found.items()}
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
