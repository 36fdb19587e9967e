"""Pictures of networks: saliency beside central differences, Grad-CAM beside class activation maps, charts."""

from __future__ import annotations

import base64
import io
from typing import Any

import jax
import numpy as np
import pytest
import vl_convert
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from heldout import augmented, first_filters, grad_cam, saliency
from heldout.errors import InputError
from heldout.neural.convnets import ConvNetClassifier, ConvNetRegressor
from heldout.neural.estimators import NeuralClassifier
from heldout.neural.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    MaxPool2D,
    RandomCrop,
    RandomFlip,
    RandomShift,
    Sequential,
    Tanh,
)
from heldout.neural.pictures import Augmented, Filters, Maps
from heldout.neural.tiles import _url, unit

NET = Sequential(Conv2D(4, 3, padding="same"), BatchNorm(), Tanh(), MaxPool2D(), Flatten(), Dense())
GIVEN: dict[str, Any] = {"max_iter": 2, "precision": "double", "augment": None}


def images(n: int = 30, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, size=(n, 6, 4, channels))


def differences(score: Any, X: np.ndarray) -> np.ndarray:
    """The gradient of each row's own score (n,), by central differences."""
    found = np.zeros_like(X)
    for at in np.ndindex(*X.shape[1:]):
        step = np.zeros(X.shape[1:])
        step[at] = 1e-5
        found[:, *at] = (score(X + step) - score(X - step)) / 2e-5
    return found


def test_saliency_beside_differences() -> None:
    X, y = images(), np.arange(30) % 3
    model = ConvNetClassifier(NET, **GIVEN).fit(X, y)
    classes = np.array([2, 0, 1, 1])
    found = saliency(model, X[:4], classes)
    expected = differences(lambda Z: model.decision_function(Z)[np.arange(4), classes], X[:4])
    assert_allclose(found.maps, np.abs(expected).max(axis=-1), rtol=1e-5, atol=1e-9)
    assert found.about == [2, 0, 1, 1]
    assert saliency(model, X[:4]).about == model.predict(X[:4]).tolist()
    assert_array_equal(found.images, X[:4])


def test_saliency_of_two_classes_and_of_numbers() -> None:
    X, y = images(), np.array(["no", "yes"])[np.arange(30) % 2]
    model = ConvNetClassifier(NET, **GIVEN).fit(X, y)
    assert_array_equal(saliency(model, X[:3], ["no"] * 3).maps, saliency(model, X[:3], ["yes"] * 3).maps)
    assert saliency(model, X[:3]).about == model.predict(X[:3]).tolist()
    yes, no = (grad_cam(model, X[:3], [label] * 3).maps for label in ("yes", "no"))
    assert (yes != no).any()
    numbers = ConvNetRegressor(NET, **GIVEN).fit(X, np.c_[X[:, 0, 0, 0], X[:, 1, 1, 1]])
    found = saliency(numbers, X[:3], [1, 1, 0])
    expected = differences(lambda Z: numbers.predict(Z)[np.arange(3), [1, 1, 0]], X[:3])
    maps = np.abs(expected).max(axis=-1) / numbers.target_scale_[[1, 1, 0]][:, None, None]
    assert_allclose(found.maps, maps, rtol=1e-5, atol=1e-9)


def test_grad_cam_is_the_class_activation_map_where_there_is_one() -> None:
    """Of means over all places and a dense layer, α_k = w_k / Z (Selvaraju and others 2017, section 3.1)."""
    X, y = images(), np.arange(30) % 3
    network = Sequential(Conv2D(5, 3, padding="same"), Tanh(), GlobalAveragePool(), Dense())
    model = ConvNetClassifier(network, **GIVEN).fit(X, y)
    x = (X[:4] - model.input_mean_) / model.input_scale_
    with jax.enable_x64(True):
        A = np.asarray(Sequential(*network.layers[:2]).apply(model.params_, {}, jax.numpy.asarray(x))[0])
    weights = model.params_["dense_1"]["weights"][:, [0, 1, 2, 2]].T[:, None, None] / (6 * 4)
    found = grad_cam(model, X[:4], [0, 1, 2, 2])
    assert_allclose(found.maps, np.maximum((weights * A).sum(axis=-1), 0.0), rtol=1e-9)
    assert found.layer == "tanh_1"

    smaller = ConvNetClassifier(NET, **GIVEN).fit(X, y)
    small = grad_cam(smaller, X[:4])
    assert small.layer == "maxpool2d_1" and small.maps.shape == (4, 6, 4)
    assert (small.maps >= 0).all() and grad_cam(smaller, X[:4], layer="conv2d_1").layer == "conv2d_1"


def test_filters() -> None:
    X, y = images(), np.arange(30) % 3
    model = ConvNetClassifier(NET, **GIVEN).fit(X, y)
    found = first_filters(model)
    assert found.layer == "conv2d_1" and found.images.shape == (4, 3, 3, 2)
    assert_array_equal(found.images[1], model.params_["conv2d_1"]["weights"][..., 1])
    frozen = ConvNetClassifier(NET, freeze="body", **GIVEN).fit(X, y, start=model)
    assert_array_equal(first_filters(frozen).images, found.images)


def test_images_as_training_sees_them() -> None:
    X, y = images(), np.arange(30) % 3
    bytes_ = (np.abs(X) * 20).clip(0, 255).astype(np.uint8)
    moved = ConvNetClassifier(NET, **GIVEN | {"augment": [RandomFlip(), RandomShift(1)]}).fit(bytes_, y)
    found = augmented(moved, bytes_[:3], times=6).images
    assert found.shape == (3, 7, 6, 4, 2)
    assert_allclose(found[:, 0], bytes_[:3] / 255.0)
    assert len(np.unique(found[0], axis=0)) > 3
    assert_array_equal(found, augmented(moved, bytes_[:3], times=6).images)
    assert (found != augmented(moved, bytes_[:3], times=6, seed=1).images).any()
    cut = ConvNetClassifier(NET, **GIVEN | {"augment": RandomCrop((4, 4))}).fit(bytes_, y)
    assert_allclose(augmented(cut, bytes_[:3]).images[:, 0], bytes_[:3, 1:5] / 255.0)
    mixed = augmented(ConvNetClassifier(NET, mixup=1.0, **GIVEN).fit(X, y), X[:2]).images
    x = mixed[:, 0]
    shares = [(image - x[1]).ravel() @ (x[0] - x[1]).ravel() / np.square(x[0] - x[1]).sum() for image in mixed[0, 1:]]
    for image, share in zip(mixed[0, 1:], shares, strict=True):
        assert 0.0 <= share <= 1.0
        assert_allclose(image, share * x[0] + (1.0 - share) * x[1], atol=1e-9)


def test_what_there_is_no_picture_of() -> None:
    X, y = images(), np.arange(30) % 3
    model = ConvNetClassifier(NET, **GIVEN).fit(X, y)
    with pytest.raises(InputError, match="no layers of augmentation, and mixup is 0"):
        augmented(model, X)
    with pytest.raises(InputError, match=r"no layer 'conv2d_7'. Did you mean 'conv2d_1'"):
        grad_cam(model, X, layer="conv2d_7")
    with pytest.raises(InputError, match="a layer whose output has height and width"):
        grad_cam(model, X, layer="dense_1")
    with pytest.raises(InputError, match="classes has 3, which is none of the model's: 0, 1, 2"):
        saliency(model, X[:2], [1, 3])
    with pytest.raises(InputError, match="must have one label for each of 2 images"):
        saliency(model, X[:2], [1])
    with pytest.raises(InputError, match="Images are"):
        saliency(model, X[:, :, :3])
    flat = ConvNetClassifier(Sequential(Flatten(), Dense()), **GIVEN).fit(X, y)
    with pytest.raises(InputError, match="no Conv2D among its layers"):
        first_filters(flat)
    table = NeuralClassifier(Sequential(Dense()), max_iter=1).fit(X.reshape(30, -1), y)
    with pytest.raises(InputError, match="networks whose rows are images"):
        saliency(table, X)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_charts(channels: int) -> None:
    shown, maps = images(3, channels), np.abs(images(3, 1))[..., 0]
    made = {
        "Filters of the first convolution, conv2d_1": (Filters("conv2d_1", images(9, channels)), 9),
        "Saliency": (Maps("Saliency", shown, maps, ["a", "b", "a"]), 6),
        "Images as training sees them": (Augmented(np.stack([shown, shown], axis=1)), 6),
    }
    for title, (picture, tiles) in made.items():
        spec = picture.plot().to_dict()
        assert spec["title"] == title and len(spec["data"]["values"]) == tiles
        assert all(value["url"].startswith("data:image/png;base64,") for value in spec["data"]["values"])


def test_images_are_in_the_charts() -> None:
    chart = Maps("Saliency", images(3), np.abs(images(3, 1))[..., 0], ["a", "b", "a"]).plot()
    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(chart.to_dict()))).convert("L")
    assert len(drawn.getcolors(256)) > 20
    square = np.arange(6.0).reshape(1, 2, 3) / 5.0
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(_url(square).split(",")[1]))))
    assert back.shape == (72, 144, 3)
    assert_array_equal(back[0, [0, 143]], [[0, 51, 102], [153, 204, 255]])
    assert_allclose(unit(np.array([[0, 255]], np.uint8)), [[0.0, 1.0]])
    assert_allclose(unit(np.array([[-1.0, 3.0, 1.0]])), [[0.0, 1.0, 0.5]])
