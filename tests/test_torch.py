"""Networks of PyTorch become ours with their weights, and go back; what cannot is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import heldout
from heldout.errors import InputError, MissingExtraError
from heldout.neural.exchange.tables import FUNCTIONS, JOINS, MODULES
from heldout.neural.layers import (
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Parallel,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Tanh,
)
from heldout.neural.layers.stored import from_json, to_json
from heldout.neural.losses import CrossEntropy

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Perceptron(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 128)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(128, 64)
        self.relu2 = nn.ReLU()
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        x = x.reshape(-1, 784)
        x = self.relu1(self.fc1(x))
        x = self.relu2(self.fc2(x))
        return self.classifier(x)


class Written(nn.Module):  # type: ignore[misc]
    """A module with a forward of its own, which is given the module and x."""

    def __init__(self, forward: Callable[[Any, Any], Any], **parts: Any) -> None:
        super().__init__()
        self.written = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self.written(self, x)


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def outputs(module: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(torch.tensor(x)).numpy()


def trained(imported: Any, x: np.ndarray, codes: np.ndarray, steps: int = 5) -> tuple[Any, Any]:
    """Weights and statistics after a few steps down the gradient."""

    @jax.jit
    def step(params: Any, state: Any, key: Any) -> Any:
        def loss(params: Any) -> Any:
            y, after = imported.network.apply(params, state, x, train=True, key=key)
            return CrossEntropy()(y, codes).mean(), after

        gradient, after = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), after

    params, state = imported.params, imported.state
    for i in range(steps):
        params, state = step(params, state, jax.random.key(i))
    return params, state


def test_a_perceptron_there_and_back() -> None:
    torch.manual_seed(0)
    module = Perceptron()
    imported = heldout.from_torch(module)
    assert imported.in_shape == (784,)
    assert imported.network == Sequential(Reshape((784,)), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10))
    x = np.random.default_rng(0).uniform(size=(200, 784)).astype(np.float32)
    codes = np.random.default_rng(1).integers(0, 10, 200)
    assert_allclose(imported(x), outputs(module, x), rtol=0, atol=1e-6)
    assert_allclose(imported(x.reshape(-1, 1, 28, 28)), outputs(module, x.reshape(-1, 1, 28, 28)), rtol=0, atol=1e-6)

    params, state = trained(imported, x, codes)
    back = imported.to_torch(params, state)
    ours = np.asarray(imported.network.apply(params, state, jnp.asarray(x))[0])
    assert np.abs(ours - imported(x)).max() > 1e-2
    assert_allclose(outputs(back, x), ours, rtol=0, atol=1e-6)
    assert type(back) is Perceptron and list(back.state_dict()) == list(module.state_dict())
    assert_array_equal(back.fc1.weight.detach().numpy(), np.asarray(params["dense_1"]["weights"]).T)
    module.load_state_dict(back.state_dict())
    assert_allclose(outputs(module, x), ours, rtol=0, atol=1e-6)
    assert_allclose(heldout.from_torch(back)(x), ours, rtol=0, atol=1e-6)


def test_weights_are_copies() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    imported = heldout.from_torch(module)
    before = imported(rows(4, 3))
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    back = heldout.to_torch(imported)
    for tensor in (*module.state_dict().values(), *back.state_dict().values()):
        tensor.fill_(0)
    assert_array_equal(imported(rows(4, 3)), before)
    again = heldout.to_torch(imported).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in kept.items())


def test_nothing_else_is_changed() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2).eval()))
    module(torch.tensor(rows(4, 3))).sum().backward()
    flags = [inner.training for inner in module.modules()]
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    drawn, threads, x64 = torch.get_rng_state(), torch.get_num_threads(), jax.config.jax_enable_x64
    back = heldout.to_torch(heldout.from_torch(module))
    assert torch.equal(drawn, torch.get_rng_state())
    assert (threads, x64) == (torch.get_num_threads(), jax.config.jax_enable_x64)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    assert flags == [inner.training for inner in module.modules()] == [inner.training for inner in back.modules()]
    assert all(torch.equal(weights[name], tensor) for name, tensor in module.state_dict().items())
    assert module[0].weight.grad is not None and back[0].weight.grad is None


EVERY_MODULE = nn.Sequential(
    nn.Flatten(),
    nn.Linear(12, 8, bias=False),
    nn.BatchNorm1d(8, eps=1e-3, momentum=0.3),
    nn.ReLU(inplace=True),
    nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2, inplace=True), nn.Sequential(nn.LayerNorm(8, eps=1e-3))),
    nn.ELU(0.7),
    nn.Linear(8, 12),
    nn.GELU(),
    nn.Unflatten(1, (3, 4)),
    nn.Linear(4, 6),
    nn.GELU(approximate="tanh"),
    nn.Unflatten(-1, (2, 3)),
    nn.SiLU(),
    nn.Flatten(2, 3),
    nn.Flatten(-2),
    nn.Sigmoid(),
    nn.Identity(),
    nn.Tanh(),
    nn.Dropout(0.25),
    nn.Linear(18, 5),
    nn.Softmax(dim=1),
)


def test_every_module() -> None:
    modules = [EVERY_MODULE, *(module for module, _ in IMAGES.values())]
    assert {type(inner).__name__ for module in modules for inner in module.modules()} == {
        *MODULES,
        "Sequential",
        "Written",
        "Added",
    }
    with torch.no_grad():
        for name, tensor in EVERY_MODULE.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.tensor(np.random.default_rng(len(name)).uniform(0.2, 1.0, tensor.shape)))
    imported = heldout.from_torch(EVERY_MODULE, in_shape=(3, 4))
    x = rows(7, 3, 4)
    assert_allclose(imported(x), outputs(EVERY_MODULE, x), atol=1e-6)
    assert from_json(to_json(imported.network)) == imported.network
    assert imported.network.layers[2] == BatchNorm(momentum=0.7, epsilon=1e-3)
    assert imported.network.out_shape((3, 4)) == (5,)
    forms = jax.eval_shape(lambda key: imported.network.init(key, (3, 4)), jax.random.key(0))
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), forms, (imported.params, imported.state))
    assert all(jax.tree.leaves(same))


class Added(nn.Module):  # type: ignore[misc]
    """A block of a residual network."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, filters, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = nn.Conv2d(filters, filters, 3, padding="same", bias=False), nn.BatchNorm2d(filters)
        self.beside = nn.Sequential(nn.Conv2d(channels, filters, 1, stride=2), nn.BatchNorm2d(filters))

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.beside(x))


def image_blocks(self: Any, x: Any) -> Any:
    x = torch.tanh(self.conv(x))
    x = torch.cat([F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)], dim=1)
    x = x + F.adaptive_avg_pool2d(x, x.shape[2:])
    flat = F.dropout(x, 0.2, self.training).view(x.size(0), -1)
    x = torch.cat([F.adaptive_max_pool2d(x, (3, 1)).flatten(1), torch.mean(x, (2, 3)), flat], 1)
    return self.last(self.norm(x))


def line_blocks(self: Any, x: Any) -> Any:
    x = F.max_pool1d(self.conv(x), 2)
    x = torch.cat((F.adaptive_max_pool1d(x, 2), F.adaptive_avg_pool1d(F.avg_pool1d(x, 2), 2)), -2)
    return torch.relu(x).mean(-1, keepdim=True).reshape(x.shape[0], -1)


IMAGES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "LeNet": (
        nn.Sequential(
            nn.Conv2d(2, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(48, 12), nn.Dropout(0.2), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 5),
        ),
        (2, 12, 16),
    ),
    "residual": (
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), Added(4, 6),
            nn.AdaptiveAvgPool2d((2, None)), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 3),
        ),
        (3, 7, 8),
    ),
    "larger": (
        nn.Sequential(
            nn.AdaptiveMaxPool2d(3), nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, bias=False),
            nn.SiLU(),
            nn.ConvTranspose2d(6, 2, (2, 3), dilation=2), nn.AdaptiveAvgPool2d(1),
        ),
        (4, 6, 9),
    ),
    "line": (
        nn.Sequential(
            nn.Conv1d(2, 4, 3, dilation=2, groups=2), nn.BatchNorm1d(4), nn.MaxPool1d(2, ceil_mode=True),
            nn.ConvTranspose1d(4, 3, 2, 2), nn.AvgPool1d(3, 1, 1, count_include_pad=False), nn.AdaptiveMaxPool1d(3),
            nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(6, 2),
        ),
        (2, 16),
    ),
    "functions": (
        Written(image_blocks, conv=nn.Conv2d(2, 3, 3), norm=nn.LayerNorm(60), last=nn.Linear(60, 3)),
        (2, 8, 6),
    ),
    "functions of lines": (Written(line_blocks, conv=nn.Conv1d(1, 3, 3, padding=1)), (1, 8)),
    "flat": (
        nn.Sequential(nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 2, 3), nn.Flatten(2), nn.Flatten(), nn.Linear(32, 2)),
        (36,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IMAGES)
def test_images_there_and_back(case: str) -> None:
    module, shape = IMAGES[case]
    module = module.double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.tensor(np.random.default_rng(len(name)).uniform(0.2, 1.0, tensor.shape)))
    x = np.random.default_rng(0).normal(size=(4, *shape))
    last = np.moveaxis(x, 1, -1)
    with jax.enable_x64(True):
        imported = heldout.from_torch(module, in_shape=shape)
        assert imported.in_shape == last.shape[1:]
        expected = np.moveaxis(outputs(module, x), 1, -1)
        assert_allclose(imported(last), expected, rtol=1e-12, atol=1e-12)
        forms = jax.eval_shape(lambda key: imported.network.init(key, imported.in_shape), jax.random.key(0))
        same = jax.tree.map(lambda a, b: a.shape == b.shape, forms, (imported.params, imported.state))
        assert all(jax.tree.leaves(same)) and from_json(to_json(imported.network)) == imported.network
        moved = jax.tree.map(lambda leaf: leaf + np.random.default_rng(1).normal(size=leaf.shape) ** 2, imported.params)
        back = heldout.to_torch(imported, moved)
        ours = imported.network.apply(moved, imported.state, jnp.asarray(last))[0]
        assert_allclose(np.moveaxis(outputs(back, x), 1, -1), ours, rtol=1e-10, atol=1e-10)
    unmoved = heldout.to_torch(imported).state_dict()
    assert all(torch.equal(unmoved[name], tensor) for name, tensor in module.state_dict().items())


def test_a_network_of_images_is_trained_further() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    imported = heldout.from_torch(module, (1, 6, 6))
    x, codes = rows(40, 6, 6, 1), np.arange(40) % 3
    given = {"augment": None, "standardise": False, "max_iter": 2}
    learner = heldout.ConvNetClassifier(imported.network, freeze=["conv2d_1"], **given)
    learner.fit(x, codes, start=(imported.params, imported.state))
    params = {**learner.params_, "conv2d_1": learner.state_["conv2d_1"]["params"]}
    back = heldout.to_torch(imported, params)
    assert torch.equal(back[0].weight, module[0].weight) and not torch.equal(back[4].weight, module[4].weight)
    assert_allclose(outputs(back, np.moveaxis(x, -1, 1)), learner.decision_function(x), atol=1e-5)


def blocks(self: Any, x: Any) -> Any:
    x = torch.flatten(x.view(x.shape[0], x.size(1), -1), start_dim=1)
    x = F.leaky_relu(F.relu(self.first(x), inplace=True), 0.1) + torch.relu(x)
    x = x.clone() * x.sigmoid()
    x = torch.cat([x, F.elu(x, alpha=0.5).contiguous(), F.dropout(torch.tanh(x), 0.3, training=self.training)], dim=-1)
    x = F.gelu(x, approximate="tanh").relu_().reshape((x.size()[0], x.shape[1] // 2, 2)).unflatten(2, (2, 1))
    x = F.silu(x.flatten(1, -1))
    return F.softmax(torch.concat((x, self.last(x)), 1), dim=-1).softmax(1)


def test_functions_and_methods() -> None:
    module = Written(blocks, first=nn.Linear(6, 6), last=nn.Linear(18, 4))
    imported = heldout.from_torch(module, in_shape=(2, 3))
    x = rows(5, 2, 3)
    assert_allclose(imported(x), outputs(module, x), atol=1e-6)
    assert Dropout(0.3) in imported.network.layers[4].layers[2].layers
    tried = {name for function in (blocks, image_blocks, line_blocks) for name in function.__code__.co_names}
    untried = {*FUNCTIONS, *JOINS} - tried
    assert untried == {"add", "iadd", "mul", "imul", "concatenate"}  # + and * are in it


def test_the_shapes_of_networks() -> None:
    block = Written(lambda self, x: x + self.b(F.relu(self.a(x))), a=nn.Linear(4, 6), b=nn.Linear(6, 4))
    ours = Residual(Sequential(Dense(6), ReLU(), Dense(4)))
    inner = Written(lambda self, x: self.block(x) + x, block=block)
    assert heldout.from_torch(nn.Sequential(block, nn.Tanh())).network == Sequential(ours, Tanh())
    assert heldout.from_torch(inner).network == Sequential(Residual(ours))

    shortcut = Written(lambda self, x: self.a(x) + torch.tanh(self.b(x)), a=nn.Linear(4, 2), b=nn.Linear(4, 2))
    imported = heldout.from_torch(shortcut)
    assert imported.network == Sequential(Parallel(Dense(2), Sequential(Dense(2), Tanh()), join="sum"))
    assert set(imported.params["parallel_1"]) == {"dense_1", "sequential_1"}

    wide = Written(lambda self, x: torch.cat([x, self.a(x), self.a2(x)], 1), a=nn.Linear(4, 2), a2=nn.Linear(4, 3))
    assert heldout.from_torch(wide).network == Sequential(Parallel(Identity(), Dense(2), Dense(3)))

    thrice = Written(lambda self, x: x + self.a(x) + self.b(x), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    kept = Written(lambda self, x: self.a(x), a=nn.Linear(4, 4), unused=nn.ReLU())
    doubled = Written(lambda self, x: torch.add(x, other=x, alpha=1), a=nn.Identity())
    for module in (block, inner, shortcut, wide, thrice, kept):
        assert_allclose(heldout.from_torch(module)(rows(5, 4)), outputs(module, rows(5, 4)), atol=1e-6)
    assert heldout.from_torch(doubled, in_shape=(4,)).network == Sequential(Residual(Identity()))
    assert heldout.from_torch(nn.Linear(3, 2)).network == Sequential(Dense(2))
    assert type(heldout.to_torch(heldout.from_torch(nn.Linear(3, 2)))) is nn.Linear
    assert heldout.from_torch(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (3, 4)).network.layers[0] == Flatten()
    tanh = heldout.from_torch(nn.Sequential(nn.GELU(approximate="tanh")), in_shape=(3, 4))
    assert tanh.network == Sequential(GELU(approximate=True)) and tanh(rows(5, 3, 4)).shape == (5, 3, 4)
    assert tanh(rows(5, 2)).shape == (5, 2)


def test_modules_in_lists_and_under_two_names() -> None:
    layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])
    module = Written(lambda self, x: self.net(x), layers=layers, net=nn.Sequential(*layers))
    imported = heldout.from_torch(module)
    back = imported.to_torch(jax.tree.map(lambda leaf: leaf + 1, imported.params))
    assert torch.equal(back.layers[0].weight, module.layers[0].weight + 1)
    assert back.layers[0].weight is back.net[0].weight


def test_training_is_the_same_training() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    imported = heldout.from_torch(module)
    x, codes = rows(40, 6), np.random.default_rng(0).integers(0, 3, 40)
    params, state = trained(imported, x, codes, steps=20)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(module(torch.tensor(x)), torch.tensor(codes)).backward()
        optimizer.step()
    back = heldout.to_torch(imported, params, state)
    for name, tensor in module.state_dict().items():
        if name != "1.num_batches_tracked":
            assert_allclose(back.state_dict()[name].numpy(), tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    assert_allclose(outputs(back, x), outputs(module, x), atol=1e-5)
    assert_allclose(outputs(back, x), imported.network.apply(params, state, jnp.asarray(x))[0], atol=1e-6)


def test_what_an_estimator_learned_goes_back() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    imported = heldout.from_torch(module)
    x, codes = rows(60, 4), np.arange(60) % 3
    learner = heldout.NeuralClassifier(imported.network, standardise=False, max_iter=2, precision="single", seed=0)
    learner.fit(x, codes, start=(imported.params, imported.state))
    module.eval()
    begun = heldout.NeuralClassifier(
        imported.network, standardise=False, max_iter=1, learning_rate_init=1e-12, alpha=0.0
    )
    begun.fit(x, codes, start=(imported.params, imported.state))
    assert_allclose(begun.params_["dense_1"]["weights"], imported.params["dense_1"]["weights"], atol=1e-9)
    back = heldout.to_torch(imported, learner.params_, learner.state_)
    assert_allclose(outputs(back, x), learner.decision_function(x), atol=1e-6)


@pytest.mark.parametrize("kind", ["float64", "bfloat16", "float16"])
def test_types(kind: str) -> None:
    dtype = getattr(torch, kind)
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.SiLU(), nn.Linear(4, 2)).to(dtype)
    imported = heldout.from_torch(module)
    assert {leaf.dtype for leaf in jax.tree.leaves((imported.params, imported.state))} == {np.dtype(np.float32)}
    assert {tensor.dtype for tensor in heldout.to_torch(imported).parameters()} == {dtype}
    with jax.enable_x64(True):
        exact = heldout.from_torch(module)
        x = np.random.default_rng(0).normal(size=(6, 5))
        assert exact(x).dtype == np.float64
        assert_allclose(exact(x), outputs(module.double(), x), atol=1e-14)


def shared(self: Any, x: Any) -> Any:
    a, b = F.relu(self.a(x)), torch.tanh(x)
    return torch.cat([a + b, a * b], -1)


def tied() -> Any:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    return module


def hooked() -> Any:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    module[1].register_forward_hook(lambda *given: None)
    return module


def in_place(self: Any, x: Any) -> Any:
    y = self.a(x)
    return F.relu(y, inplace=True) + y


L = nn.Linear(4, 4)
REFUSED: dict[str, tuple[Any, str]] = {
    "module": (
        nn.Sequential(L, nn.Sequential(nn.ReLU(), nn.Conv3d(1, 2, 3))),
        r"'1.1' \(Conv3d\): there is no such layer; there are Linear",
    ),
    "first module": (nn.Sequential(nn.Conv3d(1, 2, 3), L), r"'0' \(Conv3d\)"),
    "only module": (nn.LSTM(3, 3), r"'the module' \(LSTM\)"),
    "function": (Written(lambda self, x: F.hardtanh(self.a(x)), a=L), "'hardtanh' in its forward: there is no such"),
    "inner function": (
        nn.Sequential(Written(lambda self, x: self.a(x).cumsum(1), a=L)),
        "'cumsum' in the forward of '0'",
    ),
    "derived": (
        nn.Sequential(type("Own", (nn.Linear,), {})(4, 4)),
        "'0.weight': its forward uses this tensor directly",
    ),
    "number": (Written(lambda self, x: self.a(x) + 1, a=L), "'add' in its forward: it has to join tensors"),
    "alpha": (Written(lambda self, x: torch.add(self.a(x), x, alpha=2), a=L), "has to join tensors"),
    "item": (Written(lambda self, x: self.a(x)[:, 0], a=L), "'getitem' in its forward: there is no such"),
    "own weights": (Written(lambda self, x: self.a(x) * self.w, a=L, w=nn.Parameter(torch.ones(4))), "'w'.*directly"),
    "unused weights": (
        Written(lambda self, x: self.a(x), a=L, b=nn.Linear(3, 2)),
        r"'b.weight': its 6 weights have no",
    ),
    "unused output": (
        Written(lambda self, x: (self.b(x), self.a(x))[1], a=L, b=nn.Linear(4, 2)),
        r"'b' \(Linear\).*no part",
    ),
    "used twice": (Written(lambda self, x: self.a(self.a(x)), a=L), r"'a' \(Linear\): it is used twice"),
    "tied": (tied(), r"'1' \(Linear\): it shares its weight with '0'"),
    "hooks": (hooked(), r"'1' \(ReLU\): it has hooks"),
    "crossed": (Written(shared, a=L), "used in several branches"),
    "two outputs": (Written(lambda self, x: (self.a(x), x), a=L), "return one tensor"),
    "control flow": (
        Written(lambda self, x: self.a(x) if x.sum() > 0 else x, a=L),
        "torch.fx cannot follow its forward",
    ),
    "in place": (Written(in_place, a=L), "may change a value in place"),
    "modes": (
        Written(lambda self, x: self.a(x) if self.training else F.relu(self.a(x)), a=L),
        "another way in training",
    ),
    "other modes": (
        Written(lambda self, x: F.elu(self.a(x), 1.0 if self.training else 2.0), a=L),
        "another way in training",
    ),
    "dropout always": (Written(lambda self, x: F.dropout(self.a(x), 0.5), a=L), r"training=self\.training"),
    "dropout of all": (nn.Sequential(L, nn.Dropout(1.0)), r"'1' \(Dropout\): p=1.0"),
    "softmax of rows": (nn.Sequential(L, nn.Softmax(0)), "dim=0 is not supported"),
    "softmax type": (Written(lambda self, x: self.a(x).softmax(1, torch.float64), a=L), "arguments are not supported"),
    "width": (nn.Sequential(L, nn.Linear(5, 2)), r"'1' \(Linear\): it takes rows of 5 numbers and is given .* \(4\)"),
    "batch norm": (nn.Sequential(L, nn.BatchNorm1d(4, affine=False)), r"'1' \(BatchNorm1d\): affine=False"),
    "momentum": (nn.Sequential(L, nn.BatchNorm1d(4, momentum=None)), "momentum=None is not supported"),
    "statistics": (nn.Sequential(L, nn.BatchNorm1d(4, track_running_stats=False)), "track_running_stats=False"),
    "places": (nn.Sequential(nn.Unflatten(1, (4, 3)), nn.BatchNorm1d(4)), "rows have to have one axis"),
    "layer norm": (nn.Sequential(nn.Unflatten(1, (2, 2)), nn.LayerNorm((2, 2))), "only the last axis"),
    "no bias": (nn.Sequential(L, nn.LayerNorm(4, bias=False)), "has to have a weight and a bias"),
    "batch reshaped": (Written(lambda self, x: self.a(x).view(8, -1), a=L), "the first length has to be -1"),
    "batch flattened": (Written(lambda self, x: torch.flatten(self.a(x)), a=L), "do not keep rows apart"),
    "joined on end": (
        Written(lambda self, x: torch.cat([self.a(x), x]), a=L),
        "along the last axis, dim=-1, not dim=0",
    ),
    "shapes": (Written(lambda self, x: self.a(x) + x, a=nn.Linear(4, 1)), r"\(1\) and \(4\) differ"),
    "shape unknown": (nn.Sequential(nn.ReLU()), r"cannot tell the shape of a row .* in_shape=\(784,\)"),
    "no module": (3, "from_torch takes a torch.nn.Module, not int"),
    "complex": (nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)), "no real numbers"),
    "meta": (nn.Sequential(nn.Linear(4, 4, device="meta")), "no real numbers"),
}


C = nn.Conv2d(2, 3, 3)
REFUSED_IMAGES: dict[str, tuple[Any, str]] = {
    "axes": (nn.Sequential(nn.Flatten(), C), r"'1' \(Conv2d\): it takes rows of 3 axes and is given .* \(72\)"),
    "channels": (
        nn.Sequential(C, nn.Conv2d(2, 3, 3)),
        r"'1' \(Conv2d\): it takes rows of 2 channels and is given .* \(3, 4, 4\)",
    ),
    "too large": (nn.Sequential(C, nn.Conv2d(3, 1, 5)), r"'1' \(Conv2d\): Conv2D does not fit rows of height 4"),
    "mode": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), "padding_mode='circular' is not supported"),
    "last axis": (nn.Sequential(C, nn.Linear(4, 2)), r"'1' \(Linear\): it is given images of shape \(3, 4, 4\)"),
    "softmax": (nn.Sequential(C, nn.Softmax(1)), r"'1' \(Softmax\): it is given images"),
    "dilation": (nn.MaxPool2d(2, dilation=2), "dilation and return_indices are not supported"),
    "ceiling": (nn.MaxPool2d(4, ceil_mode=True), "ceil_mode=True is not supported"),
    "divisor": (nn.AvgPool2d(2, divisor_override=3), "divisor_override is not supported"),
    "adaptive": (nn.AdaptiveMaxPool2d(4), "output_size has to divide"),
    "mean": (Written(lambda self, x: self.a(x).mean(1), a=C), r"dim=1 is not supported: only .* dim=\(2, 3\)"),
    "made of a row": (
        nn.Sequential(nn.Flatten(), nn.Linear(72, 72), nn.Unflatten(1, (2, 6, 6)), C),
        r"'2' \(Unflatten\): it makes rows of shape \(2, 6, 6\), with channels first, of \(72\)",
    ),
    "flat output": (nn.Sequential(C, nn.Flatten()), "the flattened image that it returns: its numbers come in another"),
    "two orders": (
        Written(lambda self, x: self.a(x).flatten(1) + x.flatten(1)[:, :48], a=C),
        "there is no such layer",
    ),
    "other order": (
        Written(lambda self, x: self.a(x).flatten(1) + self.b(x.flatten(1)), a=C, b=nn.Linear(72, 48)),
        "whose numbers come in another order here",
    ),
    "joined": (Written(lambda self, x: torch.cat([self.a(x), self.a(x)], 2), a=nn.ReLU()), "along"),
    "batch norm": (nn.Sequential(C, nn.BatchNorm2d(4)), "it takes rows of 4 channels"),
}


@pytest.mark.parametrize("case", REFUSED_IMAGES)
def test_images_that_cannot_be_taken_over(case: str) -> None:
    module, said = REFUSED_IMAGES[case]
    with pytest.raises(InputError, match=said) as raised:
        heldout.from_torch(module, in_shape=(2, 6, 6))
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")
    if case == "axes":
        with pytest.raises(InputError, match=r"cannot tell the size of an image: say it, as in in_shape=\(1, 28, 28\)"):
            heldout.from_torch(nn.Sequential(C, nn.Flatten(), nn.Linear(48, 2)))


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_over_is_named(case: str) -> None:
    module, said = REFUSED[case]
    with pytest.raises(InputError, match=said) as raised:
        heldout.from_torch(module)
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


def test_two_inputs() -> None:
    class Two(nn.Module):  # type: ignore[misc]
        def __init__(self, used: bool) -> None:
            super().__init__()
            self.a, self.used = nn.Linear(4, 4), used

        def forward(self, x: Any, mask: Any = None) -> Any:
            return self.a(x) + mask if self.used else self.a(x)

    assert heldout.from_torch(Two(False)).network == Sequential(Dense(4))
    with pytest.raises(InputError, match="it takes a second input, 'mask'"):
        heldout.from_torch(Two(True))


def test_rows_that_do_not_fit() -> None:
    imported = heldout.from_torch(Perceptron())
    assert imported(rows(0, 784)).shape == (0, 10)
    assert imported(np.zeros((2, 784), np.uint8)).shape == (2, 10)
    for wrong in ((2, 1568), (2, 783), (784,)):
        with pytest.raises(InputError, match=r"takes rows of shape \(784\), not"):
            imported(rows(*wrong))
    with pytest.raises(InputError, match="an array of numbers"):
        imported([["a"]])
    with pytest.raises(InputError, match=r"'fc1' \(Linear\)|'reshape' in its forward"):
        heldout.from_torch(Perceptron(), in_shape=(3,))


def test_weights_that_do_not_fit() -> None:
    imported = heldout.from_torch(nn.Linear(3, 2))
    for params in ({}, {"dense_1": {"weights": rows(2, 3), "bias": rows(2)}}, {"dense_1": {"weights": rows(3, 2)}}):
        with pytest.raises(InputError, match="not shaped as those of the imported network"):
            heldout.to_torch(imported, params)
    with pytest.raises(InputError, match="to_torch takes what from_torch gave, not Linear"):
        heldout.to_torch(nn.Linear(3, 2))


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = heldout.from_torch(nn.Linear(3, 2))
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: heldout.from_torch(None), lambda: heldout.to_torch(imported)):
        with pytest.raises(MissingExtraError, match=r"pip install 'heldout\[torch\]'"):
            call()


def test_pytorch_is_loaded_only_where_it_is_used() -> None:
    code = "import sys, heldout; heldout.from_torch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
