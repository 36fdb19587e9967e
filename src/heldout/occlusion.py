"""Where a learner looks: what its answer loses when a part of an image is covered. For any learner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PATCHES = 7  # patches across the shorter side; they are moved by half of their width


def occlusion_sensitivity(answer: Callable[[Array], Array], images: Array, cover: Array) -> Array:
    r"""How much `answer` falls where each image is covered, (n, height, width).

    A square of a seventh of the shorter side is moved over the image by half its width and shows `cover` instead of it.
    With the answer :math:`f(x)` and the image :math:`x_P` with the patch :math:`P` covered, a pixel gets the mean of
    :math:`f(x) - f(x_P)` over the patches that it lies in: above zero where what stands there speaks for the answer,
    below zero where it speaks against it.

    Parameters
    ----------
    answer : function of images (m, height, width, channels) that gives a number for each (m,)
        The probability of a class, say. Images come one after the other, each with all its patches.
    images : array (n, height, width, channels)
    cover : array (height, width, channels)
        The mean of the training images, say.

    References
    ----------
    M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.

    >>> image = np.zeros((1, 14, 14, 1)); image[0, 4, 9] = 1.0
    >>> heat = occlusion_sensitivity(lambda shown: shown.sum(axis=(1, 2, 3)), image, np.zeros((14, 14, 1)))
    >>> [int(i) for i in np.argwhere(heat[0] == heat.max())[0]], float(heat[0, 0, 0])
    ([4, 9], 0.0)
    """
    _, height, width, _ = images.shape
    side = max(1, round(min(height, width) / PATCHES))
    step = max(1, side // 2)
    places = [(top, left) for top in _starts(height, side, step) for left in _starts(width, side, step)]
    counts = np.zeros((height, width))
    for top, left in places:
        counts[top : top + side, left : left + side] += 1
    heat = np.zeros((len(images), height, width))
    for number, image in enumerate(images):
        covered = np.repeat(image[None], len(places) + 1, axis=0)
        for i, (top, left) in enumerate(places, 1):
            patch = slice(top, top + side), slice(left, left + side)
            covered[i][patch] = cover[patch]
        said = np.asarray(answer(covered), dtype=np.float64)
        for (top, left), lost in zip(places, said[0] - said[1:], strict=True):
            heat[number, top : top + side, left : left + side] += lost
    return heat / counts


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where patches begin, the last one at the very end."""
    return sorted({*range(0, length - side, step), length - side})
