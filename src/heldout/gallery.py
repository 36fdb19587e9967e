"""What the report shows of images: some to learn from, the worst mistakes, where the learner looks, its first filters.

Pictures are PNG as data URIs, so that they can stand in study.json and in a page without a network. All are of training
and validation rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heldout.data.encode import Encoder
from heldout.data.images.pixels import resized, taken
from heldout.data.table import Table
from heldout.errors import InputError
from heldout.fitting import Fitted, predict, taken_by, takes
from heldout.metrics import Prediction
from heldout.mistakes import answered, worst
from heldout.occlusion import occlusion_sensitivity
from heldout.png import png
from heldout.problem import Problem, label_text

Array = NDArray[Any]
CLASSES, EACH = 12, 10  # classes shown, and images of each
WRONG, RIGHT, ATTENTION = 12, 3, 6
FILTERS = 32
AUGMENTED = 4
SMALL = 5  # the side of filters of which nobody can say whether they are noise
LARGEST = 64  # side of a picture in pixels
SAMPLE = 500  # training images that the scale and the mean are of
GAP = 2
FOR, AGAINST = np.array([224, 123, 57.0]), np.array([47, 111, 176.0])  # the report's orange and blue


def gallery(problem: Problem, encoder: Encoder, chosen: Fitted, train: Table, validation: Table) -> dict[str, Any]:
    """The pictures of a study of images, of its chosen learner, as JSON values."""
    assert train.pixels is not None and chosen.prediction is not None
    rows = np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).astype(int)
    sample = taken(train.pixels, np.unique(rows))
    low, high = min(0.0, float(sample.min())), float(sample.max())
    ink = Ink(low, high if high > low else low + 1.0)
    y = problem.y(validation)
    order, wrong = worst(chosen.prediction, y, WRONG)
    shown = _attended(order, wrong)
    return {
        "examples": _examples(problem, train, ink),
        "augmented": _augmented(problem, chosen.estimator, train),
        "mistakes": [_shown(row, validation, problem, chosen.prediction, y, ink) for row in order[:wrong][:WRONG]],
        "attention": _attention(problem, encoder, chosen, validation, y, shown, sample.mean(axis=0), ink),
        **_filters(chosen.estimator, problem),
    }


class Ink:
    """Pixels into pictures: `low` is black and `high` white."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, image: Array) -> Array:
        """An image (height, width, channels) as bytes, in one channel or three."""
        if max(image.shape[:2]) > LARGEST:
            scale = LARGEST / max(image.shape[:2])
            image = resized(image[None], (max(1, int(image.shape[0] * scale)), max(1, int(image.shape[1] * scale))))[0]
        values = np.clip((image.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)
        return np.asarray(np.rint(255 * (values if values.shape[2] in (1, 3) else values[..., :1])), np.uint8)


def strip(pictures: Sequence[Array]) -> Array:
    """Pictures of one height side by side, with a white gap between them."""
    gap = np.full((pictures[0].shape[0], GAP, pictures[0].shape[2]), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


# What is shown ---------------------------------------------------------------------------------------------


def _examples(problem: Problem, train: Table, ink: Ink) -> list[dict[str, Any]]:
    """For each class the first training images; for a number, images from the least to the greatest."""
    y = problem.y(train)
    if problem.classes is None:
        by_value = np.argsort(y, kind="stable")
        places = by_value[np.linspace(0, len(y) - 1, min(EACH, len(y))).astype(int)]
        groups = [(f"{y[places[0]]:.4g} to {y[places[-1]]:.4g}", places)]
    else:
        named = enumerate(problem.classes[:CLASSES])
        groups = [(label_text(label), np.flatnonzero(y == code)[:EACH]) for code, label in named]
    assert train.pixels is not None
    return [
        {"label": label, "count": len(rows), "picture": png(strip([ink(train.pixels[row]) for row in rows]))}
        for label, rows in groups
    ]


def _attended(order: Array, wrong: int) -> Array:
    """A few rows to look at closer: the worst, and some that are right."""
    few = min(wrong, ATTENTION - RIGHT)
    right = order[wrong:]
    spread = np.linspace(0, len(right) - 1, min(ATTENTION - few, len(right))).astype(int)
    return np.concatenate([order[:few], right[spread]])


def _shown(row: int, table: Table, problem: Problem, prediction: Prediction, y: Array, ink: Ink) -> dict[str, Any]:
    """A validation image with what it is and what the learner says."""
    assert table.pixels is not None
    name = str(table.frame["file"][int(row)]) if "file" in table.names else ""
    about = {"picture": png(ink(table.pixels[row])), "name": name}
    return {**about, **answered(row, problem, prediction, y)}


def _attention(
    problem: Problem,
    encoder: Encoder,
    chosen: Fitted,
    table: Table,
    y: Array,
    rows: Array,
    mean: Array,
    ink: Ink,
) -> list[dict[str, Any]]:
    """Some validation images and what covering a part of them takes from the answer."""
    assert table.pixels is not None and chosen.prediction is not None
    found, maps = [], _activation_maps(chosen.estimator, taken(table.pixels, rows))
    for place, row in enumerate(rows):
        image = np.asarray(table.pixels[row])
        code = None if problem.classes is None else int(np.asarray(chosen.prediction.label)[row])
        cover = (np.rint(mean) if image.dtype == np.uint8 else mean).astype(image.dtype)
        heat = occlusion_sensitivity(partial(_answer, chosen.estimator, problem, encoder, code), image[None], cover)[0]
        shown = _shown(row, table, problem, chosen.prediction, y, ink)
        pictures = {"heat": png(_heated(ink(image), heat))}
        if maps is not None:
            pictures["map"] = png(_heated(ink(image), maps[place]))
        found.append({**shown, **pictures})
    return found


def _activation_maps(estimator: Any, images: Array) -> Array | None:
    """Grad-CAM of a network of images (n, height, width); None for other learners."""
    if not takes(estimator, "images"):
        return None
    from heldout.neural.pictures import grad_cam

    try:
        return np.asarray(grad_cam(estimator, images).maps)
    except InputError:  # no layer of its has places
        return None


def _answer(estimator: Any, problem: Problem, encoder: Encoder, code: int | None, images: Array) -> Array:
    """The number whose fall is shown: the probability of a class, 1 where it is chosen, or the predicted number."""
    said = predict(estimator, taken_by(estimator, images.reshape(len(images), -1), encoder), problem)
    if code is None:
        return np.asarray(said.value)
    if said.probability is None:
        return np.asarray(np.asarray(said.label) == code, float)
    return np.asarray(said.probability)[:, code]


def _heated(picture: Array, heat: Array) -> Array:
    """A pale grey picture with orange where the heat is above zero and blue where it is below."""
    if heat.shape != picture.shape[:2]:
        heat = resized(heat[None, ..., None].astype(np.float32), picture.shape[:2])[0, ..., 0]
    most = np.abs(heat).max()
    share = (np.abs(heat) / most if most > 0 else np.zeros(heat.shape))[..., None]
    grey = 255 - 0.45 * (255 - picture.mean(axis=2, keepdims=True))
    colour = np.where(heat[..., None] > 0, FOR, AGAINST)
    return np.asarray(np.rint(grey * (1 - 0.85 * share) + colour * 0.85 * share), np.uint8)


def _augmented(problem: Problem, estimator: Any, train: Table) -> list[dict[str, Any]]:
    """A few training images as training sees them, the plain one first; nothing where they are not changed."""
    if not takes(estimator, "images"):
        return []
    from heldout.neural.pictures import augmented

    assert train.pixels is not None
    y = problem.y(train)
    rows = np.unique(y, return_index=True)[1] if problem.classes else np.arange(len(y))
    try:
        found = augmented(estimator, taken(train.pixels, rows[:AUGMENTED]), times=EACH - 1).images
    except InputError:  # nothing augments
        return []
    ink = Ink(float(found.min()), float(found.max()) + 1e-30)
    return [{"picture": png(strip([ink(image) for image in line]))} for line in found]


# Filters ---------------------------------------------------------------------------------------------------


def _filters(estimator: Any, problem: Problem) -> dict[str, Any]:
    """The weights of the first layer as pictures, the largest first; of a linear learner those of each class."""
    assert problem.image is not None
    weights = first_weights(estimator, tuple(problem.image.parse["shape"]))
    if weights is None:
        return {"filters": [], "large_filters": False}
    classes = problem.classes or ()
    named = [label_text(label) for label in classes] if len(classes) == len(weights) else [""] * len(weights)
    sizes = np.linalg.norm(weights.reshape(len(weights), -1), axis=1)
    order = range(len(weights)) if named[0] else np.argsort(-sizes, kind="stable")
    shown = [{"name": named[i], "picture": png(_weights_picture(weights[i]))} for i in list(order)[:FILTERS]]
    return {"filters": shown, "large_filters": min(weights.shape[1:3]) > SMALL}


def first_weights(estimator: Any, shape: tuple[int, ...]) -> Array | None:
    """The weights that meet the pixels, (m, height, width, channels): of a linear learner, or of a first layer.

    None where a learner has none, as forests and nearest neighbours.
    """
    size = int(np.prod(shape))
    coefficients = getattr(estimator, "coef_", None)
    if coefficients is not None:
        rows = np.atleast_2d(np.asarray(coefficients, dtype=np.float64))
        return rows.reshape(-1, *shape) if rows.shape[1] == size else None
    if takes(estimator, "images"):
        return _first_filters(estimator)
    layers = getattr(estimator, "params_", None)
    found = next((layer["weights"] for layer in layers.values() if "weights" in layer), None) if layers else None
    if found is None:
        return None
    weights = np.asarray(found, dtype=np.float64)
    return weights.T.reshape(-1, *shape) if len(weights) == size else None


def _first_filters(estimator: Any) -> Array | None:
    from heldout.neural.pictures import first_filters

    try:
        return np.asarray(first_filters(estimator).images, dtype=np.float64)
    except InputError:  # it has no convolution
        return None


def _weights_picture(weights: Array) -> Array:
    """Weights of grey images as orange (above zero) and blue on white; of colour ones as colours around grey."""
    most = np.abs(weights).max() or 1.0
    if weights.shape[2] == 3:
        return np.asarray(np.rint(127.5 + 127.5 * weights / most), np.uint8)
    share = weights[..., :1] / most
    colour = np.where(share > 0, FOR, AGAINST)
    return np.asarray(np.rint(255 + (colour - 255) * np.abs(share)), np.uint8)
