"""Neural networks in numpy: modules with forward and backward, losses, and layers of modules."""

from workers.nn.activation import Relu, Sigmoid, Tanh
from workers.nn.convolution import Conv
from workers.nn.dense import Conditioned, Flatten, Joined, Linear
from workers.nn.grammar import WORDS, module, modules, readers
from workers.nn.loss import LOSSES, Judgement, Labels, Loss, targets
from workers.nn.module import Floats, Module, Shape
from workers.nn.normalisation import BatchNorm, Standardise
from workers.nn.pooling import AvgPool, MaxPool
from workers.nn.regularisation import Dropout
from workers.nn.stack import Stack

__all__ = [
    "LOSSES",
    "WORDS",
    "AvgPool",
    "BatchNorm",
    "Conditioned",
    "Conv",
    "Dropout",
    "Flatten",
    "Floats",
    "Joined",
    "Judgement",
    "Labels",
    "Linear",
    "Loss",
    "MaxPool",
    "Module",
    "Relu",
    "Shape",
    "Sigmoid",
    "Stack",
    "Standardise",
    "Tanh",
    "module",
    "modules",
    "readers",
    "targets",
]
