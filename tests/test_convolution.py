"""Convolutional layers beside PyTorch, central differences and plain loops; `convolve` beside SciPy."""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import heldout
from gradients import computed, differences, error, moved
from heldout.errors import InputError
from heldout.neural.layers import (
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Sequential,
)
from heldout.neural.layers import correlation as routes
from heldout.neural.layers.stored import from_json, to_json

Case: TypeAlias = "tuple[Layer, tuple[int, ...]]"

MANY = 30  # settings to a program
several = settings(max_examples=2, derandomize=True, deadline=None, phases=[Phase.generate], database=None)


@st.composite
def correlations(draw: Any) -> Case:
    """A layer with random hyperparameters, and a row that it fits."""
    axes = draw(st.integers(1, 2))

    def each(least: int, most: int) -> Any:
        return tuple(draw(st.integers(least, most)) for _ in range(axes))

    sizes, strides, dilations = each(1, 4), each(1, 3), each(1, 2)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, sizes, strict=True)]
    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    channels = draw(st.sampled_from([channels, channels, 17]))  # many: another route on the CPU
    lengths = tuple(draw(st.integers(span, span + 4)) for span in spans)
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect"]))
    padding: Any = draw(st.sampled_from(["valid", "same", 0]))
    if padding == 0:
        most = [3 if mode == "zeros" else min(3, length - 1) for length in lengths]
        padding = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    if padding == "same" and any(span > length for span, length in zip(spans, lengths, strict=True)):
        padding = "valid"
    kind = Conv1D if axes == 1 else Conv2D
    bias = draw(st.booleans())
    layer = kind(groups * filters, sizes, strides, padding, dilations, groups, bias, mode)
    return layer, (*lengths, groups * channels)


@st.composite
def transposes(draw: Any) -> Case:
    axes = draw(st.integers(1, 2))
    sizes, strides, dilations, paddings, lengths, extras = [], [], [], [], [], []
    for _ in range(axes):
        size, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        length = draw(st.integers(1, 5))
        extra = draw(st.integers(0, max(stride, dilation) - 1))
        out = (length - 1) * stride + dilation * (size - 1) + 1
        padding = draw(st.integers(0, min(2, (out - 1) // 2)))
        for numbers, number in zip(
            (sizes, strides, dilations, paddings, lengths, extras),
            (size, stride, dilation, padding, length, extra),
            strict=True,
        ):
            numbers.append(number)
    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    channels = draw(st.sampled_from([channels, channels, 17]))
    kind = ConvTranspose1D if axes == 1 else ConvTranspose2D
    layer = kind(groups * filters, sizes, strides, tuple(paddings), tuple(extras), dilations, groups)
    return layer, (*lengths, groups * channels)


def made(
    layer: Layer, row: tuple[int, ...], seed: int, dtype: Any = np.float32, whole: bool = False
) -> tuple[Any, Any, Any]:
    """Random weights, a batch of two (of whole numbers, many of them equal), and a gradient from above."""
    rng = np.random.default_rng(seed)
    forms = jax.eval_shape(lambda key: layer.init(key, row)[0], jax.random.key(0))
    params = {name: rng.normal(size=form.shape).astype(dtype) for name, form in forms.items()}
    shapes = (2, *row), (2, *layer.out_shape(row))
    x, upstream = (rng.normal(size=shape) for shape in shapes)
    return params, (np.round(x) if whole else x).astype(dtype), upstream.astype(dtype)


def ours(cases: list[Case], whole: bool) -> tuple[list[Any], list[Any]]:
    """What the layers give in one program: outputs and gradients; and what they were given."""
    batches = [made(*case, seed, whole=whole) for seed, case in enumerate(cases)]

    def everything(batches: list[Any]) -> list[Any]:
        results = []
        for (layer, _), (params, x, upstream) in zip(cases, batches, strict=True):
            y, pull = jax.vjp(lambda p, x, layer=layer: layer.apply(p, {}, x)[0], params, x)
            results.append((y, pull(upstream)))
        return results

    return computed(everything, batches), batches


def compare(cases: list[Case], theirs: Any, whole: bool = False) -> None:
    """Outputs and gradients beside PyTorch's, of `theirs(torch, layer, params, x)`."""
    torch = pytest.importorskip("torch")
    results, batches = ours(cases, whole)
    for (layer, row), (y, gradients), (params, x, upstream) in zip(cases, results, batches, strict=True):
        tensors = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in params.items()}
        given = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        expected = theirs(torch, layer, tensors, given.movedim(-1, 1)).movedim(1, -1)
        expected.backward(torch.tensor(upstream, dtype=torch.float64))
        assert y.shape == (2, *layer.out_shape(row)) and y.dtype == np.float32
        assert error(y, expected.detach().numpy()) <= 1e-5, (layer, row)
        pulled = ({name: tensor.grad.numpy() for name, tensor in tensors.items()}, given.grad.numpy())
        assert error(gradients, pulled, share=1.0) <= 1e-5, (layer, row)


def torch_correlation(torch: Any, layer: Any, params: Any, x: Any) -> Any:
    F, axes = torch.nn.functional, layer.axes
    weights = params["weights"].movedim((-1, -2), (0, 1)).contiguous()
    groups = x.shape[1] if isinstance(layer, DepthwiseConv2D) else layer.groups
    if layer.padding == "same":
        edges = []
        for length, k, s, d in zip(x.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True):
            total = max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0)
            edges.append((total // 2, total - total // 2))
    else:
        edges = [(0, 0)] * axes if layer.padding == "valid" else list(layer.padding)
    mode = "constant" if layer.padding_mode == "zeros" else "reflect"
    x = F.pad(x, [p for pair in edges[::-1] for p in pair], mode=mode)
    convolve = F.conv1d if axes == 1 else F.conv2d
    return convolve(x, weights, params.get("bias"), layer.stride, 0, layer.dilation, groups)


def torch_transpose(torch: Any, layer: Any, params: Any, x: Any) -> Any:
    F = torch.nn.functional
    weights = params["weights"].movedim((-1, -2), (0, 1)).contiguous()
    function = F.conv_transpose1d if layer.axes == 1 else F.conv_transpose2d
    given = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    return function(x, weights, params.get("bias"), *given)


@several
@given(st.lists(correlations(), min_size=MANY, max_size=MANY))
def test_convolutions_beside_pytorch(cases: list[Case]) -> None:
    compare(cases, torch_correlation)


@several
@given(st.lists(transposes(), min_size=MANY, max_size=MANY))
def test_transposed_convolutions_beside_pytorch(cases: list[Case]) -> None:
    compare(cases, torch_transpose)


def test_depthwise_beside_pytorch_and_groups() -> None:
    kinds = itertools.product((1, 3), ((1, 1), (2, 1)), ("same", ((1, 0), (2, 1))), (1, 2))
    cases = [(DepthwiseConv2D((k, 2), s, p, (1, 1), m), (5, 6, 3)) for k, s, p, m in kinds]
    compare(cases, torch_correlation)
    params, x, _ = made(DepthwiseConv2D(3, multiplier=2), (5, 5, 3), 0)
    same, _ = Conv2D(6, 3, groups=3).apply(params, {}, x)
    assert_array_equal(DepthwiseConv2D(3, multiplier=2).apply(params, {}, x)[0], same)


EXACT: list[Case] = [
    (Conv1D(3, 3, 2, 1), (7, 2)),
    (Conv2D(2, 3, 1, "same"), (4, 5, 2)),
    (Conv2D(2, (2, 3), (2, 1), ((2, 0), (1, 3)), (1, 2)), (5, 6, 1)),
    (Conv2D(4, 2, 1, 4, groups=2), (3, 3, 2)),  # more padding than the window is wide
    (Conv2D(2, 3, 2, 1, padding_mode="reflect"), (4, 4, 17)),
    (DepthwiseConv2D(2, multiplier=2), (3, 3, 2)),
    (ConvTranspose1D(2, 3, 2, 1, 1), (3, 2)),
    (ConvTranspose2D(2, 2, 3, "same", groups=2), (2, 2, 4)),
    (ConvTranspose2D(1, 3, 1, ((1, 0), (0, 2))), (3, 3, 2)),
]


def test_gradients_beside_central_differences() -> None:
    batches = [made(*case, 1, np.float64) for case in EXACT]
    near = [moved((params, x)) for params, x, _ in batches]

    def everything(batches: list[Any], near: list[Any]) -> list[Any]:
        results = []
        for (layer, _), (params, x, upstream), points in zip(EXACT, batches, near, strict=True):
            _, pull = jax.vjp(lambda p, x, layer=layer: layer.apply(p, {}, x)[0], params, x)
            values = jax.vmap(lambda p, x, layer=layer: layer.apply(p, {}, x)[0])(*points)
            results.append((pull(upstream), values))
        return results

    with jax.enable_x64(True):
        results = computed(everything, batches, near)
    for case, (params, x, upstream), (gradients, values) in zip(EXACT, batches, results, strict=True):
        numeric = differences((params, x), (values * upstream).reshape(len(values), -1).sum(axis=1))
        assert error(gradients, numeric) <= 1e-6, case


def test_the_formula_by_loops() -> None:
    layer = Conv2D(2, (3, 2), (2, 1), 1)
    params, x, _ = made(layer, (6, 4, 3), 2)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    y = np.zeros((2, *layer.out_shape((6, 4, 3))))
    for n, i, j, f in np.ndindex(y.shape):
        window = padded[n, 2 * i : 2 * i + 3, j : j + 2]
        y[n, i, j, f] = (window * params["weights"][..., f]).sum() + params["bias"][f]
    assert_allclose(layer.apply(params, {}, x)[0], y, atol=1e-5)


def test_what_other_devices_do_is_the_same() -> None:
    cases = [case for case in EXACT if isinstance(case[0], (Conv1D, Conv2D)) and case[0].padding_mode == "zeros"]
    batches = [made(*case, 3) for case in cases]

    def everything(batches: list[Any]) -> list[Any]:
        results = []
        for (layer, row), (params, x, upstream) in zip(cases, batches, strict=True):
            weights, given = params["weights"], (layer._windows(row[:-1]), layer.groups)  # type: ignore[attr-defined]
            results.append((routes._products(*given, x, weights), routes.by_xla(*given, x, weights)))
            back = (*given, row[:-1], upstream, weights)
            results.append((routes._spread_products(*back), routes._spread_by_xla(*back)))
            back = (*given, x, upstream)
            results.append((routes._weight_products(*back), routes._weights_by_xla(*back)))
        return results

    for number, (products, by_xla) in enumerate(computed(everything, batches)):
        assert error(products, by_xla) <= 1e-5, cases[number // 3]


def test_one_by_one_is_dense_at_every_pixel() -> None:
    params, x, _ = made(Conv2D(5, 1), (4, 3, 20), 4)
    dense = {"weights": params["weights"][0, 0], "bias": params["bias"]}
    expected, _ = Dense(5).apply(dense, {}, x.reshape(-1, 20))
    assert_allclose(Conv2D(5, 1).apply(params, {}, x)[0], expected.reshape(2, 4, 3, 5), atol=1e-5)
    assert Conv2D(5, 1).summary((4, 3, 20)).parameters == Dense(5).summary((20,)).parameters == 105


def test_a_shifted_image_has_shifted_outputs() -> None:
    layer = Conv2D(3, 3, padding=1)
    params, x, _ = made(layer, (12, 12, 2), 5)
    x = np.pad(x[:, 3:-3, 3:-3], [(0, 0), (3, 3), (3, 3), (0, 0)])
    shifted = np.roll(x, (2, -1), (1, 2))
    expected = np.roll(layer.apply(params, {}, x)[0], (2, -1), (1, 2))
    assert_allclose(layer.apply(params, {}, shifted)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("w", "f", "p", "s"), [(28, 5, 0, 1), (28, 5, 2, 1), (227, 11, 0, 4), (7, 3, 1, 2), (8, 3, 1, 2)]
)
def test_sizes_and_parameters(w: int, f: int, p: int, s: int) -> None:
    layer = Conv2D(6, f, s, p)
    side = (w - f + 2 * p) // s + 1
    assert layer.out_shape((w, w, 3)) == (side, side, 6)
    assert layer.summary((w, w, 3)).parameters == 6 * (f * f * 3 + 1)
    assert Conv2D(6, f, s, "same").out_shape((w, w, 3)) == (-(-w // s), -(-w // s), 6)
    assert Conv2D(6, f, dilation=2).out_shape((w, w, 3)) == (w - 2 * (f - 1),) * 2 + (6,)
    assert ConvTranspose2D(6, f, s, "same").out_shape((w, w, 3)) == (w * s, w * s, 6)
    if (w - f + 2 * p) % s == 0:
        assert ConvTranspose2D(3, f, s, p).out_shape((side, side, 6)) == (w, w, 3)


def test_initial_variance() -> None:
    weights = Conv2D(64, 3).init(jax.random.key(0), (8, 8, 32))[0]["weights"]
    assert abs(float(weights.var()) / (2 / (9 * 32)) - 1) < 0.05
    depthwise = DepthwiseConv2D(3).init(jax.random.key(0), (8, 8, 2000))[0]["weights"]
    assert abs(float(depthwise.var()) / (2 / 9) - 1) < 0.05


WRONG: list[tuple[Layer, tuple[int, ...], str]] = [
    (Conv2D(4, 5), (3, 8, 1), r"height 3: \(W - F \+ 2P\) / S \+ 1 = \(3 - 5 \+ 0\) / 1 \+ 1 = -1 and must"),
    (Conv2D(4, 5), (8, 3, 1), "width 3"),
    (Conv1D(4, 3, dilation=3), (6, 1), r"length 6.*\(6 - \(3 \* \(3 - 1\) \+ 1\) \+ 0\) / 1 \+ 1 = 0"),
    (Conv2D(4, 3), (8, 8), r"needs rows of shape \(height, width, channels\), not \(8, 8\)"),
    (Conv2D(4, 0), (8, 8, 1), "kernel_size of Conv2D is 0"),
    (Conv2D(4, (3, 3, 3)), (8, 8, 1), r"kernel_size of Conv2D is \(3, 3, 3\)"),
    (Conv2D(0, 3), (8, 8, 1), "filters of Conv2D is 0"),
    (Conv2D(4, 3, stride=1.5), (8, 8, 1), "stride of Conv2D is 1.5"),  # type: ignore[arg-type]
    (Conv2D(4, 3, dilation=True), (8, 8, 1), "dilation of Conv2D is True"),
    (Conv2D(4, 3, padding=-1), (8, 8, 1), "padding of Conv2D is -1"),
    (Conv2D(4, 3, padding="sane"), (8, 8, 1), "Did you mean 'same'"),
    (Conv2D(4, 3, padding=(1, (1, 2, 3))), (8, 8, 1), "padding of Conv2D is"),  # type: ignore[arg-type]
    (Conv2D(4, 3, padding=8, padding_mode="reflect"), (8, 8, 1), "cannot reflect 8 numbers of an axis of 8"),
    (Conv2D(4, 3, padding_mode="mirror"), (8, 8, 1), "padding_mode of Conv2D is 'mirror'"),
    (Conv2D(4, 3, groups=3), (8, 8, 3), "cannot part 3 channels and 4 filters into 3 groups"),
    (DepthwiseConv2D(3, multiplier=0), (8, 8, 3), "multiplier of DepthwiseConv2D is 0"),
    (ConvTranspose2D(4, 3, 2, output_padding=2), (8, 8, 3), "output_padding of ConvTranspose2D is 2"),
    (ConvTranspose2D(4, 3, padding=3), (2, 2, 3), r"\(2 - 1\) \* 1 \+ 3 - 6 = -2"),
    (ConvTranspose1D(4, 3), (2, 2, 3), r"needs rows of shape \(length, channels\)"),
    (Conv1D(2, 3, use_bias="no"), (4, 1), "use_bias of Conv1D is 'no' and must be True or False"),  # type: ignore[arg-type]
    (ConvTranspose2D(2, 3, use_bias=1), (4, 4, 1), "use_bias of ConvTranspose2D is 1"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("layer", "row", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_is_said(layer: Layer, row: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        layer.out_shape(row)
    with pytest.raises(InputError, match=said):
        layer.init(jax.random.key(0), row)
    with pytest.raises(InputError, match=said):
        from_json(to_json(layer)).out_shape(row)


def test_stored_layers_come_back() -> None:
    for layer, _ in EXACT:
        assert from_json(to_json(layer)) == layer and hash(from_json(to_json(layer))) == hash(layer)
    assert Conv2D(2, [3, 2], padding=[[1, 2], 0]) == Conv2D(2, (3, 2), padding=((1, 2), 0))  # type: ignore[arg-type, list-item]


def test_a_small_network_learns() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 150)
    X = rng.normal(0, 0.3, (150, 8, 8, 1))
    for image, code, at in zip(X, codes, rng.integers(0, 5, 150), strict=True):  # a bar, upright or lying, somewhere
        image[(slice(1, 7), at) if code else (at, slice(1, 7))] += 1.0
    network = Sequential(Conv2D(8, 3), ReLU(), MaxPool2D(), Flatten(), Dense())
    model = heldout.NeuralClassifier(network, max_iter=60, learning_rate_init=0.01)
    assert model.fit(X, codes).score(X, codes) > 0.95


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolve_beside_scipy(mode: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [((9,), (4,)), ((4,), (9,)), ((1,), (1,)), ((6, 7), (3, 2)), ((3, 2), (6, 7)), ((70, 60), (40, 50))]
    for f, g in ((rng.normal(size=a), rng.normal(size=b)) for a, b in sizes):
        assert_allclose(heldout.convolve(f, g, mode), scipy.signal.convolve(f, g, mode, "direct"), atol=1e-11)
        assert_allclose(heldout.cross_correlate(f, g, mode), scipy.signal.correlate(f, g, mode, "direct"), atol=1e-11)
    whole = heldout.convolve([1, 2, 3], [0, 1], mode)
    assert whole.dtype == np.int64
    assert_array_equal(whole, scipy.signal.convolve([1, 2, 3], [0, 1], mode))


def test_the_layer_is_a_cross_correlation() -> None:
    params, x, _ = made(Conv2D(1, 3, use_bias=False), (6, 5, 1), 6, np.float64)
    kernel = params["weights"][..., 0, 0]
    y = np.asarray(Conv2D(1, 3, use_bias=False).apply(params, {}, jnp.asarray(x))[0])[0, ..., 0]
    assert_allclose(y, heldout.cross_correlate(x[0, ..., 0], kernel, "valid"), atol=1e-5)
    assert_allclose(y, heldout.convolve(x[0, ..., 0], kernel[::-1, ::-1], "valid"), atol=1e-5)


@pytest.mark.parametrize(
    ("f", "g", "mode", "said"),
    [
        ([1.0], [1.0], "half", "There is no mode 'half'"),
        ([[1.0]], [1.0], "full", "as many axes"),
        ([[[1.0]]], [[[1.0]]], "full", "one axis or two"),
        ([], [1.0], "full", "at least one number"),
        (["a"], [1.0], "full", "numbers"),
        (np.ones((2, 5)), np.ones((5, 2)), "valid", "along every axis"),
    ],
)
def test_convolve_says_what_is_wrong(f: Any, g: Any, mode: str, said: str) -> None:
    for function in (heldout.convolve, heldout.cross_correlate):
        with pytest.raises(InputError, match=said):
            function(f, g, mode)
