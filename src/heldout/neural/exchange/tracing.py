"""A PyTorch module, followed by torch.fx, as a list of steps: one layer or one join each."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace
from typing import Any

from heldout.errors import InputError
from heldout.neural.exchange.order import Order, channels_first, channels_last, joined, rearranged
from heldout.neural.exchange.tables import BATCH, FUNCTIONS, JOINS, MODULES, ON, Kind, row_of_reshape
from heldout.neural.layers import Dropout, Layer, LayerNorm, Reshape, Shape, Softmax
from heldout.neural.layers.base import shape_text

COUNTED = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.getitem)  # among sizes


@dataclass(frozen=True)
class Step:
    """What a layer makes of one earlier step, or a join of several. Step 0 is the network's input.

    Attributes
    ----------
    inputs : numbers of earlier steps
    shape : of the rows it gives, with PyTorch's order of axes
    order : of these rows' numbers, where they are those of flattened images
    follows : the order of the rows it takes
    place : where it is, for errors: "'fc1' (Linear)"
    layer, join : one of the two, except at step 0
    module : path of the module it comes from, if it comes from one
    """

    inputs: tuple[int, ...]
    shape: Shape
    place: str = "its input"
    layer: Layer | None = None
    join: str | None = None
    module: str | None = None
    order: Order = None
    follows: Order = None


@dataclass(frozen=True)
class Tensor:
    """The value of a step, where a graph's other values are sizes and options."""

    step: int


@dataclass(frozen=True)
class Traced:
    """The steps of a module, which one is its output, and the shape of the rows they were found for.

    `images`: rows are images, whose channels are the first in the module and the last in the network.
    """

    steps: tuple[Step, ...]
    output: int
    in_shape: Shape
    images: bool


def refused(place: str, reason: str) -> InputError:
    return InputError(f"from_torch cannot take over {place}: {reason}.")


def trace(module: Any, in_shape: Shape | None) -> Traced:
    """Follow `module`, which is changed: once in training and once in evaluation, which have to agree."""
    graphs = [_graph(module.train(mode)) for mode in (True, False)]
    images = any(_of_images(module, node) for node in graphs[0].nodes)
    if in_shape is None:
        in_shape = _row(module, graphs[0])
    training, evaluation = (_Walk(module, tuple(in_shape), images).follow(graph) for graph in graphs)
    return _agreed(training, evaluation)


def _graph(module: Any) -> Any:
    import torch.fx

    tracer = torch.fx.Tracer()
    if tracer.is_leaf_module(module, ""):  # a bare layer is a graph of one call
        graph = torch.fx.Graph()
        graph.output(graph.call_module("", (graph.placeholder("input"),)))
        return graph
    try:
        return tracer.trace(module)
    except Exception as error:  # whatever a forward raises when it is given no numbers
        text = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise refused(f"'{type(module).__name__}'", f"torch.fx cannot follow its forward ({text})") from error


def _agreed(training: Traced, evaluation: Traced) -> Traced:
    differ = refused("its forward", "it takes another way in training than in evaluation")
    if len(training.steps) != len(evaluation.steps) or training.output != evaluation.output:
        raise differ
    for one, other in zip(training.steps, evaluation.steps, strict=True):
        dropout, function = isinstance(one.layer, Dropout), one.module is None
        if dropout and function and one.layer == other.layer and one.layer != Dropout(0.0):
            raise refused(one.place, "it would draw in evaluation too; write training=self.training")
        if one != (replace(other, layer=one.layer) if dropout and function else other):
            raise differ
    return training


def kind_of_module(module: Any) -> Kind | None:
    """The entry of a module; None where there is none for its very type."""
    import torch

    name = type(module).__name__
    return MODULES[name] if name in MODULES and type(module) is getattr(torch.nn, name, None) else None


def _known(module: Any, path: str) -> tuple[Kind, str]:
    """The entry of a module and what errors call it; InputError where there is none."""
    place = f"'{path or 'the module'}' ({type(module).__name__})"
    kind = kind_of_module(module)
    if kind is None:
        raise refused(place, f"there is no such layer; there are {', '.join(MODULES)}")
    return kind, place


def name_of_call(node: Any) -> str:
    """What a function or method is called, "relu" for torch.relu_ too; "" for one that is not PyTorch's."""
    import torch

    if node.op == "call_method":
        return str(node.target).rstrip("_")
    name = getattr(node.target, "__name__", "")
    rooms = (torch, torch.nn.functional, operator)
    return name.rstrip("_") if any(getattr(room, name, None) is node.target for room in rooms) else ""


def _of_images(module: Any, node: Any) -> bool:
    """Whether a step makes images of images."""
    if node.op == "call_module":
        kind = kind_of_module(module.get_submodule(node.target))
        return kind is not None and kind.on == "images"
    return node.op in ("call_function", "call_method") and ON.get(name_of_call(node)) == "images"


def _row(module: Any, graph: Any) -> Shape:
    """The shape of a network's rows, by the first step that knows its own; InputError where none does."""
    for node in graph.nodes:
        row: Shape | None = None
        if _of_images(module, node):
            raise InputError("from_torch cannot tell the size of an image: say it, as in in_shape=(1, 28, 28).")
        name = name_of_call(node) if node.op in ("call_function", "call_method") else ""
        if node.op == "call_module":
            inner = module.get_submodule(node.target)
            row = _known(inner, node.target)[0].row(inner)
        elif name in ("view", "reshape"):
            row = row_of_reshape(node.args[1:])
        elif node.op == "get_attr":
            _check_unused(node)
        elif name in ("unflatten", "cat", "concat", "concatenate"):
            break
        if row is not None:
            return row
    raise InputError("from_torch cannot tell the shape of a row from the module: say it, as in in_shape=(784,).")


def _check_unused(node: Any) -> None:
    if node.users:
        raise refused(f"'{node.target}'", "its forward uses this tensor directly, and weights go over in modules only")


class _Walk:
    """Goes through a graph in its order, and knows the shape of every step."""

    def __init__(self, module: Any, in_shape: Shape, images: bool) -> None:
        self.module, self.in_shape, self.images = module, in_shape, images
        self.steps = [Step((), in_shape)]
        self.values: dict[Any, Any] = {}
        self.called: set[str] = set()

    def follow(self, graph: Any) -> Traced:
        from torch.fx.node import map_arg

        for node in graph.nodes:
            args, kwargs = (map_arg(given, self.values.__getitem__) for given in (node.args, node.kwargs))
            if node.op == "output":
                if not isinstance(args[0], Tensor):
                    raise refused("its forward", "it has to return one tensor")
                if self.steps[args[0].step].order is not None:
                    reason = "its numbers come in another order here: leave the last Flatten away"
                    raise refused("the flattened image that it returns", reason)
                return Traced(tuple(self.steps), args[0].step, self.in_shape, self.images)
            self.values[node] = getattr(self, f"_{node.op}")(node, args, dict(kwargs))
        raise refused("its forward", "it returns nothing")

    def _placeholder(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not any(isinstance(value, Tensor) for value in self.values.values()):
            return Tensor(0)
        if node.users or not args:
            raise refused("its forward", f"it takes a second input, {node.target!r}")
        return None

    def _get_attr(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _check_unused(node)
        return None

    def _call_module(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = str(node.target)
        module = self.module.get_submodule(path)
        kind, place = _known(module, path)
        if (kind.params or kind.state) and path in self.called:
            raise refused(place, "it is used twice, and shared weights are not supported")
        self.called.add(path)
        x = args[0] if args else kwargs.get("input")
        if not isinstance(x, Tensor) or len(args) + len(kwargs) != 1:
            raise refused(place, "it has to be given one tensor")
        return self._step(x, place, lambda shape: kind.layer(module, shape), kind.on, path)

    def _call_method(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node.target in ("size", "dim") and isinstance(args[0], Tensor):
            sizes = self._sizes(args[0])
            if node.target == "dim":
                return len(sizes)
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            return sizes if dim is None else self._item(node, sizes, dim)
        return self._call(node, args, kwargs)

    def _call_function(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node.target is getattr and isinstance(args[0], Tensor) and args[1] in ("shape", "ndim"):
            sizes = self._sizes(args[0])
            return sizes if args[1] == "shape" else len(sizes)
        if node.target in COUNTED and not any(isinstance(value, Tensor) for value in args):
            return self._item(node, *args)
        return self._call(node, args, kwargs)

    def _call(self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, place = name_of_call(node), _place(node)
        if name in JOINS:
            return self._join(name, place, args, kwargs)
        x = args[0] if args else kwargs.pop("input", None)
        if name not in FUNCTIONS or not isinstance(x, Tensor):
            raise refused(place, f"there is no such layer; there are {', '.join((*FUNCTIONS, *JOINS))}")
        return self._step(x, place, lambda shape: FUNCTIONS[name](shape, *args[1:], **kwargs), ON.get(name, "any"))

    def _step(self, x: Tensor, place: str, make: Any, on: str, module: str | None = None) -> Tensor:
        before = self.steps[x.step]
        try:
            layer, out, order = self._made(make, on, before.shape, before.order)
        except InputError as error:
            raise refused(place, str(error).rstrip(".")) from None
        except TypeError as error:
            raise refused(place, f"its arguments are not supported ({error})") from None
        return self._add(Step((x.step,), out, place, layer, module=module, order=order, follows=before.order))

    def _made(self, make: Any, on: str, shape: Shape, order: Order) -> tuple[Layer, Shape, Order]:
        """The layer, and the shape and order of the rows it gives."""
        if not self.images:
            if on == "channels" and len(shape) != 1:
                raise InputError(f"rows have to have one axis, and theirs are {shape_text(shape)}")
            layer = make(shape)
            return layer, layer.out_shape(shape), None
        if on == "shape":
            layer = make(shape)
            out = layer.out_shape(shape)
            return layer if len(out) == 1 else Reshape(channels_last(out)), out, rearranged(shape, order, out)
        if on == "last axis" and len(shape) > 1:
            raise InputError(f"it is given images of shape {shape_text(shape)}, whose last axis is none of channels")
        layer = make(channels_last(shape))
        out = layer.out_shape(channels_last(shape))
        mixes = on == "last axis" and not isinstance(layer, Softmax | LayerNorm)
        return layer, channels_first(out), None if mixes or len(out) > 1 else order

    def _join(self, name: str, place: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        given, join = list(args), JOINS[name]
        if join == "concatenate":
            tensors = list(given.pop(0) if given else kwargs.pop("tensors", ()))
            dim = given.pop(0) if given else kwargs.pop("dim", 0)
        else:
            tensors = [given.pop(0), given.pop(0) if given else kwargs.pop("other", None)]
            if kwargs.get("alpha") == 1:
                kwargs.pop("alpha")
        if given or kwargs or not tensors or not all(isinstance(x, Tensor) for x in tensors):
            raise refused(place, "it has to join tensors that are made of the input, and nothing else")
        shapes, orders = ([getattr(self.steps[x.step], name) for x in tensors] for name in ("shape", "order"))
        out, order = shapes[0], orders[0]
        if join == "concatenate":
            out, order = self._concatenated(place, shapes, orders, dim), joined(shapes, orders)
        elif len(set(shapes)) > 1:
            raise refused(place, f"the rows' shapes {' and '.join(map(shape_text, shapes))} differ")
        elif len(set(orders)) > 1:
            raise refused(place, "it joins flattened images with other rows, whose numbers come in another order here")
        return self._add(Step(tuple(x.step for x in tensors), out, place, join=join, order=order))

    def _concatenated(self, place: str, shapes: list[Shape], orders: list[Order], dim: Any) -> Shape:
        """The shape of rows that are joined along our last axis."""
        if not all(shapes):
            raise refused(place, "tensors of one axis are joined along the last one, dim=-1, and not otherwise")
        axes = len(shapes[0])
        ours = [channels_last(shape) if self.images else shape for shape in shapes]
        name, allowed = ("channels", (1, -axes)) if self.images and axes > 1 else ("the last axis", (-1, axes))
        if dim not in allowed or len({shape[:-1] for shape in ours}) > 1:
            raise refused(place, f"tensors are joined along {name}, dim={allowed[0]}, not dim={dim!r}")
        out = (*ours[0][:-1], sum(shape[-1] for shape in ours))
        return channels_first(out) if self.images else out

    def _add(self, step: Step) -> Tensor:
        self.steps.append(step)
        return Tensor(len(self.steps) - 1)

    def _sizes(self, x: Tensor) -> tuple[Any, ...]:
        return (BATCH, *self.steps[x.step].shape)

    def _item(self, node: Any, *given: Any) -> Any:
        function = operator.getitem if node.op == "call_method" else node.target
        try:
            return function(*given)
        except (TypeError, IndexError, ArithmeticError):
            raise refused(_place(node), "it does with a tensor's size what cannot be followed") from None


def _place(node: Any) -> str:
    inside = list(node.meta.get("nn_module_stack") or ())
    name = getattr(node.target, "__name__", node.target)
    return f"'{name}' in {f'the forward of {inside[-1]!r}' if inside else 'its forward'}"


def check_weights(module: Any, steps: tuple[Step, ...]) -> None:
    """InputError unless every parameter belongs to just one step."""
    owners: dict[int, str] = {}
    for step in steps:
        if step.module is None:
            continue
        inner = module.get_submodule(step.module)
        for name, parameter in inner.named_parameters(recurse=False):
            if id(parameter) in owners:
                raise refused(step.place, f"it shares its {name} with {owners[id(parameter)]}, which is not supported")
            owners[id(parameter)] = step.place
            if parameter.is_meta or parameter.is_complex() or not parameter.is_floating_point():
                raise refused(step.place, f"its {name} holds no real numbers")
    for name, parameter in module.named_parameters():
        if id(parameter) not in owners:
            raise refused(f"'{name}'", f"its {math.prod(parameter.shape):,} weights have no part in the output")
    for name, inner in module.named_modules():
        if inner._forward_hooks or inner._forward_pre_hooks:
            raise refused(f"'{name}' ({type(inner).__name__})", "it has hooks, which are not supported")
