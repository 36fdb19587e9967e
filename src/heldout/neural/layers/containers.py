"""Layers made of layers: one after the other, side by side, and around a shortcut."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile

import jax
import jax.numpy as jnp

from heldout.errors import InputError, suggest
from heldout.neural.layers.base import Array, Key, Layer, Mask, Params, SequenceLayer, Shape, State, shape_text
from heldout.neural.layers.fusion import apply_fused, attends, how_many
from heldout.neural.layers.perceptron import perceive, perceptron_of


class Container(SequenceLayer):
    """What layers made of layers share: what is true of one of them is true of the whole."""

    @property
    @abstractmethod
    def _branches(self) -> dict[str, Layer]:
        """The layers inside, by name."""

    @property
    def random(self) -> bool:
        return any(layer.random for layer in self._branches.values())

    @property
    def joins_rows(self) -> bool:
        return any(layer.joins_rows for layer in self._branches.values())


@dataclass(frozen=True, init=False)
class Sequential(Container):
    """Layers one after the other.

    Parameters
    ----------
    *layers : layers

    Each is known by its kind and number, as "dense_1", "relu_1", "dense_2", in weights, summaries and findings.

    Raises
    ------
    InputError : something is no layer; at `out_shape`, a layer does not take what the one before it gives.

    Examples
    --------
    >>> from heldout.neural.layers import Dense, ReLU, Tanh
    >>> network = Sequential(Dense(128), ReLU(), Dense(10))
    >>> network.names
    ('dense_1', 'relu_1', 'dense_2')
    >>> network.out_shape((784,))
    (10,)
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        _check_layers(self, layers)
        object.__setattr__(self, "layers", layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    @property
    def names(self) -> tuple[str, ...]:
        """What each layer is called."""
        return names_of(self.layers)

    @property
    def _branches(self) -> dict[str, Layer]:
        return dict(zip(self.names, self.layers, strict=True))

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        params: Params = {}
        states: State = {}
        done = 0
        for i, layer in enumerate(self.layers):
            if i < done:
                continue
            done = i + self._alike(i, in_shape)
            for name, (made, state) in zip(self.names[i:done], _init_alike(layer, key, i, done, in_shape), strict=True):
                params |= {name: made} if made else {}
                states |= {name: state} if state else {}
            in_shape = layer.out_shape(in_shape)
        return params, states

    def _alike(self, i: int, in_shape: Shape) -> int:
        """How many layers from the i-th on are equal, and change no shape, as the blocks of a transformer are."""
        layer = self.layers[i]
        if layer.out_shape(in_shape) != in_shape:
            return 1
        return sum(1 for _ in takewhile(lambda other: other == layer, self.layers[i:]))

    def out_shape(self, in_shape: Shape) -> Shape:
        for name, layer in self._branches.items():
            try:
                in_shape = layer.out_shape(in_shape)
            except InputError as error:
                raise error if " (layer " in str(error) else InputError(f"{error} (layer {name})") from None
        return in_shape

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        after: State = {}
        done = 0
        for i, (name, layer) in enumerate(self._branches.items()):
            if i < done:
                continue
            if count := how_many(self.layers[i:], x, mask, train):
                own_params = [params.get(each, {}) for each in self.names[i : i + count]]
                x, new = apply_fused(self.layers[i : i + count], own_params, state.get(name, {}), x, mask)
                after, done = after | ({name: new} if new else {}), i + count
                continue
            own = jax.random.fold_in(key, i) if train and layer.random and key is not None else None
            x, new, mask = layer.apply_masked(params.get(name, {}), state.get(name, {}), x, mask, train=train, key=own)
            after |= {name: new} if new else {}
        return x, after, mask

    def init_cache(self, n: int, in_shape: Shape) -> Params:
        caches: Params = {}
        for name, layer in self._branches.items():
            caches[name] = layer.init_cache(n, in_shape)
            in_shape = layer.out_shape(in_shape)
        return caches

    def extend(
        self, params: Params, state: State, x: Array, cache: Params, at: Array, count: Array
    ) -> tuple[Array, Params]:
        after: Params = {}
        for name, layer in self._branches.items():
            own = params.get(name, {}), state.get(name, {})
            x, after[name] = layer.extend(*own, x, cache[name], at, count)
        return x, after


@dataclass(frozen=True)
class Residual(Container):
    r"""A layer around a shortcut: y = x + f(x), or y = g(x) + f(x) with a shortcut g.

    The gradient passes the shortcut undiminished, which lets deep networks be trained.

    Parameters
    ----------
    layer : layer
        f, whose output has the shape of the shortcut's.
    shortcut : layer, default None
        g, a Dense layer, say, where f changes the shape; None passes x as it is.

    Raises
    ------
    InputError : the two shapes differ.

    References
    ----------
    K. He and others, Deep Residual Learning for Image Recognition, CVPR 2016, equations 1 and 2.

    Examples
    --------
    >>> from heldout.neural.layers import Dense, ReLU, Tanh
    >>> Residual(Sequential(Dense(4), ReLU(), Dense(2))).out_shape((2,))
    (2,)
    """

    layer: Layer
    shortcut: Layer | None = None

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        return _init_branches(self._branches, key, in_shape)

    def out_shape(self, in_shape: Shape) -> Shape:
        out = self.layer.out_shape(in_shape)
        beside = in_shape if self.shortcut is None else self.shortcut.out_shape(in_shape)
        if out != beside:
            raise InputError(
                f"Residual adds {shape_text(out)} to a shortcut of {shape_text(beside)}: give the two one shape, "
                "with shortcut=Dense(...) say."
            )
        return out

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        if self.shortcut is None and isinstance(self.layer, Sequential):
            layers, inner = self.layer.layers, params.get("layer", {})
            own = [inner.get(name, {}) for name in self.layer.names]
            which = perceptron_of(layers, x)
            if which is not None:
                return perceive(which, x, own), {}, mask
            if attends(layers, x, mask, train):
                return apply_fused(layers, own, {}, x, mask, shortcut=True)[0], {}, mask
        outputs, after, mask = _apply_branches(self._branches, params, state, x, mask, train, key)
        return outputs[0] + (x if self.shortcut is None else outputs[1]), after, mask

    def init_cache(self, n: int, in_shape: Shape) -> Params:
        return {name: layer.init_cache(n, in_shape) for name, layer in self._branches.items()}

    def extend(
        self, params: Params, state: State, x: Array, cache: Params, at: Array, count: Array
    ) -> tuple[Array, Params]:
        outputs, after = [], {}
        for name, layer in self._branches.items():
            own = params.get(name, {}), state.get(name, {})
            y, after[name] = layer.extend(*own, x, cache[name], at, count)
            outputs.append(y)
        return outputs[0] + (x if self.shortcut is None else outputs[1]), after

    @property
    def _branches(self) -> dict[str, Layer]:
        return {"layer": self.layer} | ({} if self.shortcut is None else {"shortcut": self.shortcut})


@dataclass(frozen=True)
class Steps(Container):
    """A layer on some steps of a sequence, from `start` to before `stop`; the others stay as they are.

    Parameters
    ----------
    layer : layer
        It leaves the steps' shape (T, C) as it is.
    start : int, not negative, default 0
    stop : int above `start`, or None, default None
        None: to the end.

    Raises
    ------
    InputError : there are no such steps, or the layer changes their shape.

    Examples
    --------
    >>> from heldout.neural.layers import ReLU
    >>> Steps(ReLU(), 1).apply({}, {}, jnp.array([[[-1.0], [-2.0]]]))[0].tolist()
    [[[-1.0], [0.0]]]
    """

    layer: Layer
    start: int = 0
    stop: int | None = None

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        return _init_branches(self._branches, key, self._inner_shape(in_shape))

    def out_shape(self, in_shape: Shape) -> Shape:
        inner = self._inner_shape(in_shape)
        out = self.layer.out_shape(inner)
        if out != inner:
            raise InputError(f"Steps holds a layer that makes {shape_text(out)} of {shape_text(inner)}, and must not.")
        return in_shape

    def _inner_shape(self, in_shape: Shape) -> Shape:
        length = in_shape[0] if in_shape else 0
        stop = length if self.stop is None else self.stop
        if not 0 <= self.start < stop <= length:
            raise InputError(f"There are no steps from {self.start} to {stop} in rows of shape {shape_text(in_shape)}.")
        return (stop - self.start, *in_shape[1:])

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        seen = None if mask is None else mask[:, self.part]
        outputs, after, _ = _apply_branches(self._branches, params, state, x[:, self.part], seen, train, key)
        return self.put(x, outputs[0]), after, mask

    @property
    def part(self) -> slice:
        """Which steps the layer is given."""
        return slice(self.start, self.stop)

    def put(self, x: Array, y: Array) -> Array:
        """`x` with `y` in place of the layer's steps."""
        return jnp.asarray(x).at[:, self.part].set(y)

    @property
    def _branches(self) -> dict[str, Layer]:
        return {"layer": self.layer}


@dataclass(frozen=True, init=False)
class Parallel(Container):
    """Layers side by side on the same input, their outputs joined.

    Parameters
    ----------
    *layers : layers
    join : {"concatenate", "sum", "mean", "product"}, default "concatenate"
        How: along the last axis, or number by number.

    Raises
    ------
    InputError : the outputs' shapes do not fit together.

    Examples
    --------
    >>> from heldout.neural.layers import Dense, ReLU, Tanh
    >>> Parallel(Dense(3), Sequential(Dense(8), Tanh(), Dense(5))).out_shape((2,))
    (8,)
    """

    layers: tuple[Layer, ...]
    join: str

    def __init__(self, *layers: Layer, join: str = "concatenate") -> None:
        _check_layers(self, layers)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "join", join)

    def __repr__(self) -> str:
        return f"Parallel({', '.join(map(repr, self.layers))}, join={self.join!r})"

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        return _init_branches(self._branches, key, in_shape)

    def out_shape(self, in_shape: Shape) -> Shape:
        if self.join not in JOINS:
            raise InputError(f"There is no join {self.join!r}.{suggest(str(self.join), JOINS)}")
        shapes = [layer.out_shape(in_shape) for layer in self.layers]
        listed = ", ".join(map(shape_text, shapes))
        if self.join != "concatenate":
            if len(set(shapes)) > 1:
                raise InputError(f"Parallel cannot take the {self.join} of outputs of the shapes {listed}.")
            return shapes[0]
        if not all(shapes) or len({shape[:-1] for shape in shapes}) > 1:
            raise InputError(f"Parallel cannot join {listed}: all axes but the last must agree.")
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        outputs, after, mask = _apply_branches(self._branches, params, state, x, mask, train, key)
        return JOINS[self.join](outputs), after, mask

    @property
    def _branches(self) -> dict[str, Layer]:
        return dict(zip(names_of(self.layers), self.layers, strict=True))


@dataclass(frozen=True)
class Frozen(Container):
    """A layer whose weights stay as they are: it is in evaluation mode in training too.

    Its weights and running statistics are state, so that nothing moves them, no penalty and no decay either. In names
    it is called as the layer inside.

    Parameters
    ----------
    layer : layer

    State: `params` and `state` of the layer inside, where it has any.

    Examples
    --------
    >>> from heldout.neural.layers import Dense
    >>> Sequential(Frozen(Dense(3)), Dense(1)).names
    ('dense_1', 'dense_2')
    >>> params, state = Frozen(Dense(3)).init(jax.random.key(0), (2,))
    >>> params, sorted(state["params"])
    ({}, ['bias', 'weights'])
    """

    layer: Layer

    @property
    def random(self) -> bool:
        return False

    @property
    def joins_rows(self) -> bool:
        return False

    @property
    def called(self) -> str:
        return self.layer.called

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        params, state = self.layer.init(key, in_shape)
        return {}, ({"params": params} if params else {}) | ({"state": state} if state else {})

    def out_shape(self, in_shape: Shape) -> Shape:
        return self.layer.out_shape(in_shape)

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        y, _, after = self.layer.apply_masked(state.get("params", {}), state.get("state", {}), x, mask)
        return y, state, after

    @property
    def _branches(self) -> dict[str, Layer]:
        return {"layer": self.layer}


def _concatenate(outputs: list[Array]) -> Array:
    return jnp.concatenate(outputs, axis=-1)


def _sum(outputs: list[Array]) -> Array:
    return sum(outputs[1:], outputs[0])


def _mean(outputs: list[Array]) -> Array:
    return _sum(outputs) / len(outputs)


def _product(outputs: list[Array]) -> Array:
    product = outputs[0]
    for output in outputs[1:]:
        product = product * output
    return product


JOINS = {"concatenate": _concatenate, "sum": _sum, "mean": _mean, "product": _product}


def names_of(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Kind and number of each layer: "dense_1", "relu_1", "dense_2"."""
    seen: Counter[str] = Counter()
    names = []
    for layer in layers:
        seen[layer.called] += 1
        names.append(f"{layer.called}_{seen[layer.called]}")
    return tuple(names)


def _check_layers(container: Layer, layers: tuple[object, ...]) -> None:
    name = type(container).__name__
    if not layers:
        raise InputError(f"{name} needs at least one layer.")
    for layer in layers:
        if not isinstance(layer, Layer):
            hint = f"; write {layer.__name__}()" if isinstance(layer, type) and issubclass(layer, Layer) else ""
            raise InputError(f"{name} is made of layers, and {layer!r} is none{hint}.")


def _init_alike(layer: Layer, key: Key, start: int, stop: int, in_shape: Shape) -> list[tuple[Params, State]]:
    """What equal layers begin with, by their places' keys: drawn at once, so that they are compiled as one."""
    if key is None or stop - start == 1:
        return [layer.init(None if key is None else jax.random.fold_in(key, i), in_shape) for i in range(start, stop)]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(start, stop, dtype=jnp.uint32))
    all_made = jax.vmap(lambda own: layer.init(own, in_shape))(keys)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], all_made) for i in range(stop - start)]


def _init_branches(branches: dict[str, Layer], key: Key, in_shape: Shape) -> tuple[Params, State]:
    params: Params = {}
    states: State = {}
    for i, (name, layer) in enumerate(branches.items()):
        made, state = layer.init(None if key is None else jax.random.fold_in(key, i), in_shape)
        params |= {name: made} if made else {}
        states |= {name: state} if state else {}
    return params, states


def _apply_branches(
    branches: dict[str, Layer], params: Params, state: State, x: Array, mask: Mask, train: bool, key: Key
) -> tuple[list[Array], State, Mask]:
    """The outputs of layers on the same input, and the mask of the first one's."""
    outputs: list[Array] = []
    masks: list[Mask] = []
    after: State = {}
    for i, (name, layer) in enumerate(branches.items()):
        own = jax.random.fold_in(key, i) if train and layer.random and key is not None else None
        y, new, left = layer.apply_masked(params.get(name, {}), state.get(name, {}), x, mask, train=train, key=own)
        outputs.append(y)
        masks.append(left)
        after |= {name: new} if new else {}
    return outputs, after, masks[0]
