"""Convolutional networks for images: two architectures, and learners with augmentation and transfer."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from heldout.errors import InputError, suggest
from heldout.neural import choices
from heldout.neural.layers import (
    Augmentation,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool2D,
    RandomShift,
    ReLU,
    Residual,
    Sequential,
)
from heldout.neural.layers.base import shape_text
from heldout.neural.layers.stored import from_json, to_json
from heldout.neural.learner import NeuralLearner
from heldout.neural.losses import Loss
from heldout.neural.parameters import parameters
from heldout.neural.schedules import Schedule
from heldout.neural.targets import NeuralClassification, NeuralRegression
from heldout.neural.train import Plan
from heldout.neural.transfer import freeze

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SMALL = 8  # pixels: shorter sides are not halved again
MOST_FILTERS = 256
SHIFT = 14  # the part of an image's side by which "auto" shifts it
LEAST_BATCH, MOST_BATCH = 16, 128
LEAST_EPOCHS, MOST_EPOCHS = 12, 60
ROOT_OF_ROWS = 4900.0  # epochs times the root of the number of rows


def plain_convnet(
    in_shape: tuple[int, ...], *, filters: int = 32, dense: int = 128, dropout: float = 0.3, outputs: int | None = None
) -> Sequential:
    """Blocks of convolution, max pooling, batch norm and ReLU, a last convolution without pooling, and a dense layer.

    There are two blocks, and more until an image is 8 pixels wide or less. Each convolution has twice the filters of
    the one before, up to 256. There is `dropout` before and behind the dense layer. (Pooling comes before batch norm
    because that is a quarter of the work.)

    >>> plain_convnet((28, 28, 1), outputs=10).summary((28, 28, 1)).parameters
    897258
    """
    size, layers = in_shape[:2], []
    *counts, last = widths(in_shape, filters, more=1)
    for count in counts:
        layers += [Conv2D(count, 3, padding="same", use_bias=False), _halving(size), BatchNorm(), ReLU()]
        size = tuple(max(length // 2, 1) for length in size)
    layers += [Conv2D(last, 3, padding="same", use_bias=False), BatchNorm(), ReLU(), Flatten()]
    dropped: list[Layer] = [Dropout(dropout)] if dropout else []
    layers += [*dropped, Dense(dense, use_bias=False), BatchNorm(), ReLU(), *dropped]
    return Sequential(*layers, Dense(outputs, initialization="xavier"))


def residual_convnet(
    in_shape: tuple[int, ...], *, filters: int = 32, blocks: int = 1, outputs: int | None = None
) -> Sequential:
    """A small residual network: stages of blocks y = ReLU(g(x) + f(x)), f being two convolutions with batch norm.

    Each stage but the first halves the pixels and doubles the filters, up to 256, until an image is 8 pixels wide or
    less; the means over all pixels go to the last layer (He and others 2016, section 4.2).

    >>> residual_convnet((32, 32, 3), filters=16, outputs=10).summary((32, 32, 3)).parameters
    78042
    """
    channels = filters
    layers: list[Layer] = [Conv2D(filters, 3, padding="same", use_bias=False), BatchNorm(), ReLU()]
    for stage, count in enumerate([filters, *widths(in_shape, 2 * filters)]):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers += [_residual(count, stride, same=stride == 1 and channels == count), ReLU()]
            channels = count
    return Sequential(*layers, GlobalAveragePool(), Dense(outputs, initialization="xavier"))


def widths(in_shape: tuple[int, ...], filters: int, more: int = 0) -> list[int]:
    """The filters of the blocks that halve an image, two and more until it is small, and of so many behind them.

    >>> widths((28, 28, 1), 32), widths((96, 96, 3), 32, more=1)
    ([32, 64], [32, 64, 128, 256, 256])
    """
    halvings = math.ceil(math.log2(max(*in_shape[:2], 1) / SMALL))
    return [min(filters * 2**block, max(MOST_FILTERS, filters)) for block in range(max(halvings, 2) + more)]


def _halving(size: tuple[int, ...]) -> MaxPool2D:
    return MaxPool2D(tuple(min(2, length) for length in size))


def _residual(filters: int, stride: int, *, same: bool) -> Residual:
    first = Conv2D(filters, 3, stride=stride, padding="same", use_bias=False)
    second = Conv2D(filters, 3, padding="same", use_bias=False)
    changed = Sequential(first, BatchNorm(), ReLU(), second, BatchNorm())
    if same:
        return Residual(changed)
    return Residual(changed, Sequential(Conv2D(filters, 1, stride=stride, use_bias=False), BatchNorm()))


NETWORKS: dict[str, Callable[[tuple[int, ...]], Sequential]] = {"plain": plain_convnet, "residual": residual_convnet}


def batch_size(n: int) -> int:
    """About the root of the number of rows, as a power of two from 16 to 128.

    >>> [batch_size(n) for n in (10, 150, 1_437, 60_000)]
    [10, 16, 32, 128]
    """
    return min(n, int(np.clip(2 ** round(math.log2(n) / 2), LEAST_BATCH, MOST_BATCH)))


def epochs(n: int) -> int:
    """How often the rows are gone through: the fewer, the more often.

    >>> [epochs(n) for n in (150, 1_437, 10_000, 60_000)]
    [60, 60, 49, 20]
    """
    return int(np.clip(round(ROOT_OF_ROWS / math.sqrt(n)), LEAST_EPOCHS, MOST_EPOCHS))


@parameters
class _Images(NeuralLearner):
    """Rows as images, the network as a parameter, augmentation, and layers that are frozen."""

    network: str | Layer = field(default="plain", kw_only=False)
    augment: str | Sequence[Augmentation] | None = "auto"
    mixup: float = 0.0
    freeze: str | Sequence[str] | None = None
    image_shape: tuple[int, ...] | None = None
    learning_rate: str | Schedule = "one_cycle"
    learning_rate_init: float = 3e-3
    early_stopping: bool | str = False
    precision: str = "single"

    # Rows

    def _door(self, X: Any, y: Any, sample_weight: Any, *, reset: bool = True) -> tuple[Array, Any, Array]:
        X, y, weights = super()._door(X, y, sample_weight, reset=reset)
        return self._images(X, reset), y, weights

    def _rows_in(self, X: Any) -> Array:
        return self._images(super()._rows_in(X), reset=False)

    def _images(self, X: Array, reset: bool) -> Array:
        """The rows as images (n, height, width, channels)."""
        wanted = self._image_shape()
        if X.ndim == 2:
            if wanted is None:
                side = math.isqrt(X.shape[1])
                example = f"{side}, {side}" if side * side == X.shape[1] else "height, width"
                raise InputError(
                    f"X is a table of {X.shape[1]} columns, and a convolutional network needs images: reshape it, as "
                    f"in X.reshape(-1, {example}), or say image_shape=({example})."
                )
            if math.prod(wanted) != X.shape[1]:
                raise InputError(
                    f"X has {X.shape[1]} columns, and images of {shape_text(wanted)} have {math.prod(wanted)}."
                )
            X = X.reshape(-1, *wanted)
        elif X.ndim == 3:
            X = X[..., None]
        elif X.ndim != 4:
            raise InputError(
                f"X has the shape {X.shape} and must be images (n, height, width) or (n, height, width, channels)."
            )
        expected = wanted if reset else self._in_shape
        if expected is not None and X.shape[1:] != expected:
            raise InputError(f"Images are {shape_text(X.shape[1:])} and must be {shape_text(expected)}.")
        return X

    def _image_shape(self) -> tuple[int, ...] | None:
        shape = self.image_shape
        if shape is None:
            return None
        whole = isinstance(shape, tuple | list) and all(type(n) is int and n > 0 for n in shape)
        if not whole or len(shape) not in (2, 3):
            raise InputError(
                f"image_shape is {shape!r} and must be (height, width) or (height, width, channels), or None."
            )
        return (*shape, 1) if len(shape) == 2 else tuple(shape)

    def _columns_of(self, in_shape: tuple[int, ...]) -> int:
        return in_shape[0] if self.image_shape is None else math.prod(in_shape)

    def _moments(self, X: Array, weights: Array) -> tuple[Array, Array]:
        return choices.channel_moments(X, weights)

    # Network

    def _architecture(self) -> Sequential:
        network = self._described()
        names = network.names[:-1] if isinstance(self.freeze, str) and self.freeze == "body" else self.freeze
        if names is not None:
            if isinstance(names, str) or not isinstance(names, Collection):
                raise InputError(f"freeze is {names!r} and must be 'body', a list of layers' names, or None.")
            if network.names[-1] in names:
                raise InputError(f"The last layer, {network.names[-1]}, cannot be frozen: it has to fit the targets.")
            network = freeze(network, names)
        return Sequential(*self._augmentations(), *network.layers)

    def _described(self) -> Sequential:
        """The network as the parameter says, without augmentation."""
        if isinstance(self.network, Sequential):
            return self.network
        if isinstance(self.network, Layer):
            return Sequential(self.network)
        if not isinstance(self.network, str) or self.network not in NETWORKS:
            raise InputError(
                f"network is {self.network!r} and must be 'plain', 'residual' or a layer, such as "
                "Sequential(Conv2D(16, 3), ReLU(), GlobalAveragePool(), Dense())."
                f"{suggest(str(self.network), NETWORKS)}"
            )
        return NETWORKS[self.network](self._in_shape)

    def _augmentations(self) -> tuple[Layer, ...]:
        if self.augment is None:
            return ()
        if isinstance(self.augment, str) and self.augment == "auto":
            most = tuple(round(length / SHIFT) for length in self._in_shape[:2])
            return (RandomShift(most),) if any(most) else ()
        layers = tuple(self.augment) if isinstance(self.augment, tuple | list) else (self.augment,)
        if not all(isinstance(layer, Augmentation) for layer in layers):
            raise InputError(
                f"augment is {self.augment!r} and must be 'auto', None, or layers of augmentation, such as "
                "[RandomFlip(), RandomShift(2)]."
            )
        return layers

    # Training

    def _auto(self, n: int) -> dict[str, Any]:
        return {"max_iter": epochs(n), "n_iter_no_change": None, "batch_size": batch_size(n)}

    def _plan(self, loss: Loss, n: int, one_pass: bool) -> Plan:
        mixup = self.mixup
        if isinstance(mixup, bool) or not isinstance(mixup, int | float) or not 0.0 <= mixup < math.inf:
            raise InputError(f"mixup is {mixup!r} and must be a finite number, 0 or more.")
        return replace(super()._plan(loss, n, one_pass), mixup=float(mixup))

    # Files

    def _architecture_to_state(self) -> dict[str, Any]:
        named = self.augment is None or isinstance(self.augment, str)
        return {
            "network": to_json(self.network) if isinstance(self.network, Layer) else self.network,
            "augment": self.augment if named else [to_json(layer) for layer in self._augmentations()],
            "mixup": float(self.mixup),
            "freeze": self.freeze if self.freeze is None or isinstance(self.freeze, str) else list(self.freeze),
            "image_shape": None if self.image_shape is None else list(self.image_shape),
        }

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        network = state.json("network")
        found: dict[str, Any] = {
            "network": network if network in tuple(NETWORKS) else _layer(state, "network", network)
        }
        augment = state.json("augment") if state.optional("augment") else None
        if augment is not None and augment != "auto":
            if not isinstance(augment, list):
                state.fail("'augment' must be 'auto' or a list of layers")
            augment = [_layer(state, "augment", item) for item in augment]
            if not all(isinstance(layer, Augmentation) for layer in augment):
                state.fail("'augment' has a layer that does not augment")
        found |= {"augment": augment, "mixup": state.number("mixup", low=0.0), "freeze": None, "image_shape": None}
        if state.optional("freeze"):
            found["freeze"] = "body" if state.json("freeze") == "body" else state.texts("freeze")
        if state.optional("image_shape"):
            shape = state.json("image_shape")
            if not isinstance(shape, list) or len(shape) not in (2, 3) or not all(type(n) is int for n in shape):
                state.fail("'image_shape' must be two or three whole numbers")
            if not all(0 < n < 2**31 for n in shape):
                state.fail("'image_shape' must be above 0")
            found["image_shape"] = tuple(shape)
        return found


def _layer(state: State, key: str, value: Any) -> Layer:
    try:
        return from_json(value)
    except InputError as error:
        state.fail(f"{key!r} is none: {str(error).rstrip('.')}")


@parameters
class ConvNetClassifier(_Images, NeuralClassification):
    r"""A convolutional network for the classes of images.

    Convolutions find what small windows of an image look like, pooling keeps it where it is strongest, and dense layers
    make scores of it; softmax makes them probabilities. The weights minimise the mean cross-entropy plus
    :math:`\frac{\alpha}{2} \sum W^2`, on images that are changed a little each time they are seen.

    Parameters
    ----------
    network : {"plain", "residual"} or Layer, default "plain"
        "plain": `plain_convnet`, three convolutions with pooling, batch norm and ReLU, and a dense layer.
        "residual": `residual_convnet`. Or any stack of layers that ends with `Dense()`.
    augment : "auto", None, or a sequence of layers of augmentation, default "auto"
        What is done to images in training, in this order: `RandomFlip`, `RandomShift`, `RandomCrop`, `RandomRotation`,
        `Cutout`, `RandomBrightness`. "auto": shifts by up to a 14th of the image, 2 pixels of 28.
    mixup : float, not negative, default 0.0
        α: images are mixed in pairs, and their targets too, in proportions from Beta(α, α). 0.2, say; 0 mixes none.
    freeze : None, "body" or a sequence of layers' names, default None
        Layers whose weights stay as `start` gives them; "body": all but the last.
    image_shape : (height, width) or (height, width, channels), or None, default None
        What the rows of a table are, pixel by pixel and row by row, channels last. None: X is images.
    solver : as that of `MLPClassifier`, default "adam"
    batch_size : int above 0, or "auto", default "auto"
        "auto": about the root of the number of rows, from 16 to 128.
    learning_rate : as that of `MLPClassifier`, default "one_cycle"
    learning_rate_init : float above 0, default 3e-3
    max_iter : int above 0, or "auto", default "auto"
        Epochs. "auto": from 60 for few rows to 20 for 60,000 and 12 for many.
    n_iter_no_change : int above 0, or "auto", default "auto"
        "auto": training goes through its whole schedule; the best weights on validation rows, if any, are kept.
    early_stopping : bool or "auto", default False
        Hold out some of the rows to judge by.
    standardise : bool or "auto", default "auto"
        "auto": bytes (uint8) as shares of 255, other numbers in standard deviations from the mean of their channel.
    precision : {"auto", "single", "double"}, default "single"

    The others are those of `MLPClassifier`.

    Attributes
    ----------
    network_ : Sequential, the whole network, augmentation first
    params_, state_ : nested dicts of arrays, by the names of the layers; weights of frozen layers are in `state_`
    The others are those of `MLPClassifier`, without `coefs_` and `intercepts_`.

    Raises
    ------
    InputError : a parameter is out of range; rows are no images, or of another size than at fit; a table is given
        without `image_shape`; the network does not fit the images or the classes.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    Y. LeCun and others, Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86, 1998. I. Goodfellow,
    Y. Bengio and A. Courville, Deep Learning, 2016, chapter 9.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> images, y = load_digits().images, load_digits().target
    >>> model = ConvNetClassifier(max_iter=5).fit(images[::2], y[::2])
    >>> model.score(images[1::2], y[1::2]) > 0.94
    True

    What it has learned is where another one begins, which has another head and learns no more than that:

    >>> other = ConvNetClassifier(freeze="body", max_iter=2).fit(images[:100], y[:100] > 4, start=model)
    >>> sorted(other.params_), sorted(other.state_["conv2d_1"]["params"])
    (['dense_2'], ['weights'])
    """


@parameters
class ConvNetRegressor(_Images, NeuralRegression):
    r"""A convolutional network for numbers that images stand for: `ConvNetClassifier` without softmax at the end.

    The weights minimise the mean loss of the standardised target plus :math:`\frac{\alpha}{2} \sum W^2`. All parameters
    but these are those of `ConvNetClassifier`.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"} or Loss, default "squared_error"
        Of the standardised target.

    Attributes
    ----------
    As those of `ConvNetClassifier`, and `target_mean_`, `target_scale_`, `target_shape_` of `MLPRegressor`.

    Raises
    ------
    InputError : as `ConvNetClassifier`.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    I. Goodfellow, Y. Bengio and A. Courville, Deep Learning, 2016, chapter 9.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(size=(300, 6, 6))
    >>> model = ConvNetRegressor(augment=None, max_iter=20).fit(images, images.max(axis=(1, 2)))
    >>> model.score(images, images.max(axis=(1, 2))) > 0.9
    True
    """
