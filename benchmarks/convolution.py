"""Convolutions: the speed of dni relative to PyTorch, with one thread each, in turn in one run.

    python -m benchmarks.convolution [--rounds 7] [--save]

The peer is the faster of PyTorch's two memory formats of images, contiguous and channels_last. The
backward pass of a first layer, one with 1 or 3 channels, computes no gradient of the images. The
allocator has the settings of a worker. Each matrix library chooses its kernels for this processor
by itself: OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are removed from the environment, unless
--keep-kernels is given. Needs the extra [torch].
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from benchmarks.kernels import KERNELS
from benchmarks.record import Figure, add_save_option, median, save
from benchmarks.table import show
from coordinator.engines.processes import ALLOCATOR
from coordinator.resources.blas import environment
from workers.nn import Conv


class Case(NamedTuple):
    """A convolution with "same" padding of `batch` images (side, side, inputs)."""

    batch: int
    side: int
    inputs: int
    outputs: int
    kernel: int

    @property
    def first(self) -> bool:
        """Whether it is the first layer of a network, which needs no gradient of its input."""
        return self.inputs <= 3

    def __str__(self) -> str:
        image = f"{self.side}x{self.side}x{self.inputs}"
        return f"{self.batch} x {image} -> {self.outputs} k{self.kernel}"


CASES = (
    Case(64, 28, 1, 32, 5),
    Case(256, 28, 1, 32, 5),
    Case(64, 14, 32, 32, 5),
    Case(64, 14, 32, 64, 5),
    Case(256, 14, 32, 64, 5),
    Case(128, 28, 1, 32, 3),
    Case(128, 14, 32, 64, 3),
    Case(128, 32, 3, 32, 5),
    Case(128, 32, 3, 64, 5),
    Case(64, 16, 64, 64, 5),
    Case(128, 16, 64, 64, 5),
    Case(128, 32, 3, 64, 3),
    Case(128, 32, 32, 32, 3),
    Case(128, 16, 64, 64, 3),
    Case(128, 8, 128, 128, 3),
)


Passes = tuple[Callable[[], object], Callable[[], object]]


def our_passes(case: Case) -> Passes:
    """The forward and the backward pass of dni."""
    rng = np.random.default_rng(0)
    shape = (case.side, case.side, case.inputs)
    module = Conv(shape, case.outputs, case.kernel, pad="same")
    p = {name: array.astype("f4") for name, array in module.initial(rng).items()}
    g = {name: np.empty_like(array) for name, array in p.items()}
    x = rng.normal(size=(case.batch, *shape)).astype("f4")
    dy = rng.normal(size=(case.batch, *module.output)).astype("f4")
    return (
        lambda: module.forward(p, x, train=True),
        lambda: module.backward(p, g, x, dy, need_dx=not case.first),
    )


def torch_passes(case: Case, layout: torch.memory_format) -> Passes:
    """The forward and the backward pass of PyTorch."""

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape).to(memory_format=layout)

    x = drawn(case.batch, case.inputs, case.side, case.side).requires_grad_(not case.first)
    weight = drawn(case.outputs, case.inputs, case.kernel, case.kernel).requires_grad_()
    bias = torch.randn(case.outputs, requires_grad=True)
    y = functional.conv2d(x, weight, bias, padding="same")
    dy = drawn(*y.shape)
    wanted = [weight, bias] if case.first else [weight, bias, x]

    def forward() -> object:
        with torch.no_grad():
            return functional.conv2d(x, weight, bias, padding="same")

    return forward, lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)


def seconds_of(call: Callable[[], object]) -> float:
    """The duration of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(case: Case, rounds: int) -> list[Figure]:
    """The milliseconds of dni, and the ratios of the peer's time to ours within a round.

    The first round warms up. In each pass the peer is the format with the lower median.
    """
    passes = (
        our_passes(case),
        *(torch_passes(case, each) for each in (torch.contiguous_format, torch.channels_last)),
    )
    times = np.array(
        [[[seconds_of(c) for c in each] for each in passes] for _ in range(rounds + 1)]
    )
    mine, peers = times[1:, 0], times[1:, 1:]
    best = np.median(peers, axis=0).argmin(axis=0)
    peer = peers[:, best, (0, 1)]
    both = (peer.sum(axis=1) / mine.sum(axis=1)).tolist()
    forward, backward = np.median(peer / mine, axis=0)
    return [
        median(f"{case}: forward", (1000 * mine[:, 0]).tolist(), "ms"),
        median(f"{case}: backward", (1000 * mine[:, 1]).tolist(), "ms"),
        Figure(f"{case}: PyTorch's time / ours, forward", float(forward)),
        Figure(f"{case}: PyTorch's time / ours, backward", float(backward)),
        median(f"{case}: PyTorch's time / ours", both, target="≥ 0.5"),
    ]


def restart_in_worker_environment(keep: bool) -> None:
    """Start this program again in the environment of a worker with one thread, unless it is."""
    wanted = ALLOCATOR | environment(1)
    if not keep:
        wanted = {name: value for name, value in wanted.items() if name not in KERNELS}
    if wanted != dict(os.environ):
        print("without", [name for name in KERNELS if name in {*os.environ} - {*wanted}])
        program = [sys.executable, "-m", "benchmarks.convolution", *sys.argv[1:]]
        os.execve(sys.executable, program, wanted)


def main() -> None:
    """Measure every case and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep-kernels", action="store_true")
    add_save_option(parser)
    options = parser.parse_args()
    restart_in_worker_environment(options.keep_kernels)
    torch.set_num_threads(1)
    figures = []
    for case in CASES:
        found = measure(case, options.rounds)
        show(found)
        figures += found
    note = "Batch, image, channels and kernel; one thread each; the ratio is of both passes."
    save(options.save, "Convolutions", figures, note)


if __name__ == "__main__":
    main()
