"""Neural networks in numpy: modules with forward and backward, losses, and layers of modules."""

from workers.nn.activation import Relu, Sigmoid, Tanh
from workers.nn.dense import Flatten, Linear
from workers.nn.grammar import WORDS, module, modules
from workers.nn.loss import LOSSES, Judgement, Labels, Loss, targets
from workers.nn.module import Floats, Module, Shape
from workers.nn.normalisation import BatchNorm
from workers.nn.stack import Stack

__all__ = [
    "LOSSES",
    "WORDS",
    "BatchNorm",
    "Flatten",
    "Floats",
    "Judgement",
    "Labels",
    "Linear",
    "Loss",
    "Module",
    "Relu",
    "Shape",
    "Sigmoid",
    "Stack",
    "Tanh",
    "module",
    "modules",
    "targets",
]
