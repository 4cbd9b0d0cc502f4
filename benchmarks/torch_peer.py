"""The peer of benchmarks/throughput.py: the network in PyTorch, in one process.

    python benchmarks/torch_peer.py backprop|cdni --threads 2 --steps 500

Prints samples/s as JSON. cDNI is implemented for speed: each layer has an autograd graph of its
own, and one fused Adam step updates all parameters at the end of the batch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH, PIXELS, WIDTH, CLASSES, HIDDEN = 256, 784, 256, 10, 3
WARM_UP = 30


def layers() -> list[nn.Module]:
    """Three hidden layers (linear, batch-norm, ReLU) and a linear one."""
    made: list[nn.Module] = []
    inputs = PIXELS
    for _ in range(HIDDEN):
        made.append(nn.Sequential(nn.Linear(inputs, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()))
        inputs = WIDTH
    return [*made, nn.Linear(inputs, CLASSES)]


def backprop() -> Callable[[Tensor, Tensor], None]:
    """One step of back-propagation."""
    network = nn.Sequential(*layers())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    return step


def cdni() -> Callable[[Tensor, Tensor], None]:
    """One step of cDNI with linear gradient models: gradients of the summed loss, as in dni."""
    stack = layers()
    models = [nn.Linear(WIDTH + CLASSES, WIDTH) for _ in range(HIDDEN)]
    for model in models:
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
    parameters = [p for module in (*stack, *models) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        condition = functional.one_hot(y, CLASSES).float()
        below: Tensor | None = None
        h = x
        for layer, model in zip(stack, models, strict=False):
            out = layer(h)
            prediction = model(torch.cat((out.detach(), condition), 1))
            out.backward(prediction.detach() / BATCH)
            fit(below, h)
            below, h = prediction, out.detach().requires_grad_()
        functional.cross_entropy(stack[-1](h), y).backward()
        fit(below, h)
        optimizer.step()

    def fit(prediction: Tensor | None, h: Tensor) -> None:
        if prediction is not None and h.grad is not None:
            (0.5 * (prediction - h.grad * BATCH).square().sum() / BATCH).backward()

    return step


def main() -> None:
    """Measure one rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rule", choices=("backprop", "cdni"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (60000, PIXELS), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (60000,))
    step = backprop() if options.rule == "backprop" else cdni()
    began = 0.0
    for number in range(WARM_UP + options.steps):
        if number == WARM_UP:
            began = time.perf_counter()
        rows = torch.randint(0, 60000, (BATCH,))
        step(images[rows].float().mul_(1 / 255), labels[rows])
    seconds = time.perf_counter() - began
    print(json.dumps({"samples_per_second": options.steps * BATCH / seconds}))


if __name__ == "__main__":
    main()
