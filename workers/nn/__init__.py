"""Neural networks in numpy: modules with a forward and a backward pass, losses, and stacks."""

from workers.nn.activation import Relu, Sigmoid, Tanh
from workers.nn.convolution import Conv
from workers.nn.dense import Conditioned, ConditionedInput, Flatten, Linear
from workers.nn.grammar import MODULES, module, modules, readers
from workers.nn.loss import LOSSES, Labels, Loss, LossResult, target_values
from workers.nn.module import Floats, Module, Shape
from workers.nn.normalisation import BatchNorm, Standardise
from workers.nn.pooling import AvgPool, MaxPool
from workers.nn.regularisation import Dropout
from workers.nn.stack import Stack

__all__ = [
    "LOSSES",
    "MODULES",
    "AvgPool",
    "BatchNorm",
    "Conditioned",
    "ConditionedInput",
    "Conv",
    "Dropout",
    "Flatten",
    "Floats",
    "Labels",
    "Linear",
    "Loss",
    "LossResult",
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
    "target_values",
]
