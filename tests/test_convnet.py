"""Convolutional networks as estimators: what they take and refuse, augmentation, transfer, files, invariances."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits

from heldout import load, persist, save
from heldout.errors import InputError, ModelFileError
from heldout.neural.convnets import ConvNetClassifier, ConvNetRegressor, plain_convnet, residual_convnet
from heldout.neural.estimators import NeuralClassifier
from heldout.neural.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Frozen,
    GlobalAveragePool,
    MaxPool2D,
    RandomFlip,
    RandomShift,
    ReLU,
    Sequential,
)
from heldout.neural.layers.stored import from_json, to_json
from heldout.neural.transfer import freeze, settle, thaw

NET = Sequential(Conv2D(4, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dropout(0.1), Dense())
FEW: dict[str, Any] = {"network": NET, "max_iter": 3, "batch_size": 16, "learning_rate_init": 0.03}


def bars(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bytes 6 x 6 with a bright bar, lying or upright, and noise."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 90, (n, 6, 6)), rng.integers(0, 2, n)
    for image, upright, at in zip(X, y, rng.integers(0, 6, n), strict=True):
        image[(slice(None), at) if upright else at] += 160
    return X.astype(np.uint8), np.array(["lying", "upright"])[y]


def outputs(model: Any, X: Any) -> list[np.ndarray]:
    return [getattr(model, name)(X) for name in ("predict", "predict_proba") if hasattr(model, name)]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        assert_array_equal(a, b)


def test_defaults_do_well_on_digits() -> None:
    X, y = load_digits().images, load_digits().target
    test = np.arange(len(y)) % 2 == 0
    model = ConvNetClassifier(max_iter=5).fit(X[~test], y[~test])
    assert model.score(X[test], y[test]) >= 0.94
    assert len(model.history_) == model.n_iter_ == 5 and not model.history_.judged
    assert model.network_.layers[0] == RandomShift((1, 1)) and model.precision_ == "single"


def test_images_come_as_they_are() -> None:
    X, y = bars()
    model = ConvNetClassifier(**FEW).fit(X, y)
    assert model.in_shape_ == (6, 6, 1) and model.input_scale_ == 255.0 and model.n_features_in_ == 6
    assert_same(outputs(model, X), outputs(model, X[..., None]))
    assert_same(outputs(model, X), outputs(ConvNetClassifier(**FEW).fit(X[..., None].copy(), y), X))
    flat = X.reshape(-1, 36)
    table = ConvNetClassifier(image_shape=(6, 6), **FEW).fit(flat, y)
    assert_same(outputs(model, X), outputs(table, flat))
    assert table.n_features_in_ == 36
    assert_array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(axis=1)])


def test_numbers_are_standardised_by_channel() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3, 4, 2)) * [1.0, 20.0] + [5.0, -7.0] + np.arange(4.0)[:, None]
    y, weights = X[..., 0].max(axis=(1, 2)), rng.uniform(0.5, 1.5, 40)
    network = Sequential(Conv2D(2, 2), Flatten(), Dense())
    model = ConvNetRegressor(network, max_iter=1, augment=None).fit(X, y, sample_weight=weights)
    shares = (weights / weights.sum())[:, None, None, None] / 12
    mean = (shares * X).sum(axis=(0, 1, 2))
    deviation = np.sqrt((shares * (X - mean) ** 2).sum(axis=(0, 1, 2)))
    assert_allclose(model.input_mean_, np.broadcast_to(mean, (3, 4, 2)))
    assert_allclose(model.input_scale_, np.broadcast_to(deviation, (3, 4, 2)))
    z, _ = model.network_.apply(model.params_, model.state_, ((X - mean) / deviation).astype(np.float32))
    assert_allclose(model.predict(X), (z * model.target_scale_ + model.target_mean_)[:, 0], rtol=1e-5)
    grey = np.full((40, 3, 4), 7.0)
    assert (ConvNetRegressor(network, max_iter=1, augment=None).fit(grey, y).input_scale_ == 1.0).all()


def test_architectures() -> None:
    for shape in ((1, 1, 1), (2, 3, 3), (8, 8, 1), (28, 28, 1), (33, 40, 3), (100, 7, 1)):
        for network in (plain_convnet(shape, outputs=5), residual_convnet(shape, blocks=2, outputs=5)):
            assert network.out_shape(shape) == (5,)
            assert from_json(to_json(network)) == network
    kinds = [type(layer).__name__ for layer in plain_convnet((28, 28, 1), dropout=0.0).layers]
    assert kinds[:11] == 2 * ["Conv2D", "MaxPool2D", "BatchNorm", "ReLU"] + ["Conv2D", "BatchNorm", "ReLU"]
    assert kinds[11:] == ["Flatten", "Dense", "BatchNorm", "ReLU", "Dense"]
    layers = plain_convnet((64, 64, 3), dropout=0.2).layers
    assert [layer.rate for layer in layers if isinstance(layer, Dropout)] == [0.2, 0.2]
    assert [layer.filters for layer in layers if isinstance(layer, Conv2D)] == [32, 64, 128, 256]


def test_a_residual_network_learns() -> None:
    X, y = bars(200)
    model = ConvNetClassifier(residual_convnet((6, 6, 1), filters=4), max_iter=12).fit(X, y)
    assert model.score(*bars(100, seed=1)) > 0.9


def test_augmentation_is_a_part_of_the_network_and_of_training_only() -> None:
    X, y = bars()
    plain = ConvNetClassifier(augment=None, **FEW).fit(X, y)
    moved = ConvNetClassifier(augment=(RandomFlip(), RandomShift(1)), **FEW).fit(X, y)
    assert moved.network_.layers[:2] == (RandomFlip(), RandomShift(1)) and plain.network_.layers[0] == NET.layers[0]
    assert plain.params_.keys() == moved.params_.keys()
    assert_same(outputs(moved, X), outputs(moved, X))
    still = Sequential(*moved.network_.layers[2:])
    x = X[..., None].astype(np.float32) / 255.0
    expected, given = (net.apply(moved.params_, moved.state_, x)[0] for net in (still, moved.network_))
    assert_array_equal(expected, given)
    assert (moved.history_.train_loss != plain.history_.train_loss).all()
    one = ConvNetClassifier(augment=RandomShift(1), **FEW)._augmentations()
    assert one == (RandomShift(1),)


def test_the_same_seed_gives_the_same_bits() -> None:
    X, y = bars()
    given = {**FEW, "augment": [RandomFlip(), RandomShift(1)], "mixup": 0.3}
    one, other = (ConvNetClassifier(**given).fit(X, y) for _ in range(2))
    assert_same(outputs(one, X), outputs(other, X))
    assert (ConvNetClassifier(**given, seed=1).fit(X, y).predict_proba(X) != one.predict_proba(X)).any()


def test_weights_of_rows_and_classes() -> None:
    X, y = bars()
    some = np.arange(60) < 45
    given = {**FEW, "augment": None}
    absent = ConvNetClassifier(**given).fit(X, y, sample_weight=some.astype(float))
    assert_same(outputs(absent, X), outputs(ConvNetClassifier(**given).fit(X[some], y[some]), X))
    counts = {label: int((y == label).sum()) for label in ("lying", "upright")}
    weights = np.array([60 / (2 * counts[label]) for label in y])
    balanced = ConvNetClassifier(class_weight="balanced", mixup=0.2, **given).fit(X, y)
    weighted = ConvNetClassifier(mixup=0.2, **given).fit(X, y, sample_weight=weights)
    assert_allclose(balanced.predict_proba(X), weighted.predict_proba(X), rtol=1e-5)
    assert (absent.predict_proba(X) != weighted.predict_proba(X)).any()


def test_validation_rows_choose_the_weights() -> None:
    X, y = bars()
    told: list[int] = []

    class Told:
        def on_epoch_end(self, epoch: Any) -> bool:
            told.append(epoch.epoch)
            return epoch.epoch == 4

    model = ConvNetClassifier(**{**FEW, "max_iter": 6}).fit(X, y, validation=bars(40, seed=1), callbacks=[Told()])
    assert told == [1, 2, 3, 4] and model.history_.judged
    assert model.history_.best == model.history_.validation_loss.argmin() + 1
    assert ConvNetClassifier(early_stopping=True, **FEW).fit(*bars(200)).history_.judged
    with pytest.raises(InputError, match=r"Images are \(6, 5, 1\) and must be \(6, 6, 1\)"):
        ConvNetClassifier(**FEW).fit(X, y, validation=(X[:, :, 1:], y))


def test_parts_and_warm_starts_go_on(tmp_path: Path) -> None:
    X, y = bars(120)
    model = ConvNetClassifier(augment=None, **FEW)
    for _ in range(10):
        for part in np.array_split(np.arange(120), 2):
            model.partial_fit(X[part], y[part], classes=["lying", "upright"])
    assert model.score(X, y) > 0.9 and model.n_iter_ == 20
    assert load(save(model, tmp_path / "model.heldout")).partial_fit(X, y).n_iter_ == 21
    with pytest.raises(ValueError, match="5 features"):
        model.partial_fit(X[:, 1:], y)
    with pytest.raises(InputError, match="must be"):
        model.partial_fit(X[:, :, 1:], y)
    warm = ConvNetClassifier(warm_start=True, augment=None, **FEW).fit(X, y)
    first = warm.history_.train_loss[-1]
    assert warm.fit(X, y).history_.train_loss[-1] < first
    with pytest.raises(InputError, match="describe another"):
        warm.set_params(network=plain_convnet((6, 6, 1))).fit(X, y)


def test_numbers_of_images() -> None:
    X, y = bars(120)
    numbers = 100.0 + 30.0 * (y == "upright")
    model = ConvNetRegressor(augment=None, **{**FEW, "max_iter": 20}).fit(X, numbers)
    assert model.score(X, numbers) > 0.8 and model.predict(X).shape == (120,)
    both = ConvNetRegressor(**FEW).fit(X, np.c_[numbers, -numbers])
    assert both.predict(X).shape == (120, 2)


# Transfer ---------------------------------------------------------------------------------------------------------


def test_frozen_layers_stay_as_they_are() -> None:
    X, y = bars()
    base = ConvNetClassifier(**FEW).fit(X, y)
    three = np.arange(60) % 3
    moves = {"alpha": 0.1, "weight_decay": 0.1, "solver": "adamw"}
    other = ConvNetClassifier(freeze="body", **moves, **FEW).fit(X, three, start=base)
    assert sorted(other.params_) == ["dense_1"] and other.params_["dense_1"]["weights"].shape == (36, 3)
    assert all(isinstance(layer, Frozen) for layer in other.network_.layers[:-1] if not layer.random)
    params, state = thaw(other.network_, other.params_, other.state_)
    for name in ("conv2d_1", "batchnorm_1"):
        jax.tree.map(assert_array_equal, params[name], base.params_[name])
    jax.tree.map(assert_array_equal, state, base.state_)
    x = X[..., None].astype(np.float32) / 255.0
    expected = Sequential(*other._described().layers[:-1], Dense(3)).apply(params, state, x)[0]
    assert_allclose(other.decision_function(X), expected, rtol=1e-5, atol=1e-6)

    some = ConvNetClassifier(freeze=["conv2d_1"], **moves, **FEW).fit(X, y, start=base)
    assert_array_equal(some.state_["conv2d_1"]["params"]["weights"], base.params_["conv2d_1"]["weights"])
    assert (some.params_["batchnorm_1"]["scale"] != base.params_["batchnorm_1"]["scale"]).all()
    again = ConvNetClassifier(**FEW).fit(X, three, start=some)  # thawed
    assert (again.params_["conv2d_1"]["weights"] != base.params_["conv2d_1"]["weights"]).any()


def test_where_training_begins() -> None:
    X, y = bars()
    base = ConvNetClassifier(**FEW).fit(X, y)
    still = {**FEW, "max_iter": 1, "learning_rate_init": 1e-12, "alpha": 0.0}
    taken = ConvNetClassifier(**still).fit(X, np.arange(60) % 3, start=base)
    fresh = ConvNetClassifier(**still).fit(X, np.arange(60) % 3)
    for name in ("conv2d_1", "batchnorm_1"):
        jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-9), taken.params_[name], base.params_[name])
    assert_allclose(taken.params_["dense_1"]["weights"], fresh.params_["dense_1"]["weights"], atol=1e-9)
    whole = (base.params_, base.state_)
    same = ConvNetClassifier(**still).fit(X, y, start=whole)
    frozen = ConvNetClassifier(freeze=["conv2d_1"], **still).fit(X, y, start=whole)
    for model in (same, frozen):
        params, _ = thaw(model.network_, model.params_, model.state_)
        jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-9), params, base.params_)
    pair = settle(frozen.network_, *thaw(frozen.network_, frozen.params_, frozen.state_))
    jax.tree.map(assert_array_equal, pair, (frozen.params_, frozen.state_))


def test_what_cannot_be_carried_over() -> None:
    X, y = bars()
    base = ConvNetClassifier(**FEW).fit(X, y)
    wide = Sequential(Conv2D(5, 3, padding="same"), *NET.layers[1:])
    for network, start, said in (
        (wide, base, r"Layer conv2d_1 has weights of other shapes in start, .*\(3, 3, 1, 4\).*, than in this network"),
        (wide, (base.params_, base.state_), "of the shapes that this network has"),
        (NET, (base.params_, {}), "of the shapes that this network has"),
        (Sequential(GlobalAveragePool(), Dense()), base, "start has no layer that this network has"),
        (NET, ConvNetClassifier(), "must be a fitted neural learner, or"),
        (NET, {"params": base.params_}, "must be a fitted neural learner, or"),
    ):
        with pytest.raises(InputError, match=said):
            ConvNetClassifier(network, max_iter=1).fit(X, y, start=start)
    with pytest.raises(InputError, match=r"no layer 'conv2d_2' to freeze. Did you mean 'conv2d_1'"):
        freeze(NET, ["conv2d_2"])


def test_any_neural_learner_begins_with_another() -> None:
    X, y = bars()
    base = ConvNetClassifier(augment=None, **FEW).fit(X, y)
    network = freeze(NET, NET.names[:-1])
    model = NeuralClassifier(network, max_iter=2, standardise=True).fit(X[..., None], y, start=base)
    assert_array_equal(model.state_["conv2d_1"]["params"]["weights"], base.params_["conv2d_1"]["weights"])


# Files and other doors --------------------------------------------------------------------------------------------

STORED: dict[str, dict[str, Any]] = {
    "any network": {"network": NET, "augment": [RandomFlip(), RandomShift((0, 1))], "mixup": 0.1, "max_iter": 1},
    "by name": {"network": "residual", "freeze": "body", "max_iter": 1},
    "as a table": {"network": NET, "augment": None, "freeze": ["conv2d_1"], "image_shape": (6, 6), "max_iter": 1},
}


@pytest.mark.parametrize("case", STORED)
def test_stored_and_restored(case: str) -> None:
    X, y = bars(40)
    given = STORED[case]
    X = X.reshape(40, -1) if "image_shape" in given else X
    both = ((ConvNetClassifier, y), (ConvNetRegressor, np.arange(40.0)))
    for kind, target in both[: 1 if given["network"] == "residual" else 2]:
        learner = kind(**given)
        assert clone(learner).get_params() == learner.get_params()
        model = learner.fit(X, target)
        restored = persist.loads(persist.dumps(model))
        assert_same(outputs(model, X), outputs(restored, X))
        assert_same(outputs(model, X), outputs(pickle.loads(pickle.dumps(model)), X))
        assert restored.get_params() == model.get_params() and restored.summary().lines == model.summary().lines


NONSENSE: dict[str, Any] = {
    "network": "VGG",
    "augment": [{"kind": "Dense", "units": 2, "use_bias": True, "initialization": "he"}],
    "mixup": -1.0,
    "freeze": 7,
    "image_shape": [6],
    "in_shape": [6, 5, 1],
}


def test_nonsense_in_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = bars(40)
    model = ConvNetClassifier(network=NET, max_iter=1).fit(X, y)
    state = model.to_state()
    for key in (*NONSENSE, "image_shape"):
        bad = [2, 2**40] if key == "image_shape" else NONSENSE[key]
        monkeypatch.setattr(ConvNetClassifier, "to_state", lambda self, key=key, bad=bad: {**state, key: bad})
        data = persist.dumps(model)
        with pytest.raises(ModelFileError):
            persist.loads(data)


def test_a_checkpoint_of_another_mixup_is_of_another_training(tmp_path: Path) -> None:
    X, y = bars(40)
    path = tmp_path / "checkpoint.heldout"
    whole = ConvNetClassifier(**FEW, mixup=0.2).fit(X, y)
    ConvNetClassifier(**{**FEW, "max_iter": 2}, mixup=0.2, learning_rate="constant", checkpoint=path).fit(X, y)
    resumed = ConvNetClassifier(**FEW, mixup=0.2, learning_rate="constant").fit(X, y, resume=path)
    whole = ConvNetClassifier(**FEW, mixup=0.2, learning_rate="constant").fit(X, y)
    assert_same(outputs(whole, X), outputs(resumed, X))
    with pytest.raises(InputError, match="of another training"):
        ConvNetClassifier(**FEW, mixup=0.3, learning_rate="constant").fit(X, y, resume=path)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"network": "plane"}, "network is 'plane' and must be 'plain', 'residual' or a layer"),
        ({"network": Conv2D}, "must be 'plain', 'residual' or a layer"),
        ({"augment": "much"}, "augment is 'much' and must be 'auto', None, or layers of augmentation"),
        ({"augment": [Dropout(0.1)]}, "must be 'auto', None, or layers of augmentation"),
        ({"augment": [RandomShift(-1)]}, "most of RandomShift is -1"),
        ({"mixup": -0.1}, "mixup is -0.1 and must be a finite number, 0 or more"),
        ({"mixup": "some"}, "mixup is 'some'"),
        ({"freeze": "head"}, "freeze is 'head' and must be 'body', a list of layers' names, or None"),
        ({"freeze": 3}, "freeze is 3"),
        ({"freeze": ["dense_2"]}, "The last layer, dense_2, cannot be frozen"),
        ({"freeze": ["conv2d_9"]}, "There is no layer 'conv2d_9' to freeze"),
        ({"image_shape": 6}, "image_shape is 6 and must be (height, width)"),
        ({"image_shape": (6, 5)}, "Images are (6, 6, 1) and must be (6, 5, 1)"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_iter": "few"}, "max_iter is 'few'"),
        ({"network": Sequential(Flatten(), Dense(3))}, "The network gives (3) for a row, and there are 2 classes"),
        ({"network": Sequential(Conv2D(2, 3, use_bias=1), Flatten(), Dense())}, "use_bias of Conv2D is 1 and must be"),
    ],
)
def test_nonsense_is_refused(parameters: dict[str, Any], said: str) -> None:
    X, y = bars(30)
    with pytest.raises(InputError, match=re.escape(said)):
        ConvNetClassifier(**parameters).fit(X, y)


def test_rows_that_are_no_images_are_refused() -> None:
    X, y = bars(30)
    flat = X.reshape(30, -1)
    with pytest.raises(InputError, match=re.escape("X.reshape(-1, 6, 6), or say image_shape=(6, 6)")):
        ConvNetClassifier().fit(flat, y)
    with pytest.raises(InputError, match=re.escape("X.reshape(-1, height, width), or say image_shape=(height, width)")):
        ConvNetClassifier().fit(flat[:, 1:], y)
    with pytest.raises(InputError, match=re.escape("X has 36 columns, and images of (6, 5, 1) have 30")):
        ConvNetClassifier(image_shape=(6, 5)).fit(flat, y)
    with pytest.raises(InputError, match=re.escape("X has the shape (30, 6, 6, 1, 1) and must be images")):
        ConvNetClassifier().fit(X[..., None, None], y)
    with pytest.raises(ValueError, match="NaN"):
        ConvNetClassifier().fit(np.where(X > 100, np.nan, X), y)
    model = ConvNetClassifier(**FEW).fit(X, y)
    with pytest.raises(InputError, match=re.escape("Images are (6, 5, 1) and must be (6, 6, 1)")):
        model.predict(X[:, :, :5])
