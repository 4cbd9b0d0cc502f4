"""The networks of table 1 of the paper (arXiv 1608.05343), and the errors that it reports.

The paper trains for 500,000 steps at learning rates of at most 3e-5; here the rates are larger and
the steps fewer. The fully connected layers have 256 units for MNIST and 1,000 for CIFAR-10, as in
the paper. The convolutional networks are smaller than the paper's, to suit a few processor cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from coordinator.compare.cells import Cell, make_cells
from protocol import (
    DataConfig,
    LayerConfig,
    Pipeline,
    SpecError,
    SyntheticConfig,
    TrainConfig,
    did_you_mean,
)

RULES: Final = ("no-bprop", "backprop", "dni", "cdni")
PAPER: Final = {
    "mnist-fcn3": (9.3, 2.0, 1.9, 2.2),
    "mnist-fcn4": (12.6, 1.8, 2.2, 1.9),
    "mnist-fcn5": (16.2, 1.8, 3.4, 1.7),
    "mnist-fcn6": (21.4, 1.8, 4.3, 1.6),
    "mnist-cnn3": (0.9, 0.8, 0.9, 1.0),
    "mnist-cnn4": (2.8, 0.6, 0.7, 0.8),
    "cifar10-fcn3": (54.9, 43.5, 42.5, 48.5),
    "cifar10-fcn4": (57.2, 43.0, 45.0, 45.1),
    "cifar10-fcn5": (59.6, 41.7, 46.9, 43.5),
    "cifar10-fcn6": (61.9, 42.0, 49.7, 46.8),
    "cifar10-cnn3": (28.7, 17.9, 19.5, 19.0),
    "cifar10-cnn4": (38.1, 15.7, 19.5, 16.4),
}
"""The test errors in percent for `RULES`, by network: data set, kind, and number of layers."""
STEPS: Final = {"mnist-fcn": 8000, "mnist-cnn": 4500, "cifar10-fcn": 5000, "cifar10-cnn": 4000}
QUICK: Final = 20
"""The factor by which `--quick` reduces the number of steps."""
DROPS: Final = (0.6, 0.85)
"""The fractions of the steps after which the learning rate is divided by 10."""


def network(name: str, quick: bool, cifar10: Path | None = None) -> Pipeline:
    """The pipeline of the network `name`; `cifar10` is a path to the images of CIFAR-10."""
    data, kind = name[:-1].split("-")
    steps = STEPS[name[:-1]] // (QUICK if quick else 1)
    path = str(cifar10.resolve()) if cifar10 and data == "cifar10" else None
    images = kind == "cnn"
    return Pipeline(
        name=name,
        data=DataConfig(name=None if path else data, path=path, batch=128 if images else 256),
        train=TrainConfig(steps=steps, lr_drops=tuple(int(steps * part) for part in DROPS)),
        synthetic=SyntheticConfig(kernel=3) if images else SyntheticConfig(),
        layer=_layers(data, images, int(name[-1])),
    )


def _layers(data: str, images: bool, count: int) -> tuple[LayerConfig, ...]:
    first = ("standardise",) if data == "cifar10" else ()
    last = LayerConfig(("linear 10",))
    if not images:
        units = 256 if data == "mnist" else 1000
        hidden = (f"linear {units}", "batchnorm", "relu")
        return (LayerConfig((*first, *hidden)), *[LayerConfig(hidden)] * (count - 2), last)
    pools = (True, True, False)
    made = []
    for i in range(count - 1):
        modules = [f"conv {32 if i == 0 else 64} 5 pad same", "batchnorm", "relu"]
        if pools[i]:
            modules.append("maxpool 2")
        made.append(LayerConfig((*(first if i == 0 else ()), *modules)))
    return (*made, last)


def paper_errors(pipeline: Pipeline) -> dict[str, float]:
    """The errors of this network in the paper's table, by rule; empty for other networks."""
    name = pipeline.name
    if name not in PAPER or network(name, quick=False).layer != pipeline.layer:
        return {}
    return dict(zip(RULES, PAPER[name], strict=True))


def table1_cells(
    rules: Sequence[str], seeds: int, quick: bool, only: str, cifar10: Path | None
) -> Iterator[Cell]:
    """The cells of all networks whose name starts with `only`, with `seeds` seeds each.

    Raises SpecError if there is no such network.
    """
    names = [name for name in PAPER if name.startswith(only)]
    if not names:
        raise SpecError(
            f"--only: no network's name starts with {only!r}{did_you_mean(only, PAPER)}"
        )
    for name in names:
        made = network(name, quick, cifar10)
        yield from make_cells(made, rules, seeds, paper_errors(made))
