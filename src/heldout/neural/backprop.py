"""Backpropagation made visible: activations, deltas and gradients of every layer, and what is wrong with them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from heldout.diagnosis.base import Finding
from heldout.errors import InputError, suggest
from heldout.neural.choices import PRECISIONS
from heldout.neural.layers.base import Key, Layer, Params, Shape, State, shape_text
from heldout.neural.layers.masking import reads_padding
from heldout.neural.layers.recurrent import SIDES
from heldout.neural.losses import Loss, loss_of
from heldout.neural.recursion import Passed, Step, backward, forward, shapes_of
from heldout.neural.signals import LayerSignals, findings_of, left_through_time, units_of
from heldout.printed import Printed, Sheet
from heldout.words import number

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Backpropagation(Printed):
    """One pass forward and one back; it prints as a table with findings, plots, and gives a layer by its name.

    Attributes
    ----------
    loss : float, the (weighted) mean over rows
    layers : tuple of LayerSignals, in forward order; Residual and Parallel follow the layers inside them
    gradients : nested dict of arrays, of the mean loss by the weights, in the shape of `params`
    by_input : array (n, ...), of the mean loss by X
    findings : tuple of Finding, H401 to H406; each names its layer in `evidence["layer"]`
    """

    loss: float
    layers: tuple[LayerSignals, ...]
    gradients: Params
    by_input: Array
    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> LayerSignals:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InputError(f"There is no layer {name!r}.{suggest(str(name), [layer.name for layer in self.layers])}")

    def _table(self) -> Sheet:
        title = [f"Backpropagation of {len(self.by_input):,} rows: mean loss {number(self.loss)}"]
        header = [
            "layer",
            "RMS of output",
            "norm of δ",
            "of gradient",
            "of weights",
            "gradient / weights",
            "stuck units",
        ]
        body = [
            [
                layer.name,
                number(layer.output_rms),
                number(layer.delta_norm),
                *(map(number, (layer.gradient_norm, layer.weight_norm, layer.ratio)) if layer.gradients else [""] * 3),
                f"{layer.units.stuck:,} of {layer.units.count:,}" if layer.units else "",
            ]
            for layer in self.layers
        ]
        return title, header, body, [str(finding) for finding in self.findings]

    def plot(self) -> Any:
        """An Altair chart of the norm of δ by layer, with a logarithmic axis."""
        return delta_plot({"norm of δ": self})

    def plot_through_time(self) -> Any:
        """An Altair chart of what is left of a gradient by steps back, for each recursion of the recurrent layers."""
        import altair as alt

        points = [
            {"recursion": f"{layer.name}, {name}", "steps": steps, "left": float(value)}
            for layer in self.layers
            for name, left in layer.through_time.items()
            for steps, value in enumerate(left)
            if 0.0 < value < np.inf
        ]
        if not points:
            raise InputError("There is no recurrent layer in this network.")
        y = alt.Y("left:Q", scale=alt.Scale(type="log"), title="share of its norm that is left").axis(format=".0e")
        return (
            alt.Chart(alt.Data(values=points), title="A gradient on its way back through time")
            .mark_line()
            .encode(x=alt.X("steps:Q", title="steps back"), y=y, color=alt.Color("recursion:N", title=""))
            .properties(width=520, height=280)
        )


def delta_plot(passes: dict[str, Backpropagation]) -> Any:
    """The norms of δ of one network or several, by layer."""
    import altair as alt

    points = [
        {"layer": layer.name, "depth": depth, "norm": layer.delta_norm, "network": title}
        for title, found in passes.items()
        for depth, layer in enumerate(found.layers, 1)
        if 0.0 < layer.delta_norm < np.inf  # what a logarithmic axis can show
    ]
    names = [layer.name for layer in next(iter(passes.values())).layers]
    same = all([layer.name for layer in found.layers] == names for found in passes.values())
    x = (
        alt.X("layer:N", sort=names, title="layer, from input to output")
        if same
        else alt.X("depth:Q", title="layer, counted from the input", scale=alt.Scale(zero=False))
    )
    y = alt.Y("norm:Q", scale=alt.Scale(type="log"), title="norm of δ (loss per unit of output)").axis(format=".0e")
    return (
        alt.Chart(alt.Data(values=points), title="Gradient of the mean loss by each layer's output")
        .mark_line(point=True)
        .encode(x=x, y=y, color=alt.Color("network:N", title="", sort=list(passes)))
        .properties(width=520, height=280)
    )


def backprop(
    network: Layer,
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Loss = "cross_entropy",
    state: State | None = None,
    sample_weight: ArrayLike | None = None,
    train: bool = False,
    key: Key = None,
    precision: str | None = None,
) -> Backpropagation:
    r"""Backpropagation layer by layer: what each layer puts out, its δ, its gradients, and findings that name layers.

    .. math::
        \delta^{(L)} = \nabla_a L \odot \sigma'(z^{(L)}), \qquad
        \delta^{(l)} = (W^{(l+1)})^T \delta^{(l+1)} \odot \sigma'(z^{(l)}), \qquad
        \frac{\partial L}{\partial W^{(l)}} = \delta^{(l)} (a^{(l-1)})^T, \qquad
        \frac{\partial L}{\partial b^{(l)}} = \delta^{(l)}

    for one row as a column; here a batch's rows are rows, z = a W + b, and all W are transposed. Each layer's
    `backward` is one step: that of an activation multiplies by σ'(z), that of `Dense` by the weights. So the δ of a
    `Dense` layer, the gradient by its output, is the book's. L is the mean loss, :math:`\sum_i w_i L_i / \sum_i w_i`:
    each row's δ has that factor in it.

    The findings' rules: a norm of δ below a thousandth of that at the output (H401, vanishing) or above a thousand
    times it (H402, exploding; or outputs whose RMS is above a thousand times the input's); units of a rectifier that
    are off for all rows, more often than units are on for all (H403, dead); units of sigmoid or tanh whose slope is
    below 5% of the steepest, 5% of them for all rows or a third of all values (H404, saturated); less than a thousandth
    of a gradient's norm, or more than a thousand times it, left on the way back through time (H405, H406). The
    reasons are in `heldout.neural.signals`. Of 1,000 random networks of 10 layers (He and ReLU, Xavier and tanh, widths
    from 16 to 256) on standardised rows none had a finding; the norms of δ lay between 0.04 and 2.6 times that of the
    last layer.

    Parameters
    ----------
    network : Layer
        One layer, or layers in Sequential, Residual and Parallel, nested as you like.
    params : nested dict of arrays
        The weights, as `network.init` makes them.
    X : array (n, ...), finite
    y : array
        Class codes (n,) from 0 to K - 1; for losses of numbers or shares (n, m), or (n,) for one output.
    loss : str or Loss, default "cross_entropy"
        Of the network's outputs (n, m).
    state : nested dict of arrays, default None
        Running averages, as of BatchNorm; needed where the network has any.
    sample_weight : array (n,), not negative, default None
        None: all 1.
    train : bool, default False
        Training mode: Dropout drops, BatchNorm takes the batch's own mean and variance.
    key : key of jax.random, default None
        For what is drawn in training mode.
    precision : {"single", "double"}, default None
        None: that of `params`; of X where there are no weights.

    Returns
    -------
    Backpropagation : with NumPy arrays

    Raises
    ------
    InputError : params or state do not fit the network, the rows do not fit it or each other, X is not finite, a target
        is out of range, or a key is missing.

    References
    ----------
    D. Rumelhart, G. Hinton and R. Williams, Nature 323, 1986. C. Bishop, Pattern Recognition and Machine Learning,
    2006, equations 5.53 to 5.56. M. Nielsen, Neural Networks and Deep Learning, 2015, equations BP1 to BP4.
    X. Glorot and Y. Bengio, AISTATS 2010. K. He and others, ICCV 2015. L. Lu and others, Dying ReLU and
    Initialization, 2019.

    Examples
    --------
    >>> from heldout.neural.layers import Dense, Sequential, Tanh
    >>> network = Sequential(Dense(4), Tanh(), Dense(3))
    >>> params, _ = network.init(jax.random.key(0), (2,))
    >>> found = backprop(network, params, np.ones((5, 2)), np.array([0, 1, 2, 1, 0]))
    >>> [layer.name for layer in found.layers], found["dense_1"].delta.shape
    (['dense_1', 'tanh_1', 'dense_2'], (5, 4))
    >>> found.gradients["dense_2"]["weights"].shape
    (4, 3)
    >>> found.findings
    ()
    """
    loss = loss_of(loss)
    X = _checked_rows(X, network)
    kind = _precision(precision, params, X)
    with jax.enable_x64(kind == "double"):
        dtype = PRECISIONS[kind]
        params, state = _checked_weights(network, X.shape[1:], params, state or {}, dtype)
        if train and network.random and key is None:
            raise InputError(
                "The network draws random numbers in training: give backprop a key, jax.random.key(0) say."
            )
        targets = checked_targets(loss, y, len(X), network.out_shape(X.shape[1:]), dtype)
        weights = jnp.asarray(_checked_shares(sample_weight, len(X)), dtype)
        x = jnp.asarray(X, dtype)
        value, delta, (gradients, by_x, steps) = _passes(network, loss, params, state, x, targets, weights, train, key)
        layers = tuple(map(_signals, steps))
    findings = findings_of(layers, _norm(delta), _rms(np.nan_to_num(X)), float(value))
    return Backpropagation(float(value), layers, jax.tree.map(np.asarray, gradients), np.asarray(by_x), findings)


@functools.partial(jax.jit, static_argnames=("network", "loss", "train"))
def _passes(
    network: Layer, loss: Loss, params: Params, state: State, x: Any, targets: Any, shares: Any, train: bool, key: Key
) -> tuple[Any, Any, Passed]:
    """The mean loss, its gradient by the outputs, and what the way back gives."""
    node = forward(network, params, state, x, train=train, key=key)
    value, delta = jax.value_and_grad(_mean_loss)(node.y, loss, targets, shares)
    return value, delta, backward(node, delta, train=train)


def _mean_loss(outputs: Any, loss: Loss, targets: Any, shares: Any) -> Any:
    return (loss(outputs, targets) * shares).sum()


def _signals(step: Step) -> LayerSignals:
    weighted = bool(step.gradients)
    return LayerSignals(
        step.name,
        step.layer,
        np.asarray(step.output),
        np.asarray(step.delta),
        jax.tree.map(np.asarray, step.gradients),
        _rms(step.output),
        _norm(step.delta),
        _norm(*jax.tree.leaves(step.gradients)) if weighted else np.nan,
        _norm(*jax.tree.leaves(step.params)) if weighted else np.nan,
        _norm(step.passed),
        None if step.z is None else units_of(step.layer, np.asarray(step.z)),
        {name: left_through_time(np.asarray(norms), SIDES[name.split(".")[1]]) for name, norms in step.times.items()},
    )


def _norm(*arrays: Any) -> float:
    """The root of the sum of squares, in double precision: squares of small numbers stay above 0."""
    return float(np.sqrt(sum(np.square(np.asarray(values, np.float64)).sum() for values in arrays)))


def _rms(values: Any) -> float:
    return _norm(values) / float(np.sqrt(max(np.size(values), 1)))


def _precision(precision: str | None, params: Params, X: Array) -> str:
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"There is no precision {precision!r}.{suggest(str(precision), PRECISIONS)}")
    types = {np.asarray(leaf).dtype for leaf in jax.tree.leaves(params)} or {X.dtype}
    return precision or ("double" if np.dtype(np.float64) in types else "single")


def _checked_rows(X: ArrayLike, network: Layer) -> Array:
    X = np.asarray(X)
    if X.dtype.kind not in "fiub" or X.ndim < 2 or not len(X):
        raise InputError(f"X is rows of numbers (n, ...), not of shape {X.shape} and type {X.dtype}.")
    if not (~np.isinf(X) if reads_padding(network) else np.isfinite(X)).all():
        raise InputError("X holds values that are not finite.")
    return X


def _checked_weights(network: Layer, in_shape: Shape, params: Params, state: State, dtype: str) -> tuple[Params, State]:
    """Weights and state on the device; InputError where they are not those of the network."""
    network.out_shape(in_shape)
    wanted = jax.eval_shape(lambda key: network.init(key, in_shape), jax.random.key(0))
    for what, given, made in (("params", params, wanted[0]), ("state", state, wanted[1])):
        told, own = shapes_of(jax.tree.map(np.asarray, given)), shapes_of(made)
        differ = sorted(name for name in told.keys() | own.keys() if told.get(name) != own.get(name))
        if differ:
            name = differ[0]
            raise InputError(
                f"{what} do not fit the network: for rows {shape_text(in_shape)} it has "
                f"{f'{name} {own[name]}' if name in own else f'no {name}'}, and given "
                f"{f'is {told[name]}' if name in told else 'is none'}."
            )
    return _cast(params, dtype), _cast(state, dtype)


def _cast(tree: Any, dtype: str) -> Any:
    """Nested arrays, those of floating numbers as `dtype`."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype if np.asarray(leaf).dtype.kind == "f" else None), tree)


def _checked_shares(sample_weight: ArrayLike | None, n: int) -> Array:
    """The weights of the rows, as shares of their sum."""
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,):
        raise InputError(f"sample_weight has shape {weights.shape}, and there are {n} rows.")
    if not np.isfinite(weights).all() or (weights < 0.0).any() or not weights.sum() > 0.0:
        raise InputError("sample_weight must be finite, not negative, and above 0 for at least one row.")
    return np.asarray(weights / weights.sum())


def checked_targets(loss: Loss, y: ArrayLike, n: int, out: Shape, dtype: str) -> Any:
    """The targets of `n` rows as the loss takes them, for outputs (n, *out)."""
    if len(out) != 1:
        raise InputError(f"A loss takes outputs of one axis, and the network gives {shape_text(out)} for a row.")
    y = np.asarray(y)
    name = type(loss).__name__
    if len(np.shape(y)) == 0 or len(y) != n:
        raise InputError(f"There are {n} rows, and targets of shape {y.shape}.")
    if y.dtype.kind not in "fiub" or not np.isfinite(y).all():
        raise InputError(f"{name} takes targets that are finite numbers.")
    if loss.targets == "codes":
        classes = max(out[0], 2)
        if y.shape != (n,) or (y != np.round(y)).any() or y.min() < 0 or y.max() >= classes:
            raise InputError(f"{name} takes class codes (n,) from 0 to {classes - 1} for {out[0]} outputs.")
        return jnp.asarray(y, jnp.int32)
    y = y.reshape(n, 1) if y.ndim == 1 else y
    if y.shape != (n, *out):
        raise InputError(f"{name} takes targets of the outputs' shape {(n, *out)}, not {y.shape}.")
    return jnp.asarray(y, dtype)
