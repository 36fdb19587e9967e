"""Which networks are chains, and which trainings the kernel takes over."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heldout.neural.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from heldout.neural.layers.base import Layer, Params
from heldout.neural.layers.containers import Sequential
from heldout.neural.layers.dense import Dense
from heldout.neural.layers.dropout import Dropout
from heldout.neural.losses import CrossEntropy, Logistic, Loss, SquaredError
from heldout.neural.program import Recipe, Rows

LEAST_WORK = 2 * 10**9  # rows times weights from which the kernel, compiled once on a machine, is worth it
WIDEST = 2048  # inputs and units up to which what a product reads stays in the second cache
ACTIVATIONS = (ReLU, LeakyReLU, Tanh, Sigmoid)
METRICS: dict[type[Loss], str] = {CrossEntropy: "accuracy", SquaredError: "squared_error", Logistic: "label_accuracy"}


@dataclass(frozen=True)
class Link:
    """A dense layer by its name, the activation behind it, and the share that is dropped then."""

    name: str
    activation: Layer | None = None
    dropped: float = 0.0


def links_of(network: Layer) -> list[Link] | None:
    """The links of a network that is a chain, or None.

    A chain is made of dense layers; behind each but the last there may be an activation, and dropout behind that.
    """
    if not isinstance(network, Sequential):
        return None
    links: list[Link] = []
    for name, layer in zip(network.names, network.layers, strict=True):
        if isinstance(layer, Dense) and layer.use_bias:
            links.append(Link(name))
        elif links and isinstance(layer, ACTIVATIONS) and links[-1] == Link(links[-1].name):
            links[-1] = Link(links[-1].name, layer)
        elif links and isinstance(layer, Dropout) and links[-1].dropped == 0.0:
            links[-1] = replace(links[-1], dropped=layer.rate)
        else:
            return None
    return links if links and links[-1] == Link(links[-1].name) else None


def takes_over(recipe: Recipe, params: Params, rows: Rows) -> bool:
    """Whether the kernel trains this: a chain on mini-batches of table rows, in single precision on the CPU, with a
    loss that it knows, without clipping and mixup, and with work enough."""
    links = links_of(recipe.network)
    if links is None or recipe.mixup or recipe.batch_size is None or recipe.optimizer.clip_norm is not None:
        return False
    if rows.x.ndim != 2 or rows.w.dtype != np.float32 or {one.platform for one in rows.w.devices()} != {"cpu"}:
        return False
    shapes = [params[link.name]["weights"].shape for link in links]
    single = shapes[-1][1] == 1 and recipe.metric == "accuracy"  # which is the same for one yes-or-no question
    metric = METRICS.get(type(recipe.loss))
    if recipe.metric != metric and not (single and metric == "label_accuracy"):
        return False
    work, widest = len(rows.w) * sum(p * m for p, m in shapes), max(max(shape) for shape in shapes)
    return bool(work >= LEAST_WORK and widest <= WIDEST)
