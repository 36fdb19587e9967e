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
from heldout.neural.layers.base import Layer, Mask, Params, SequenceLayer, Shape, State
from heldout.neural.layers.containers import Parallel, Residual, Sequential
from heldout.neural.layers.convolution import Conv1D, Conv2D, ConvTranspose1D, ConvTranspose2D, DepthwiseConv2D
from heldout.neural.layers.dense import Dense
from heldout.neural.layers.dropout import Dropout
from heldout.neural.layers.masking import Masking
from heldout.neural.layers.normalization import BatchNorm, LayerNorm
from heldout.neural.layers.pooling import (
    AdaptiveAveragePool,
    AveragePool1D,
    AveragePool2D,
    GlobalAveragePool,
    GlobalMaxPool,
    MaxPool1D,
    MaxPool2D,
)
from heldout.neural.layers.recurrent import GRU, LSTM, RNN
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
        Conv1D,
        Conv2D,
        DepthwiseConv2D,
        ConvTranspose1D,
        ConvTranspose2D,
        MaxPool1D,
        MaxPool2D,
        AveragePool1D,
        AveragePool2D,
        GlobalAveragePool,
        GlobalMaxPool,
        AdaptiveAveragePool,
        Masking,
        RNN,
        LSTM,
        GRU,
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
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "Activation",
    "AdaptiveAveragePool",
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "ConvTranspose1D",
    "ConvTranspose2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Mask",
    "Masking",
    "MaxPool1D",
    "MaxPool2D",
    "Maxout",
    "Parallel",
    "Params",
    "ReLU",
    "Reshape",
    "Residual",
    "SequenceLayer",
    "Sequential",
    "Shape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "State",
    "Tanh",
]
