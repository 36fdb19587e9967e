"""Layers, one kind a file, and the closed table of those that files may name."""

from heldout.neural.layers.activations import (
    ELU,
    GELU,
    Activation,
    Identity,
    LeakyReLU,
    Maxout,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from heldout.neural.layers.base import Layer, Params, Shape, State
from heldout.neural.layers.containers import Parallel, Residual, Sequential
from heldout.neural.layers.dense import Dense
from heldout.neural.layers.dropout import Dropout
from heldout.neural.layers.normalization import BatchNorm, LayerNorm
from heldout.neural.layers.reshaping import Flatten, Reshape

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Dense,
        Sigmoid,
        Tanh,
        ReLU,
        LeakyReLU,
        ELU,
        GELU,
        SiLU,
        Identity,
        Softmax,
        Maxout,
        Dropout,
        BatchNorm,
        LayerNorm,
        Flatten,
        Reshape,
        Residual,
        Sequential,
        Parallel,
    )
}

__all__ = [
    "ELU",
    "GELU",
    "LAYERS",
    "Activation",
    "BatchNorm",
    "Dense",
    "Dropout",
    "Flatten",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Maxout",
    "Parallel",
    "Params",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "Shape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "State",
    "Tanh",
]
