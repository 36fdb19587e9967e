"""What a network of images looks at: its first filters, saliency, Grad-CAM, and what training sees of an image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from heldout.errors import InputError, suggest
from heldout.neural import choices
from heldout.neural.layers import Augmentation, Conv2D, DepthwiseConv2D, Identity, Sequential
from heldout.neural.layers.base import Layer, Params, State
from heldout.neural.learner import NeuralLearner
from heldout.neural.program import MIXING, Rows, mixed, read
from heldout.neural.tiles import coloured, grid, unit, visible
from heldout.neural.transfer import thaw

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

IN_A_ROW = 8  # filters in a chart
SHARE = 0.55  # of a map where it lies over its image


@dataclass(frozen=True, eq=False)
class Filters:
    """The filters of a network's first convolution.

    Attributes
    ----------
    layer : str, its name
    images : array (F, height, width, C), the weights: one image a filter
    """

    layer: str
    images: Array

    def plot(self) -> Any:
        """An Altair chart, one tile a filter: middle grey is 0, and all have the same scale.

        Filters of one channel are grey, of three red, green and blue; of others the mean of their channels is shown.
        """
        most = max(float(np.abs(self.images).max()), 1e-30)
        shown = list(0.5 + 0.5 * visible(self.images) / most)
        rows = [shown[i : i + IN_A_ROW] for i in range(0, len(shown), IN_A_ROW)]
        columns = [f"{i + 1}" for i in range(len(rows[0]))]
        names = [f"from {1 + i * IN_A_ROW}" for i in range(len(rows))]
        return grid(rows, columns, names, f"Filters of the first convolution, {self.layer}")


@dataclass(frozen=True, eq=False)
class Maps:
    """Which pixels of some images a network's answers rest on.

    Attributes
    ----------
    title : str
    images : array (n, height, width, C), as they were given
    maps : array (n, height, width), not negative: the larger, the more
    about : list of n: the class, or the number of the output, that each map is about
    layer : str, the layer that Grad-CAM looks at; "" for saliency
    """

    title: str
    images: Array
    maps: Array
    about: list[Any]
    layer: str = ""

    def plot(self) -> Any:
        """An Altair chart: the images, and the maps over them, each as bright as its largest number."""
        grey = visible(unit(self.images)).mean(axis=-1, keepdims=True)
        heat = coloured(self.maps / np.maximum(self.maps.max(axis=(1, 2), keepdims=True), 1e-30))
        over = (1.0 - SHARE) * grey + SHARE * heat
        columns = [f"{i + 1}: {told}" for i, told in enumerate(self.about)]
        return grid(
            [list(visible(unit(self.images))), list(over)], columns, ["image", "map"], self.title, "image: class"
        )


@dataclass(frozen=True, eq=False)
class Augmented:
    """Images as training sees them.

    Attributes
    ----------
    images : array (n, 1 + times, height, width, C), as the network reads them: shares of 255 for bytes, otherwise
        standard deviations; the first of each is as in evaluation
    """

    images: Array

    def plot(self) -> Any:
        """An Altair chart: a line an image, which comes first, then as it is augmented."""
        shown = visible(unit(self.images))
        columns = ["image", *(f"augmented {i + 1}" for i in range(shown.shape[1] - 1))]
        names = [f"{i + 1}" for i in range(len(shown))]
        return grid([list(row) for row in shown], columns, names, "Images as training sees them")


def first_filters(model: NeuralLearner) -> Filters:
    """The filters of a fitted network's first convolution, as images.

    Raises
    ------
    InputError : the network has no convolution over images among its layers.

    >>> from sklearn.datasets import load_digits
    >>> from heldout import ConvNetClassifier
    >>> model = ConvNetClassifier(max_iter=1).fit(load_digits().images[:100], load_digits().target[:100])
    >>> first_filters(model).images.shape
    (32, 3, 3, 1)
    """
    network = _network(model)
    params, _ = thaw(network, model.params_, model.state_)
    for name, layer in zip(network.names, network.layers, strict=True):
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, Conv2D | DepthwiseConv2D):
            return Filters(name, np.moveaxis(np.asarray(params[name]["weights"]), -1, 0))
    raise InputError("The network has no Conv2D among its layers, and so no filters that are images.")


def saliency(model: NeuralLearner, X: Any, classes: Any = None) -> Maps:
    r"""How much each pixel of some images moves the score of a class.

    .. math:: M_{i j} = \max_c \Big| \frac{\partial z_k}{\partial x_{i j c}} \Big|

    Parameters
    ----------
    model : fitted neural learner whose rows are images
    X : images (n, height, width) or (n, height, width, C)
    classes : labels (n,), default None
        k for each image; None: the class that is predicted. For several labels and for numbers it is the number of the
        output, and None the output with the highest score.

    Raises
    ------
    InputError : rows are no images, or a class is none of the model's.

    References
    ----------
    K. Simonyan, A. Vedaldi and A. Zisserman, Deep Inside Convolutional Networks, 2014, section 3.1.

    >>> from sklearn.datasets import load_digits
    >>> from heldout import ConvNetClassifier
    >>> X, y = load_digits().images[:100], load_digits().target[:100]
    >>> found = saliency(ConvNetClassifier(max_iter=1).fit(X, y), X[:3], classes=[0, 1, 2])
    >>> found.maps.shape, found.about
    ((3, 8, 8), [0, 1, 2])
    """
    network, images = _network(model), _images(model, X)
    index, sign, about = _asked(model, images, classes)
    with _numbers(model):
        x, factor = _read(model, images)
        gradient, _ = _by_outputs(network, 0, model.params_, model.state_, x, index, sign)
        maps = np.asarray(jnp.abs(gradient * factor).max(axis=-1))
    return Maps("Saliency: what moves the score of the class", images, maps, about)


def grad_cam(model: NeuralLearner, X: Any, classes: Any = None, layer: str | None = None) -> Maps:
    r"""Where in some images a layer finds what speaks for a class: gradient-weighted class activation maps.

    .. math::
        \alpha_k = \frac1Z \sum_{i, j} \frac{\partial z}{\partial A_{i j k}}, \qquad
        M_{i j} = \text{ReLU} \Big( \sum_k \alpha_k A_{i j k} \Big)

    for the outputs A of a layer, over its Z places; the map is enlarged to the image bilinearly.

    Parameters
    ----------
    model, X, classes : as for `saliency`
    layer : str, default None
        The layer's name (see `model.summary()`); None: the last whose output has places.

    Raises
    ------
    InputError : as `saliency`; there is no layer of that name, or its output has no places.

    References
    ----------
    R. Selvaraju and others, Grad-CAM, ICCV 2017, equations 1 and 2.

    >>> from sklearn.datasets import load_digits
    >>> from heldout import ConvNetClassifier
    >>> X, y = load_digits().images[:100], load_digits().target[:100]
    >>> found = grad_cam(ConvNetClassifier(max_iter=1).fit(X, y), X[:3])
    >>> found.maps.shape, found.layer
    ((3, 8, 8), 'relu_3')
    """
    network, images = _network(model), _images(model, X)
    name = _layer_with_places(network, model.in_shape_, layer)
    index, sign, about = _asked(model, images, classes)
    with _numbers(model):
        x, _ = _read(model, images)
        behind = network.names.index(name) + 1
        gradient, outputs = _by_outputs(network, behind, model.params_, model.state_, x, index, sign)
        weights = gradient.mean(axis=(1, 2), keepdims=True)
        small = jax.nn.relu((weights * outputs).sum(axis=-1))
        maps = np.asarray(jax.image.resize(small, images.shape[:3], "bilinear"))
    return Maps(f"Grad-CAM of {name}: where it finds what speaks for the class", images, maps, about, name)


def augmented(model: NeuralLearner, X: Any, times: int = 5, seed: int = 0) -> Augmented:
    """Some images as training sees them: changed by the network's layers of augmentation, and mixed with each other.

    Parameters
    ----------
    model : fitted neural learner with layers of augmentation, or mixup
    X : images (n, height, width) or (n, height, width, C)
    times : int above 0, default 5
        How often each is drawn.
    seed : int, not negative, default 0

    Raises
    ------
    InputError : nothing augments; rows are no images.

    >>> from sklearn.datasets import load_digits
    >>> from heldout import ConvNetClassifier
    >>> X, y = load_digits().images[:100], load_digits().target[:100]
    >>> augmented(ConvNetClassifier(max_iter=1).fit(X, y), X[:3]).images.shape
    (3, 6, 8, 8, 1)
    """
    network, images = _network(model), _images(model, X)
    layers = [layer for layer in network.layers if isinstance(layer, Augmentation)]
    alpha = float(getattr(model, "mixup", 0.0))
    if not layers and not alpha:
        raise InputError("The network has no layers of augmentation, and mixup is 0: training sees images as they are.")
    steps = Sequential(*layers) if layers else Sequential(Identity())
    with _numbers(model):
        x, _ = _read(model, images)
        drawn = [_drawn(steps, alpha, x, key) for key in jax.random.split(jax.random.key(seed), times)]
        return Augmented(np.asarray(jnp.stack([steps.apply({}, {}, x)[0], *drawn], axis=1)))


# What they share -----------------------------------------------------------------------------------------------------


def _network(model: NeuralLearner) -> Sequential:
    check_is_fitted(model)
    network = model.network_
    if not isinstance(network, Sequential) or len(model.in_shape_) != 3:
        raise InputError("Pictures are made of networks whose rows are images, and whose layers are one Sequential.")
    return network


def _images(model: NeuralLearner, X: Any) -> Array:
    images = model._rows_in(X)
    if images.shape[1:] != model.in_shape_:
        raise InputError(f"X has rows of the shape {images.shape[1:]}, and the network takes {model.in_shape_}.")
    return images


def _numbers(model: NeuralLearner) -> Any:
    return choices.numbers(model.precision_, choices.device_of(model.device))


def _read(model: NeuralLearner, images: Array) -> tuple[Any, Any]:
    """The images as the network reads them, and the factor by which their differences are multiplied in that."""
    dtype = choices.PRECISIONS[model.precision_]
    scaling = model._scaling(dtype)
    return read(jnp.asarray(images), scaling, dtype), 1.0 if scaling is None else scaling.factor


def _asked(model: NeuralLearner, images: Array, classes: Any) -> tuple[Array, Array, list[Any]]:
    """For each image the output that is asked about, the sign of its score, and what it is called."""
    scores = model._scores(images)
    n, outputs = scores.shape
    by_label = is_classifier(model) and not model.multilabel_
    labels = model.classes_ if by_label else np.arange(outputs)
    two = by_label and outputs == 1  # one score for two classes
    if classes is None:
        codes = (scores[:, 0] > 0).astype(int) if two else scores.argmax(axis=1)
    else:
        given = np.asarray(classes)
        if given.shape != (n,):
            raise InputError(f"classes has the shape {given.shape} and must have one label for each of {n} images.")
        unknown = [label for label in given.tolist() if label not in labels.tolist()]
        if unknown:
            known = ", ".join(map(repr, labels.tolist()[:10]))
            raise InputError(f"classes has {unknown[0]!r}, which is none of the model's: {known}.")
        codes = np.array([labels.tolist().index(label) for label in given.tolist()], dtype=int)
    about = labels[codes].tolist()
    return (np.zeros(n, int), 2.0 * codes - 1.0, about) if two else (codes, np.ones(n), about)


def _layer_with_places(network: Sequential, in_shape: tuple[int, ...], name: str | None) -> str:
    if name is not None and name not in network.names:
        raise InputError(f"There is no layer {name!r}.{suggest(str(name), network.names)}")
    found, shape = "", in_shape
    for called, layer in zip(network.names, network.layers, strict=True):
        shape = layer.out_shape(shape)
        if len(shape) == 3 and name in (None, called):
            found = called
    if not found:
        raise InputError("Grad-CAM needs a layer whose output has height and width.")
    return found


@functools.partial(jax.jit, static_argnames=("steps", "alpha"))
def _drawn(steps: Layer, alpha: float, x: Any, key: Any) -> Any:
    """Images as one step of training sees them."""
    if alpha:
        weights = jnp.ones(len(x), x.dtype)
        x, _ = mixed(alpha, jax.random.fold_in(key, MIXING), x, Rows(x, weights, weights))
    return steps.apply({}, {}, x, train=True, key=key)[0]


@functools.partial(jax.jit, static_argnames=("network", "behind"))
def _by_outputs(
    network: Sequential, behind: int, params: Params, state: State, x: Any, index: Any, sign: Any
) -> tuple[Any, Any]:
    """The gradient of each image's score by the outputs of the first `behind` layers, and these outputs."""
    layers = list(zip(network.names, network.layers, strict=True))

    def through(part: Sequence[tuple[str, Layer]], x: Any) -> Any:
        for name, layer in part:
            x, _ = layer.apply(params.get(name, {}), state.get(name, {}), x)
        return x

    def score(outputs: Any) -> Any:
        z = through(layers[behind:], outputs)
        return (sign.astype(z.dtype) * jnp.take_along_axis(z, index[:, None], axis=1)[:, 0]).sum()

    outputs = through(layers[:behind], x)
    return jax.grad(score)(outputs), outputs
