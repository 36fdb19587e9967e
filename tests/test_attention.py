"""Attention beside PyTorch, in blocks and whole; positions beside their formulas; blocks of transformers."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import heldout
from gradients import computed, error
from heldout.errors import InputError
from heldout.neural import recursion
from heldout.neural.gradients import check_gradients
from heldout.neural.layers import (
    Dense,
    Embedding,
    GlobalAveragePool,
    LayerNorm,
    Masking,
    MultiHeadAttention,
    Positions,
    Residual,
    Sequential,
    Steps,
)
from heldout.neural.layers.attending import Look, attend, weights_of
from heldout.neural.layers.attention import turned
from heldout.neural.layers.stored import from_json, to_json
from heldout.neural.transformers import decoder_block, encoder_block

N, STEPS, MEMORY, WIDTH, HEADS = 3, 7, 3, 8, 2
LENGTHS = (7, 4, 6)


def made(layer: Any, row: tuple[int, ...] = (STEPS, WIDTH), seed: int = 0) -> tuple[Any, Any, Any]:
    """Random weights, a batch, and a gradient from above."""
    rng = np.random.default_rng(seed)
    forms = jax.eval_shape(lambda key: layer.init(key, row)[0], jax.random.key(0))
    params = jax.tree.map(lambda form: rng.normal(scale=0.5, size=form.shape).astype(np.float32), forms)
    shapes = (N, *row), (N, *layer.out_shape(row))
    return params, *(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def ours(cases: list[Any], given: list[Any]) -> list[Any]:
    def everything(given: list[Any]) -> list[Any]:
        results = []
        for (layer, mask), (params, x, upstream) in zip(cases, given, strict=True):
            apply = lambda p, x, layer=layer, mask=mask: layer.apply_masked(p, {}, x, mask)[0]  # noqa: E731
            y, pull = jax.vjp(apply, params, x)
            results.append((y, pull(upstream)))
        return results

    return computed(everything, given)


def names_of(prefix: str, parts: dict[str, Any]) -> dict[str, Any]:
    """The weights of attention by PyTorch's names."""
    three = [parts[name] for name in ("query", "key", "value")]
    return {
        f"{prefix}in_proj_weight": np.concatenate([part["weights"].T for part in three]),
        f"{prefix}in_proj_bias": np.concatenate([part["bias"] for part in three]),
        f"{prefix}out_proj.weight": parts["output"]["weights"].T,
        f"{prefix}out_proj.bias": parts["output"]["bias"],
    }


def carried(torch: Any, module: Any, weights: dict[str, Any]) -> Any:
    with torch.no_grad():
        for name, value in weights.items():
            module.get_parameter(name).copy_(torch.tensor(np.asarray(value)))
    return module


def compare(torch: Any, result: Any, theirs: Any, x: Any, module: Any, upstream: Any, to_theirs: Any) -> None:
    """Outputs and all gradients beside PyTorch's."""
    y, (by_params, by_x) = result
    theirs.backward(torch.tensor(upstream))
    assert error(y, theirs.detach().numpy()) <= 1e-5
    found = {name: np.asarray(value) for name, value in to_theirs(by_params).items()}
    expected = {name: parameter.grad.numpy() for name, parameter in module.named_parameters()}
    assert error((found, by_x), (expected, x.grad.numpy()), share=1.0) <= 1e-5


def test_attention_beside_pytorch() -> None:
    torch = pytest.importorskip("torch")
    there = np.arange(STEPS) < np.array(LENGTHS)[:, None]
    layers = [
        MultiHeadAttention(HEADS),
        MultiHeadAttention(HEADS, causal=True),
        MultiHeadAttention(HEADS, memory=MEMORY),
    ]
    cases = [(layer, mask) for layer in layers for mask in (None, there)]
    given = [made(layer, seed=seed) for seed, (layer, _) in enumerate(cases)]
    for (layer, mask), (params, x, upstream), result in zip(cases, given, ours(cases, given), strict=True):
        module = carried(torch, torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), names_of("", params))
        rows = torch.tensor(x, requires_grad=True)
        looked = rows[:, : layer.memory]
        padding = None if mask is None else ~torch.tensor(mask)[:, : layer.memory]
        later = torch.ones(STEPS, STEPS, dtype=torch.bool).triu(1) if layer.causal else None
        query = rows[:, layer.memory or 0 :]
        theirs, maps = module(query, looked, looked, padding, attn_mask=later, average_attn_weights=False)
        found = layer.maps(params, x, None if mask is None else jnp.asarray(mask))
        assert error(found, maps.detach().numpy()) <= 1e-5
        if layer.memory:
            assert not np.asarray(result[0])[:, :MEMORY].any()
            theirs = torch.cat([torch.zeros(N, MEMORY, WIDTH), theirs], dim=1)
        compare(torch, result, theirs, rows, module, upstream, functools.partial(names_of, ""))


def encoder_names(block: Sequential, norm_first: bool, params: Any) -> dict[str, Any]:
    """The weights of an encoder's block by PyTorch's names."""
    first, second = (params[f"residual_{i}"]["layer"] for i in (1, 2))
    norms = [first, second] if norm_first else [params, params]
    found = names_of("self_attn.", first["multiheadattention_1"])
    for i in (1, 2):
        norm = norms[i - 1][f"layernorm_{1 if norm_first else i}"]
        found |= {f"norm{i}.weight": norm["scale"], f"norm{i}.bias": norm["shift"]}
        dense = second[f"dense_{i}"]
        found |= {f"linear{i}.weight": dense["weights"].T, f"linear{i}.bias": dense["bias"]}
    return found


def decoder_names(norm_first: bool, params: Any) -> dict[str, Any]:
    inner = [params["steps_1"]["layer"], params, params[f"steps_{2 if norm_first else 3}"]["layer"]]
    residuals = [part["residual_1"]["layer"] for part in inner]
    found = names_of("self_attn.", residuals[0]["multiheadattention_1"])
    found |= names_of("multihead_attn.", residuals[1]["multiheadattention_1"])
    if norm_first:
        norms = [residuals[0]["layernorm_1"], residuals[1]["steps_1"]["layer"], residuals[2]["layernorm_1"]]
    else:
        norms = [inner[0]["layernorm_1"], params["steps_2"]["layer"], inner[2]["layernorm_1"]]
    for i, norm in enumerate(norms, 1):
        found |= {f"norm{i}.weight": norm["scale"], f"norm{i}.bias": norm["shift"]}
    for i in (1, 2):
        dense = residuals[2][f"dense_{i}"]
        found |= {f"linear{i}.weight": dense["weights"].T, f"linear{i}.bias": dense["bias"]}
    return found


def test_blocks_beside_pytorch() -> None:
    torch = pytest.importorskip("torch")
    there = jnp.arange(STEPS) < jnp.array(LENGTHS)[:, None]
    first = (True, False)
    encoders = [encoder_block(WIDTH, HEADS, hidden=5, norm_first=norm_first) for norm_first in first]
    decoders = [decoder_block(WIDTH, HEADS, MEMORY, hidden=5, norm_first=norm, activation="relu") for norm in first]
    cases = [(block, there) for block in encoders] + [(block, None) for block in decoders]
    given = [made(block, seed=seed) for seed, (block, _) in enumerate(cases)]
    given = [(params, x, upstream * np.asarray(there)[..., None]) for params, x, upstream in given[:2]] + given[2:]
    results = ours(cases, given)
    options: dict[str, Any] = {"dim_feedforward": 5, "dropout": 0.0, "batch_first": True}
    for norm_first, block, (params, x, upstream), result in zip(first, encoders, given[:2], results[:2], strict=True):
        module = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, activation="gelu", norm_first=norm_first, **options)
        names = functools.partial(encoder_names, block, norm_first)
        rows = torch.tensor(x, requires_grad=True)
        theirs = carried(torch, module, names(params))(rows, src_key_padding_mask=~torch.tensor(np.asarray(there)))
        inside = np.asarray(there)[..., None]
        theirs, result = theirs * torch.tensor(inside), (result[0] * inside, result[1])
        compare(torch, result, theirs, rows, module, upstream, names)
    for norm_first, (params, x, upstream), result in zip(first, given[2:], results[2:], strict=True):
        module = torch.nn.TransformerDecoderLayer(WIDTH, HEADS, activation="relu", norm_first=norm_first, **options)
        names = functools.partial(decoder_names, norm_first)
        rows = torch.tensor(x, requires_grad=True)
        causal = torch.nn.Transformer.generate_square_subsequent_mask(STEPS - MEMORY)
        theirs = carried(torch, module, names(params))(rows[:, MEMORY:], rows[:, :MEMORY], causal)
        theirs = torch.cat([rows[:, :MEMORY], theirs], dim=1)
        compare(torch, result, theirs, rows, module, upstream, names)


@pytest.mark.parametrize("block", [1, 3, 4])
def test_in_blocks_as_whole(block: int) -> None:
    """The same outputs and gradients in double precision, with a row that is all padding."""
    rng = np.random.default_rng(block)
    q, k, v, upstream = rng.normal(scale=3.0, size=(4, 2, 2, 9, 4))
    mask = rng.random((2, 9)) < 0.7
    mask[1] = False
    looks = [(Look(), None), (Look(causal=True), mask), (Look(alibi=True), mask), (Look(True, True), None)]

    def everything(q: Any, k: Any, v: Any, upstream: Any) -> list[Any]:
        results = []
        for look, seen in looks:
            for size in (None, block):
                apply = functools.partial(attend, look._replace(block=size))
                y, pull = jax.vjp(lambda q, k, v, apply=apply, seen=seen: apply(q, k, v, seen), q, k, v)
                results.append((y, pull(upstream)))
        return results

    with jax.enable_x64(True):
        results = computed(everything, q, k, v, upstream)
    for whole, parts in zip(results[::2], results[1::2], strict=True):
        assert np.isfinite(parts[0]).all() and error(parts, whole) <= 1e-12
    assert not results[2][0][1].any() and not results[2][1][0][1].any()


def test_memory_grows_with_the_length() -> None:
    """What a program with blocks keeps, forward and back, for twice the length: twice as much, not four times."""
    layer = MultiHeadAttention(1)
    sizes = []
    for steps in (2048, 4096):
        forms = jax.eval_shape(lambda key, steps=steps: layer.init(key, (steps, 4))[0], jax.random.key(0))
        row = jax.ShapeDtypeStruct((1, steps, 4), np.float32)
        loss = jax.grad(lambda p, x: layer.apply(p, {}, x)[0].sum())
        sizes.append(jax.jit(loss).lower(forms, row).compile().memory_analysis().temp_size_in_bytes)
    assert sizes[1] < 2.5 * sizes[0] and sizes[1] < 4096 * 4096 * 4


def test_rotary_and_alibi() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 1, 6, 4))
    with jax.enable_x64(True):
        found = np.asarray(turned(jnp.asarray(x)))
    angles = np.arange(6)[:, None] * 10_000.0 ** (-np.array([0.0, 2.0]) / 4)
    expected = (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * angles)  # a turn in the complex plane
    assert_allclose(found, np.concatenate([expected.real, expected.imag], axis=-1), atol=1e-12)
    same = np.broadcast_to(x[:, :, :1], x.shape)
    both = np.asarray(turned(jnp.asarray(same)))[0, 0]
    products = both @ both.T
    assert_allclose(np.diag(products, 2), products[0, 2], rtol=1e-5)  # how far apart is all that counts
    zeros = jnp.zeros((1, 4, 5, 2))
    p = np.asarray(weights_of(Look(alibi=True), zeros, zeros, None))[0]
    slopes = 2.0 ** (-2.0 * np.arange(1, 5))
    expected = np.exp(-slopes[:, None, None] * np.abs(np.arange(5)[:, None] - np.arange(5)))
    assert_allclose(p, expected / expected.sum(axis=-1, keepdims=True), rtol=1e-6)


def test_positions_are_added() -> None:
    found = np.asarray(Positions().apply({}, {}, jnp.zeros((1, 50, 5)))[0])[0]
    t = np.arange(50)
    for i in range(5):
        wave = (np.sin, np.cos)[i % 2](t * 10_000.0 ** (-2 * (i // 2) / 5))
        assert_allclose(found[:, i], wave, atol=1e-5)
    params, _ = Positions(learned=True).init(jax.random.key(0), (50, 5))
    assert_allclose(Positions(learned=True).apply(params, {}, jnp.ones((2, 50, 5)))[0][1], 1 + params["positions"])
    assert abs(float(params["positions"].std()) - 0.02) < 0.004


def test_embedding_looks_up_and_tells_padding() -> None:
    layer = Embedding(5, 3, padding=0)
    params, _ = layer.init(jax.random.key(0), (4,))
    codes = jnp.array([[1.0, 4.0, 0.0, 0.0], [2.0, 2.0, 3.0, 5.0]])
    y, _, mask = layer.apply_masked(params, {}, codes, None)
    assert_allclose(y[0], params["weights"][jnp.array([1, 4, 0, 0])])
    assert np.isnan(y[1, 3]).all() and np.isfinite(y[1, :3]).all()
    assert mask.tolist() == [[True, True, False, False], [True, True, True, True]]
    gradient = jax.grad(lambda p: (layer.apply(p, {}, codes[:, :3])[0] * jnp.arange(1.0, 4.0)[:, None]).sum())(params)
    assert gradient["weights"][:, 0].tolist() == [3.0, 1.0, 3.0, 3.0, 2.0]


def test_causal_steps_do_not_see_what_comes() -> None:
    network = Sequential(Positions(), encoder_block(WIDTH, HEADS, causal=True, positions="rotary"), LayerNorm())
    params, x, _ = made(network)
    apply = jax.jit(lambda x: network.apply(params, {}, x)[0])
    other = x.copy()
    other[:, 4:, 0] += 1.0
    before, after = np.asarray(apply(x)), np.asarray(apply(other))
    assert (before[:, :4] == after[:, :4]).all() and not np.isclose(before[:, 4:], after[:, 4:]).any(axis=-1).all()


def test_maps_are_taken_out_and_drawn() -> None:
    network = Sequential(
        Masking(), Residual(Sequential(LayerNorm(), MultiHeadAttention(HEADS))), encoder_block(WIDTH, 4)
    )
    params, x, _ = made(network)
    x[0, 5:] = np.nan
    found = heldout.attention_maps(network, params, x)
    name = "residual_1.layer.multiheadattention_1"
    assert list(found.maps) == [name, "sequential_1.residual_1.layer.multiheadattention_1"]
    assert found[name].shape == (N, HEADS, STEPS, STEPS)
    assert not found[name][0, :, :, 5:].any() and found[name][1].all()
    assert_allclose(found[name].sum(axis=-1), 1.0, rtol=1e-5)
    drawn = found.plot(row=0, steps=list("abcdefg")).to_dict()
    values = drawn["data"]["values"]
    assert len(values) == HEADS * STEPS**2 and values[1] == {
        "head": "head 1",
        "from": "0 a",
        "to": "1 b",
        "weight": float(found[name][0, 0, 0, 1]),
    }
    with pytest.raises(InputError, match="Did you mean 'residual_1"):
        found["residual_1.layer.multiheadattention"]
    with pytest.raises(InputError, match="steps has 1 names, and the map has 7"):
        found.plot(steps=["a"])
    with pytest.raises(InputError, match="no attention layer in Dense"):
        heldout.attention_maps(Dense(2), Dense(2).init(jax.random.key(0), (3,))[0], np.ones((2, 3)))
    with pytest.raises(InputError, match="not finite"):
        heldout.attention_maps(MultiHeadAttention(1), {}, np.full((2, 3, 1), np.nan))


def test_padding_changes_nothing_in_a_transformer() -> None:
    network = Sequential(Masking(), Dense(WIDTH), encoder_block(WIDTH, HEADS, positions="alibi"), GlobalAveragePool())
    params, _, upstream = made(network, (STEPS, 2))
    x = np.random.default_rng(1).normal(size=(N, STEPS, 2)).astype(np.float32)
    x[np.arange(STEPS) >= np.array(LENGTHS)[:, None]] = np.nan

    def run(params: Any, x: Any) -> Any:
        y, pull = jax.vjp(lambda p: network.apply(p, {}, x)[0], params)
        return y, pull(upstream)[0]

    longer = np.concatenate([x, np.full((N, 3, 2), np.nan, np.float32)], axis=1)
    assert error(computed(run, params, longer), computed(run, params, x)) <= 1e-5


def test_the_passes_layer_by_layer() -> None:
    """Through an encoder and a decoder, whose steps are in one row."""
    encoder = Sequential(encoder_block(4, 2, hidden=3), LayerNorm())
    network = Sequential(
        Positions(learned=True), Steps(encoder, 0, 2), decoder_block(4, 2, 2, hidden=3), Steps(Dense(4), 2)
    )
    params, x, upstream = made(network, (5, 4))

    def both(params: Any, x: Any) -> Any:
        node = recursion.forward(network, params, {}, x)
        y, pull = jax.vjp(lambda p, x: network.apply(p, {}, x)[0], params, x)
        return (y, pull(upstream)), (node.y, recursion.backward(node, upstream)[:2])

    expected, found = computed(both, params, x)
    assert error(found, expected) <= 1e-5
    assert from_json(to_json(network)) == network


@pytest.mark.parametrize("options", [{}, {"causal": True, "positions": "alibi"}, {"memory": 3}], ids=str)
def test_dropout_of_weights(options: dict[str, Any]) -> None:
    """What is dropped is seen where values are known: outputs times the inverse of the values are the weights."""
    layer = MultiHeadAttention(1, dropout=0.25, **options)
    params, rows, _ = made(layer, (3 + (layer.memory or 0), 3))
    params |= {part: {"weights": np.eye(3), "bias": np.zeros(3)} for part in ("value", "output")}
    x = jnp.broadcast_to(rows[:1], (400, *rows.shape[1:]))
    mask = jnp.broadcast_to(jnp.arange(x.shape[1]) != 1, x.shape[:2])
    y, _, _ = layer.apply_masked(params, {}, x, mask, train=True, key=jax.random.key(0))
    found = np.asarray(y)[:, -3:] @ np.linalg.inv(rows[0, :3])
    kept = np.asarray(layer.maps(params, x, mask))[:, 0]
    dropped = np.abs(found) < 1e-5
    assert not kept[:, :, 1].any() and dropped[:, :, 1].all()
    assert_allclose(found[~dropped], kept[~dropped] / 0.75, rtol=1e-3)
    assert abs(dropped[kept > 0].mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / (kept > 0).sum())
    assert layer.random and not MultiHeadAttention(1).random
    with pytest.raises(InputError, match="give apply a key"):
        layer.apply(params, {}, x, train=True)
    assert_allclose(
        layer.apply(params, {}, rows)[0], dataclasses.replace(layer, dropout=0.0).apply(params, {}, rows)[0]
    )


def test_gradients_of_attention() -> None:
    network = Sequential(
        Embedding(4, 4), Residual(MultiHeadAttention(2, causal=True, positions="rotary", use_bias=False))
    )
    check_gradients(network, (3,), X=np.array([[1, 3, 0], [2, 2, 1]])).raise_if_wrong()
