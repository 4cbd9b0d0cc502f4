"""Modules, losses and their gradients equal those of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from workers.nn import LOSSES, MODULES, Labels, Shape, Stack, modules

CASES: tuple[tuple[str, Shape], ...] = (
    ("linear 4", (2, 3)),
    ("batchnorm", (2, 3)),
    ("batchnorm", (4, 3, 2)),
    ("relu", (3, 2)),
    ("tanh", (6,)),
    ("sigmoid", (6,)),
    ("flatten", (3, 2)),
    ("standardise", (4, 3, 2)),
    *((f"conv 5 {options}", (7, 8, 3)) for options in ("1", "2", "3", "3 stride 2 pad 1", "7")),
    *((f"conv 2 {options}", (6, 9)) for options in ("3 pad 2", "2 stride 3", "4 pad same", "6")),
    ("conv 4 5 pad same", (6, 5, 30)),
    ("conv 3 2 stride 3 pad 1", (5, 7, 20)),
    ("conv 3 5 pad 6 stride 4", (5, 7, 2)),
    ("conv 2 5", (24, 24)),
    *(
        (f"{kind} {options}", (7, 8, 3))
        for kind in ("maxpool", "avgpool")
        for options in ("1", "2", "3 stride 2", "3 stride 2 pad 1", "2 stride 3", "7", "4 pad 2")
    ),
    ("maxpool 2", (90, 70)),
)
"""The larger cases exceed one block."""
WITHOUT_PEER = {"dropout"}
"""Modules whose random numbers differ from those of PyTorch."""
JUDGED = [(name, kind) for name in LOSSES for kind in ("classes", "values")]
JUDGED.remove(("cross-entropy", "values"))
N, K = 64, 3


def answers(kind: str) -> Labels:
    rng = np.random.default_rng(4)
    return rng.integers(0, K, N) if kind != "values" else rng.uniform(0, 1, (N, K))


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    found: ModuleType = pytest.importorskip("torch", reason="the peer; pip install '.[torch]'")
    return found


def agree(ours: Any, theirs: Any, tight: float) -> None:
    """Assert that they differ by no more than rounding in sums of their size."""
    assert_allclose(
        ours, theirs, rtol=tight, atol=tight * max(1.0, np.abs(np.asarray(theirs)).max(initial=0))
    )


def in_torch(text: str, f: Any, x: Any, p: Mapping[str, Any], train: bool) -> Any:
    """`text` as torch.nn.functional has it; channels are the last axis here, the second there."""
    kind, *numbers = text.split()
    if kind == "linear":
        return f.linear(x.flatten(1), p["weight"].T, p["bias"])
    if kind == "batchnorm":
        rows = x.reshape(-1, x.shape[-1])
        running = p["running_mean"], p["running_var"]
        return f.batch_norm(rows, *running, p["scale"], p["shift"], train).reshape(x.shape)
    if kind == "standardise":
        rows = x.flatten(1)
        deviation = rows.std(1, correction=0, keepdim=True).clamp(min=rows.shape[1] ** -0.5)
        return ((rows - rows.mean(1, keepdim=True)) / deviation).reshape(x.shape)
    if kind in ("conv", "maxpool", "avgpool"):
        images = x.reshape(*x.shape[:3], -1).permute(0, 3, 1, 2)
        return in_torch_images(kind, numbers, f, images, p).permute(0, 2, 3, 1)
    return x.flatten(1) if kind == "flatten" else getattr(f, kind)(x)


def in_torch_images(kind: str, numbers: list[str], f: Any, x: Any, p: Mapping[str, Any]) -> Any:
    first = 2 if kind == "conv" else 1
    options = dict(zip(numbers[first::2], numbers[first + 1 :: 2], strict=True))
    pad = options.get("pad", "0")
    padding = int(pad) if pad != "same" else pad
    if kind == "conv":
        weight, stride = p["weight"].permute(3, 2, 0, 1), int(options.get("stride", 1))
        return f.conv2d(x, weight, p["bias"], stride=stride, padding=padding)
    pool = f.max_pool2d if kind == "maxpool" else f.avg_pool2d
    return pool(x, int(numbers[0]), int(options.get("stride", numbers[0])), padding)


def test_every_module_has_a_peer() -> None:
    assert {text.split()[0] for text, _ in CASES} == MODULES.keys() - WITHOUT_PEER


@pytest.mark.service
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize(("dtype", "tight"), [("f4", 2e-5), ("f8", 1e-10)])
@pytest.mark.parametrize(("text", "shape"), CASES)
def test_a_module_and_its_gradients_are_those_of_pytorch(
    torch: ModuleType, text: str, shape: Shape, dtype: str, tight: float
) -> None:
    stack = Stack(modules([text], shape, "k"), np.random.default_rng(0), dtype=dtype)
    stack.parameters[...] = np.random.default_rng(1).uniform(-0.5, 0.5, stack.parameters.size)
    p = {name.split(".")[2]: torch.tensor(array) for name, array in stack.named().items()}
    learned = [p[name] for name in stack.modules[0].initial(np.random.default_rng(0))]
    for step in range(4):
        x = np.random.default_rng(step).normal(1, 2, (N, *shape)).astype(dtype)
        x = np.round(x) if step == 3 else x  # which brings ties
        theirs_x = torch.tensor(x, requires_grad=True)
        for each in learned:
            each.requires_grad_().grad = None
        theirs = in_torch(text, torch.nn.functional, theirs_x, p, train=True)
        ours, caches = stack.forward(x, train=True)
        dy = np.random.default_rng(9).normal(size=ours.shape).astype(dtype)
        theirs.backward(torch.tensor(dy))
        agree(ours, theirs.detach(), tight)
        dx = stack.backward(caches, dy, need_dx=True)
        agree(dx, theirs_x.grad, tight)
        slopes = [each.grad.numpy().ravel() for each in learned] or [np.empty(0)]
        agree(stack.gradients, np.concatenate(slopes), 10 * tight)
        for name, array in stack.named().items():
            agree(array, p[name.split(".")[2]].detach(), tight)
        evaluated = in_torch(text, torch.nn.functional, theirs_x, p, train=False)
        agree(stack.forward(x, False)[0], evaluated.detach(), tight)


@pytest.mark.service
@pytest.mark.parametrize(("dtype", "tight"), [("f4", 5e-6), ("f8", 1e-12)])
@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_and_its_gradient_are_those_of_pytorch(
    torch: ModuleType, name: str, kind: str, dtype: str, tight: float
) -> None:
    f, labels = torch.nn.functional, answers(kind)
    bce = f.binary_cross_entropy_with_logits
    outputs = np.random.default_rng(13).normal(0, 3, (N, K)).astype(dtype)
    x = torch.tensor(outputs, requires_grad=True)
    wanted = torch.tensor(labels if kind == "values" else np.eye(K)[labels]).to(x.dtype)
    losses = {
        "cross-entropy": lambda: f.cross_entropy(x, torch.tensor(labels), reduction="sum"),
        "squared-error": lambda: f.mse_loss(x, wanted, reduction="sum") / 2,
        "binary-cross-entropy": lambda: bce(x, wanted, reduction="sum"),
    }
    loss = losses[name]()
    loss.backward()
    judgement = LOSSES[name](outputs, labels)
    assert judgement.loss == pytest.approx(loss.item(), rel=tight)
    assert_allclose(judgement.gradient, x.grad, rtol=tight, atol=tight)
