"""Gradients against central differences: wrong ones are caught at their array and place, kinks are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heldout import check_gradients
from heldout.errors import InputError
from heldout.neural.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LayerNorm,
    Parallel,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)


@dataclass(frozen=True)
class Scaled(Layer):
    """y = s x³ with a backward by hand, right or wrong in one of several ways."""

    fault: str = ""

    def init(self, key: Any, in_shape: tuple[int, ...]) -> tuple[Any, Any]:
        return {"scale": jnp.ones(in_shape)}, {}

    def apply(self, params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> tuple[Any, Any]:
        return params["scale"] * x**3, state

    def backward(
        self, params: Any, state: Any, x: Any, upstream: Any, *, train: bool = False, key: Any = None
    ) -> tuple[Any, Any]:
        by_scale = (upstream * x**3).sum(axis=0)
        by_x = upstream * 3.0 * x**2
        if self.fault == "shape":
            return {"scale": by_scale[:1]}, by_x
        if self.fault == "scale":
            by_scale = by_scale.at[1].multiply(1.0 + 1e-4)
        if self.fault == "one of many":
            by_scale = by_scale.at[jnp.argmin(jnp.abs(by_scale))].set(0.3)
        return {"scale": by_scale}, by_x if self.fault == "input" else by_x * params["scale"]


@jax.custom_vjp
def doubled(x: Any) -> Any:
    return 2.0 * x


doubled.defvjp(lambda x: (2.0 * x, None), lambda kept, upstream: (3.0 * upstream,))


@dataclass(frozen=True)
class Doubled(Layer):
    """Its custom_vjp is wrong, its backward is right."""

    def apply(self, params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> tuple[Any, Any]:
        return doubled(x), state

    def backward(
        self, params: Any, state: Any, x: Any, upstream: Any, *, train: bool = False, key: Any = None
    ) -> tuple[Any, Any]:
        return {}, 2.0 * upstream


@jax.custom_vjp
def scaled(x: Any, scale: Any) -> Any:
    return x * scale


scaled.defvjp(
    lambda x, scale: (x * scale, (x, scale)),
    lambda kept, upstream: (upstream * kept[1], (upstream * kept[0]).sum(axis=0).at[17].set(0.0)),
)


@dataclass(frozen=True)
class OneOff(Layer):
    """Its custom_vjp gives 0 by one number of many, and so does the backward that follows from it."""

    def init(self, key: Any, in_shape: tuple[int, ...]) -> tuple[Any, Any]:
        return {"scale": jnp.ones(in_shape)}, {}

    def apply(self, params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> tuple[Any, Any]:
        return scaled(x, params["scale"]), state


@dataclass(frozen=True)
class Rounded(Layer):
    """No derivative that says anything."""

    def apply(self, params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> tuple[Any, Any]:
        return jnp.sign(x - x), state


def test_right_gradients_pass() -> None:
    found = check_gradients(Scaled(), (3,))
    assert found.passed
    assert not found.messages
    assert [array.name for array in found.arrays] == ["scale", "input"]
    assert [array.checked for array in found.arrays] == [3, 12]
    assert all(array.backward.error < 1e-9 for array in found.arrays)
    found.raise_if_wrong()
    assert "right" in str(found)


def test_a_wrong_backward_is_caught_at_its_place() -> None:
    found = check_gradients(Scaled("scale"), (3,))
    assert not found.passed
    (message,) = found.messages
    assert message.startswith("backward is wrong by scale at [1]: it gives ")
    assert found.arrays[0].backward.error == pytest.approx(1e-4, rel=1.0)
    assert found.arrays[0].automatic.error < 1e-9
    with pytest.raises(InputError, match="Gradients of Scaled: backward is wrong by scale"):
        found.raise_if_wrong()
    assert check_gradients(Scaled("scale"), (3,), tol=1e-2).passed


def test_a_scale_of_one_hides_nothing() -> None:
    """The weights of `init` are 1 here, with which the missing factor would not be seen."""
    assert [message.split(" at ")[0] for message in check_gradients(Scaled("input"), (3,)).messages] == [
        "backward is wrong by input"
    ]


def test_one_wrong_number_of_many_is_seen() -> None:
    found = check_gradients(Scaled("one of many"), (500,))
    assert found.arrays[0].size == 500
    assert found.arrays[0].checked < 25
    assert [message.split(" at ")[0] for message in found.messages] == ["backward is wrong by scale"]


def test_random_directions_see_what_no_place_shows() -> None:
    messages = check_gradients(OneOff(), (500,)).messages
    assert [message.split(":")[0] for message in messages] == [
        "backward is wrong by scale along a random direction",
        "jax.grad of apply is wrong by scale along a random direction",
    ]


def test_a_wrong_layer_in_a_network_is_named() -> None:
    network = Sequential(Dense(4), Residual(Sequential(Tanh(), Scaled("scale"))), Dense(2))
    found = check_gradients(network, (3,), loss="cross_entropy")
    assert [message.split(" at ")[0] for message in found.messages] == [
        "backward is wrong by residual_1.layer.scaled_1.scale"
    ]


def test_a_wrong_custom_rule_is_caught() -> None:
    (message,) = check_gradients(Doubled(), (3,)).messages
    assert message.startswith("jax.grad of apply is wrong by input at [")


def test_gradients_of_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="backward of layer scaled gives gradients of the shapes"):
        check_gradients(Scaled("shape"), (3,))


def test_kinks_are_told_from_errors() -> None:
    X = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 3.0]])
    (array,) = check_gradients(ReLU(), (3,), X=X).arrays
    assert (array.checked, array.kinks) == (4, 2)
    assert array.backward.error < 1e-9
    near = check_gradients(ReLU(), (3,), X=np.where(X == 0.0, 3e-5, X))  # not at the kink, but within the first step
    assert (near.passed, near.arrays[0].checked) == (True, 6)
    flat = check_gradients(ReLU(), (2,), X=np.zeros((3, 2)))
    assert not flat.passed
    assert flat.messages == ("No place of input could be compared: the loss has a kink at all 6.",)


def test_a_gradient_of_nothing_is_right() -> None:
    assert check_gradients(Rounded(), (3,)).passed


@pytest.mark.parametrize("train", [False, True])
def test_networks_of_every_container_and_drawing_layers(train: bool) -> None:
    join = Parallel(Dense(3), Dense(3), join="product")
    network = Sequential(Dense(6), BatchNorm(), ReLU(), Dropout(0.5), *([join, LayerNorm()] if train else []), Dense(2))
    found = check_gradients(network, (5,), loss="squared_error", train=train)
    assert found.passed, found
    assert all(array.backward.error < 1e-8 > array.automatic.error for array in found.arrays)


def test_what_cannot_be_checked_is_said() -> None:
    with pytest.raises(InputError, match="batch is 0"):
        check_gradients(ReLU(), (3,), batch=0)
    with pytest.raises(InputError, match="tol is 0"):
        check_gradients(ReLU(), (3,), tol=0)
    with pytest.raises(InputError, match=r"X is finite numbers of the shape \(n, 3\)"):
        check_gradients(ReLU(), (3,), X=np.ones((2, 4)))
    with pytest.raises(InputError, match="There is no loss 'mse'"):
        check_gradients(Dense(2), (3,), loss="mse")
