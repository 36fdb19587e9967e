r"""What the two passes tell of each layer, and what is wrong with it: H401 to H406.

H401 vanishing gradients. The norm of δ by the output of a layer with weights is below a thousandth of that by the
network's output. A sane initialization keeps the norm (He and others 2015, section 2.2; Glorot and Bengio 2010,
section 4.2), up to a factor that chance makes of a random network, whose logarithm has a variance of about 5 layers /
width / 4: a thousandth is 7 standard deviations away for 10 layers of 16 units. A sigmoid takes off three quarters at
least, so that six of them are enough.

H402 exploding gradients or activations. The same norm is above a thousand times that by the output, or the root mean
square (RMS) of a layer's output is above a thousand times that of the input, or of 1 where the input's is below.
Or something is not finite.

H403 dead units. A rectifier's unit is off where it hands on less than 5% of the gradient, for all rows. With weights
drawn around 0 a unit is as likely to be off for all rows as on for all: its mirror image is as likely as itself,
whatever the rows are like. So the units that are off are compared with those that are on by the sign test, at
a chance of 0.1% for all layers together. A layer that is off as a whole is found in any case, for nothing below it
learns: networks of 4 or 8 units a layer often begin so (Lu and others 2019). Some units off in all rows, and as many
on, are no finding: the rows are alike to this layer.

H404 saturated units. A sigmoid or tanh is saturated where its slope is below 5% of the steepest. Found are layers with
at least 5% of the units saturated for all rows, or with a third of all values saturated: of standardised inputs and
Xavier's weights, whose z have a variance of 2 at most, an eighth is.

H403 and H404 need 30 rows: fewer say little of all rows.

H405 gradients that vanish through time, H406 that explode. At each step of a recurrent layer the gradient by its memory
(h, and c of an LSTM) hands a share of its norm on to the memory before. The product of these shares is what is left
after k steps back (Pascanu, Mikolov and Bengio 2013, equations 5 to 7): below a thousandth, what lies farther back is
hardly learned from; above a thousand, it drowns the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import binom

from heldout.diagnosis.base import Finding
from heldout.neural.layers.activations import ELU, GELU, Activation, ReLU, Sigmoid, SiLU, Tanh
from heldout.neural.layers.base import Layer, Params
from heldout.neural.layers.containers import Container
from heldout.neural.layers.recurrent import RNN
from heldout.words import number, percent

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

VANISHED, EXPLODED = 1e-3, 1e3  # of the norm of δ by the output; of the input's RMS
FLAT = 0.05  # of the steepest slope: off, or saturated
FALSE_ALARM = 1e-3  # for all rectifiers of a network together
SATURATED_UNITS, SATURATED_VALUES = 0.05, 1 / 3
LEAST_ROWS = 30
RECTIFIERS: tuple[type[Layer], ...] = (ReLU, ELU, GELU, SiLU)
SATURATING: dict[type[Layer], float] = {Sigmoid: 0.25, Tanh: 1.0}  # the steepest slope


@dataclass(frozen=True)
class Units:
    """The units of an activation, the numbers along its last axis, over all rows and places.

    Attributes
    ----------
    count : int
    stuck : int, off (rectifiers) or saturated (sigmoid and tanh) for all rows
    on : int, of a rectifier on for all rows, as far from 0 as those that are off
    saturated : float, the share of saturated values; 0 for a rectifier
    alike : bool, whether all rows are the same to this layer
    rows : int
    """

    count: int
    stuck: int
    on: int
    saturated: float
    alike: bool
    rows: int


@dataclass(frozen=True, eq=False)
class LayerSignals:
    """What passes a layer, forward and backward.

    Attributes
    ----------
    name : str, dotted: "sequential_1.dense_2"
    layer : Layer
    output : array (n, ...), a
    delta : array (n, ...), the gradient of the mean loss by the output
    gradients : nested dict of arrays, by the layer's own weights; empty for a container
    output_rms : float, the root mean square of the output
    delta_norm, gradient_norm, weight_norm : float, the roots of the sums of squares; nan without weights
    passed_norm : float, the norm of the gradient by the layer's input
    units : Units, or None where the layer is no rectifier, sigmoid or tanh
    through_time : dict of arrays (T,), of a recurrent layer by recursion ("layer_1.forward"): what of a gradient's norm
        is left after 0, 1, ... T - 1 steps back; empty for other layers
    """

    name: str
    layer: Layer
    output: Array
    delta: Array
    gradients: Params
    output_rms: float
    delta_norm: float
    gradient_norm: float
    weight_norm: float
    passed_norm: float
    units: Units | None
    through_time: dict[str, Array]

    @property
    def ratio(self) -> float:
        """The gradient's norm by that of the weights; nan without weights, or where all are 0."""
        return self.gradient_norm / self.weight_norm if self.weight_norm > 0.0 else np.nan

    @property
    def gain(self) -> float:
        """The norm of δ by the input, as a multiple of that by the output."""
        return self.passed_norm / self.delta_norm if self.delta_norm > 0.0 else 1.0

    def __repr__(self) -> str:
        return (
            f"LayerSignals({self.name}: output {self.output.shape}, RMS {number(self.output_rms)}, "
            f"norm of delta {number(self.delta_norm)})"
        )


def units_of(layer: Layer, z: Array) -> Units | None:
    """The units of an activation that are off or saturated, from its input `z` (n, ..., m)."""
    if not isinstance(layer, Activation):
        return None
    rows = np.reshape(z, (-1, z.shape[-1]))
    alike = bool((rows == rows[0]).all())
    if isinstance(layer, RECTIFIERS):
        off, on = _off(layer, rows), _off(layer, -rows)
        return Units(z.shape[-1], int(off.sum()), int(on.sum()), 0.0, alike, len(z))
    if type(layer) in SATURATING:
        flat = np.asarray(layer.derivative(rows)) < FLAT * SATURATING[type(layer)]  # type: ignore[arg-type]
        return Units(z.shape[-1], int(flat.all(axis=0).sum()), 0, float(flat.mean()), alike, len(z))
    return None


def _off(layer: Activation, rows: Array) -> Array:
    slope = np.abs(np.asarray(layer.derivative(rows)))  # type: ignore[arg-type]
    return np.asarray(((rows <= 0.0) & (slope < FLAT)).all(axis=0))


def left_through_time(norms: Array, reverse: bool) -> Array:
    """What is left after 0, 1, ... steps back, from the norms (T, 2) at each memory and at the one before it."""
    back = norms if reverse else norms[::-1]  # the last step that was read comes first
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(back[:-1, 0] > 0.0, back[:-1, 1] / back[:-1, 0], 1.0)
    return np.concatenate([[1.0], np.cumprod(shares)])


def findings_of(layers: Sequence[LayerSignals], at_output: float, input_rms: float, loss: float) -> tuple[Finding, ...]:
    """H401 to H406, from the signals in forward order and the norm of the gradient by the network's output."""
    infinite = list(_infinite(layers, loss))
    if infinite:
        return tuple(infinite)
    weighted = [layer for layer in layers if layer.gradients]
    return (
        *_vanishing(layers, weighted, at_output),
        *_exploding(layers, weighted, at_output, max(input_rms, 1.0)),
        *_dead(layers),
        *_saturated(layers),
        *_through_time(layers),
    )


def _infinite(layers: Sequence[LayerSignals], loss: float) -> Iterator[Finding]:
    title, helps = "Numbers that are not finite", " A lower learning rate, gradient clipping or smaller weights help."
    for layer in layers:
        if not np.isfinite(layer.output).all():
            message = f"The output of {layer.name} is the first that is not finite."
            yield Finding("H402", title, "error", message + helps, None, {"layer": layer.name})
            return
    for layer in reversed(layers):
        if not np.isfinite([layer.delta_norm, layer.passed_norm, *_squares(layer.gradients)]).all():
            message = f"On the way back, the gradients of {layer.name} are the first that are not finite."
            yield Finding("H402", title, "error", message + helps, None, {"layer": layer.name})
            return
    if not np.isfinite(loss):
        yield Finding("H402", title, "error", "The loss is not finite, and all outputs are." + helps, None, {})


def _squares(tree: Any) -> Iterator[float]:
    if isinstance(tree, dict):
        for item in tree.values():
            yield from _squares(item)
    else:
        yield float(np.square(tree).sum())


def _vanishing(layers: Sequence[LayerSignals], weighted: Sequence[LayerSignals], at_output: float) -> Iterator[Finding]:
    low = [layer for layer in weighted if layer.delta_norm < VANISHED * at_output]
    if not low:
        return
    least = min(low, key=lambda layer: layer.delta_norm)
    above = _above(layers, low[0])
    culprit = next((layer for layer in above if _blocks(layer)), min(above, key=lambda layer: layer.gain))
    gain = 0.0 if _blocks(culprit) else culprit.gain
    message = (
        f"The norm of δ falls from {number(at_output)} at the output to {number(least.delta_norm)} at {least.name}; "
        f"below a thousandth of it {_are(low)}, which will hardly learn. It falls most through {culprit.name}, which "
        f"hands on {_times(gain)} of it. {_against_vanishing(layers)}"
    )
    evidence = {
        "layer": culprit.name,
        "layers": [layer.name for layer in low],
        "gain": gain,
        "delta": least.delta_norm,
        "delta_of_output": at_output,
    }
    yield Finding("H401", "Vanishing gradients", "warning", message, None, evidence)


def _exploding(
    layers: Sequence[LayerSignals], weighted: Sequence[LayerSignals], at_output: float, reference: float
) -> Iterator[Finding]:
    high = [layer for layer in weighted if layer.delta_norm > EXPLODED * at_output > 0.0]
    large = [layer for layer in weighted if layer.output_rms > EXPLODED * reference]
    texts: list[str] = []
    evidence: dict[str, Any] = {}
    if high:
        most = max(high, key=lambda layer: layer.delta_norm)
        culprit = max(_above(layers, high[0]), key=lambda layer: layer.gain)
        texts.append(
            f"The norm of δ grows from {number(at_output)} at the output to {number(most.delta_norm)} at {most.name}; "
            f"above a thousand times it {_are(high)}. It grows most through {culprit.name}, by a factor of "
            f"{number(culprit.gain, 3)}."
        )
        evidence |= {"delta": most.delta_norm, "delta_of_output": at_output}
        evidence |= {"layer": culprit.name, "layers": [layer.name for layer in high], "gain": culprit.gain}
    if large:
        texts.append(
            f"Outputs have grown from an RMS of {number(reference)} to {number(large[0].output_rms)} at "
            f"{large[0].name}, and {number(large[-1].output_rms)} at {large[-1].name}."
        )
        evidence = {"layer": large[0].name} | evidence | {"outputs": [layer.name for layer in large]}
        evidence |= {"rms": large[-1].output_rms, "input_rms": reference}
    if texts:
        texts.append(
            "Weights of He's or Xavier's variance, BatchNorm, a lower learning rate or gradient clipping help."
        )
        title = "Exploding gradients" if high else "Exploding activations"
        yield Finding("H402", title, "warning", " ".join(texts), None, evidence)


def _above(layers: Sequence[LayerSignals], first: LayerSignals) -> list[LayerSignals]:
    """The single layers that δ passes on its way to `first`; itself where there is none."""
    after = [layer for layer in layers[layers.index(first) + 1 :] if not isinstance(layer.layer, Container)]
    return after or [first]


def _blocks(layer: LayerSignals) -> bool:
    """Whether it is off as a whole, and not because a layer before it gives the same for all rows."""
    return layer.units is not None and layer.units.stuck == layer.units.count and not layer.units.alike


def _dead(layers: Sequence[LayerSignals]) -> Iterator[Finding]:
    rectifiers = [(layer, layer.units) for layer in layers if layer.units and isinstance(layer.layer, RECTIFIERS)]
    level = FALSE_ALARM / max(1, len(rectifiers))
    cut_off = False  # by a layer below that is off as a whole
    for layer, units in rectifiers:
        if units.rows < LEAST_ROWS or (cut_off and units.alike):
            continue
        whole = units.stuck == units.count
        chance = float(binom.sf(units.stuck - 1, units.stuck + units.on, 0.5)) if units.stuck else 1.0
        if not whole and chance > level:
            continue
        cut_off = cut_off or whole
        kind = type(layer.layer).__name__
        message = (
            f"{units.stuck:,} of {units.count:,} units of {layer.name} ({kind}) are off for all {units.rows:,} rows, "
            f"and {0 if whole else units.on:,} on for all. "
            + ("No gradient reaches the layers before it. " if whole else "They do not learn. ")
            + "Higher biases, a lower learning rate, He's initialization, BatchNorm before it, or LeakyReLU help."
        )
        evidence = {"layer": layer.name, "dead": units.stuck, "on": units.on, "units": units.count, "chance": chance}
        yield Finding("H403", "Dead units", "error" if whole else "warning", message, None, evidence)


def _saturated(layers: Sequence[LayerSignals]) -> Iterator[Finding]:
    for layer in layers:
        units = layer.units
        if units is None or type(layer.layer) not in SATURATING or units.rows < LEAST_ROWS:
            continue
        if units.stuck >= max(1.0, SATURATED_UNITS * units.count) or units.saturated > SATURATED_VALUES:
            message = (
                f"{units.stuck:,} of {units.count:,} units of {layer.name} ({type(layer.layer).__name__}) are "
                f"saturated for all {units.rows:,} rows, and so are {percent(round(units.saturated, 3))} of all its "
                "values: they hand on less than 5% of what the steepest slope would. Standardised inputs, Xavier's "
                "initialization, BatchNorm before it, or ReLU help."
            )
            evidence = {"layer": layer.name, "saturated": units.stuck, "units": units.count, "values": units.saturated}
            yield Finding("H404", "Saturated units", "warning", message, None, evidence)


def _through_time(layers: Sequence[LayerSignals]) -> Iterator[Finding]:
    for layer in layers:
        for recursion, left in layer.through_time.items():
            low, high = np.flatnonzero(left < VANISHED), np.flatnonzero(left > EXPLODED)
            if not len(low) and not len(high):
                continue
            vanishes = not len(high) or (len(low) and low[0] < high[0])
            steps = int((low if vanishes else high)[0])
            share = "less than a thousandth" if vanishes else "more than a thousand times"
            message = f"In {recursion} of {layer.name} {share} of a gradient is left after {steps:,} of "
            message += f"{len(left) - 1:,} steps back. "
            message += (
                f"What lies farther back is hardly learned from. {_against_forgetting(layer.layer)}"
                if vanishes
                else "It drowns what is near. Orthogonal recurrent weights, clip_norm, or LSTM or GRU instead help."
            )
            code, title = ("H405", "vanish") if vanishes else ("H406", "explode")
            evidence = {"layer": layer.name, "recursion": recursion, "steps": steps, "left": float(left[-1])}
            yield Finding(code, f"Gradients that {title} through time", "warning", message, None, evidence)


def _against_forgetting(layer: Layer) -> str:
    if isinstance(layer, RNN):
        return "LSTM or GRU instead, or a mean over all states (return_sequences=True, GlobalAveragePool) help."
    return (
        "A mean over all states (return_sequences=True, GlobalAveragePool), reading from both ends, or a higher bias "
        "of the gate that keeps the memory help."
    )


def _are(layers: Sequence[LayerSignals]) -> str:
    """ "is dense_1", or "are the 4 layers from dense_1 to dense_4"."""
    if len(layers) == 1:
        return f"is {layers[0].name}"
    return f"are {len(layers)} layers with weights, from {layers[0].name} to {layers[-1].name}"


def _times(gain: float) -> str:
    return "nothing" if gain == 0.0 else percent(float(f"{gain:.3g}"))


def _against_vanishing(layers: Sequence[LayerSignals]) -> str:
    squashes = sorted({type(layer.layer).__name__ for layer in layers if type(layer.layer) in SATURATING})
    instead = (
        f"ReLU with He's initialization instead of {' and '.join(squashes)}" if squashes else "He's initialization"
    )
    return f"{instead}, BatchNorm, or Residual around groups of layers help."
