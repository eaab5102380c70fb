"""Relax operators as nodes of ONNX, which µTVM's frontend reads: how a part of a module becomes a graph of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, tirx

from utvm.frontends.onnx_model import OnnxModel, OnnxNode

OPSET = 17
_SAME = {
    "relax.nn.relu": "Relu",
    "relax.sigmoid": "Sigmoid",
    "relax.tanh": "Tanh",
    "relax.exp": "Exp",
    "relax.sqrt": "Sqrt",
    "relax.abs": "Abs",
    "relax.negative": "Neg",
    "relax.add": "Add",
    "relax.subtract": "Sub",
    "relax.multiply": "Mul",
    "relax.divide": "Div",
    "relax.maximum": "Max",
    "relax.minimum": "Min",
    "relax.matmul": "MatMul",
}
"""Operators with the operands of ONNX and no attributes that change what is computed."""
_RESHAPES = ("relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten")


@dataclass(slots=True)
class Translation:
    """Bindings of a module while they become nodes; `place` is the name of the next node: `kind.number`."""

    nodes: list[OnnxNode] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)
    makers: dict[str, OnnxNode] = field(default_factory=dict)
    uses: dict[Any, int] = field(default_factory=dict)
    place: str = ""

    def name(self, value: Any) -> str:
        """Return the name of an operand; a constant gets one."""
        if value not in self.names and hasattr(value, "value"):
            fresh = f"constant_{len(self.constants)}"
            self.constants[fresh] = np.array(value.value.numpy())
            return fresh
        return self.names[value]

    def constant(self, values: Any) -> str:
        """Return the name of a new constant."""
        fresh = f"constant_{len(self.constants)}"
        self.constants[fresh] = np.asarray(values)
        return fresh

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        """Append a node."""
        node = OnnxNode(
            index=len(self.nodes),
            kind=kind,
            name=self.place,
            inputs=tuple(inputs),
            outputs=(output,),
            attributes=attributes,
        )
        self.nodes.append(node)
        self.makers[output] = node


Translate = Callable[[Translation, Any, str, tuple[int, ...]], None]


def is_known(call: Any) -> bool:
    """Whether a Relax expression is a call that becomes a node."""
    if not isinstance(call, relax.Call) or fixed_shape(call) is None:
        return False
    name = str(getattr(call.op, "name", ""))
    attributes = call.attrs
    if name in ("relax.nn.conv2d", *_POOLS):
        layouts = [str(getattr(attributes, each, "")) for each in ("data_layout", "layout", "kernel_layout")]
        return all(layout in ("", "NCHW", "OIHW") for layout in layouts)
    return name in _SAME or name in _RESHAPES or name in _TRANSLATE


def fixed_shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of a tensor, None where it is open or the value is none."""
    kind = getattr(value, "ty", None) or getattr(value, "struct_info", None)
    shape = getattr(kind, "shape", None)
    sizes = getattr(shape, "values", shape)
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return None
    return tuple(int(size) for size in sizes)


def onnx_form(bindings: Sequence[Any], inputs: Mapping[Any, str], outputs: Mapping[Any, str]) -> OnnxModel:
    """Return a run of bindings as a model of ONNX.

    Args:
        bindings: of calls that `is_known` knows.
        inputs: what they read from before, with the names that it gets.
        outputs: what is read after them, likewise.

    Operators of the graph that it becomes are named `kind.number`, by the number of a binding, and what follows.
    """
    made = Translation(names=dict(inputs))
    for binding in bindings:
        for operand in binding.value.args:
            if isinstance(operand, relax.Var):
                made.uses[operand] = made.uses.get(operand, 0) + 1
    for variable in outputs:
        made.uses[variable] = made.uses.get(variable, 0) + 2
    for number, binding in enumerate(bindings):
        output = outputs.get(binding.var, f"{binding.var.name}_{number}")
        shape = fixed_shape(binding.value)
        assert shape is not None
        name = str(binding.value.op.name)
        made.place = f"{name.rpartition('.')[2]}.{number}"
        if name in _SAME:
            _same(made, binding.value, output, _SAME[name])
        elif name in _RESHAPES:
            made.add("Reshape", [made.name(binding.value.args[0]), made.constant(np.array(shape, np.int64))], output)
        else:
            _TRANSLATE[name](made, binding.value, output, shape)
        made.names[binding.var] = output
    return OnnxModel(
        nodes=tuple(_read(made.nodes, set(outputs.values()))),
        inputs={name: fixed_shape(value) or () for value, name in inputs.items()},
        input_types={name: dtype_of(value) for value, name in inputs.items()},
        outputs=tuple(outputs.values()),
        constants=made.constants,
        opset=OPSET,
    )


def dtype_of(value: Any) -> str:
    """Return the type of a tensor's elements."""
    kind = getattr(value, "ty", None) or getattr(value, "struct_info", None)
    return str(getattr(kind, "dtype", ""))


def _read(nodes: Sequence[OnnxNode], outputs: set[str]) -> Iterator[OnnxNode]:
    """Yield the nodes that something reads, in their order: fused ones leave others behind."""
    needed, kept = set(outputs), list[OnnxNode]()
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    yield from reversed(kept)


def _same(t: Translation, call: Any, output: str, kind: str) -> None:
    inputs = [t.name(operand) for operand in call.args]
    if (kind == "Add" and not _biased(t, call, inputs, output)) or kind != "Add":
        t.add(kind, inputs, output)


def _biased(t: Translation, call: Any, inputs: list[str], output: str) -> bool:
    """Write a sum of a product that nothing else reads, and of constants of its channels, as a layer with a bias."""
    maker = t.makers.get(inputs[0])
    if maker is None or maker.kind not in ("Conv", "MatMul") or t.uses.get(call.args[0], 0) != 1:
        return False
    if len(maker.inputs) != 2:
        return False
    t.place = maker.name
    bias, shape = inputs[1], fixed_shape(call.args[1]) or ()
    reshaped = t.makers.get(bias)
    if maker.kind == "Conv" and len(shape) in (3, 4) and shape[-2:] == (1, 1) and np.prod(shape) == shape[-3]:
        if reshaped is not None and reshaped.kind == "Reshape":
            t.add("Conv", [*maker.inputs, reshaped.inputs[0]], output, **maker.attributes)
            return True
        if bias in t.constants:
            flat = t.constant(t.constants[bias].reshape(-1))
            t.add("Conv", [*maker.inputs, flat], output, **maker.attributes)
            return True
    if maker.kind == "MatMul" and len(shape) == 1 and len(fixed_shape(call) or ()) == 2:
        turned = t.makers.get(maker.inputs[1])
        if turned is not None and turned.kind == "Transpose" and turned.attributes["perm"] == (1, 0):
            t.add("Gemm", [maker.inputs[0], turned.inputs[0], bias], output, transB=1)
        else:
            t.add("Gemm", [*maker.inputs, bias], output)
        return True
    return False


def _number(value: Any) -> float:
    """Return a number that frontends wrap in one or two nodes."""
    while hasattr(value, "value"):
        value = value.value
    return float(value)


def _numbers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _conv2d(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    a = call.attrs
    inputs = [t.name(operand) for operand in call.args]
    t.add(
        "Conv",
        inputs,
        output,
        strides=_numbers(a.strides),
        pads=_numbers(a.padding),
        dilations=_numbers(a.dilation),
        group=int(a.groups),
    )


def _pool(kind: str) -> Translate:
    def translate(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
        del shape
        a = call.attrs
        attributes: dict[str, Any] = {
            "kernel_shape": _numbers(a.pool_size),
            "strides": _numbers(a.strides),
            "pads": _numbers(a.padding),
            "ceil_mode": int(a.ceil_mode),
        }
        if kind == "MaxPool":
            attributes["dilations"] = _numbers(a.dilation)
        else:
            attributes["count_include_pad"] = int(a.count_include_pad)
        t.add(kind, [t.name(call.args[0])], output, **attributes)

    return translate


def _permute(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    axes = call.attrs.axes
    perm = tuple(reversed(range(len(shape)))) if axes is None else _numbers(axes)
    t.add("Transpose", [t.name(call.args[0])], output, perm=perm)


def _softmax(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    t.add("Softmax", [t.name(call.args[0])], output, axis=int(call.attrs.axis))


def _clip(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    bounds = [t.constant(np.float32(_number(each))) for each in call.args[1:]]
    t.add("Clip", [t.name(call.args[0]), *bounds], output)


def _concat(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    t.add("Concat", [t.name(each) for each in call.args[0].fields], output, axis=int(call.attrs.axis))


def _mean(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    a = call.attrs
    rank = len(fixed_shape(call.args[0]) or ())
    axes = tuple(range(rank)) if a.axis is None else _numbers(a.axis)
    t.add("ReduceMean", [t.name(call.args[0])], output, axes=axes, keepdims=int(a.keepdims))


def _leaky(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    t.add("LeakyRelu", [t.name(call.args[0])], output, alpha=float(call.attrs.alpha))


def _linear(kind: str) -> Translate:
    def translate(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
        del shape
        t.add(kind, [t.name(operand) for operand in call.args], output, axis=int(call.attrs.axis))

    return translate


_POOLS = ("relax.nn.max_pool2d", "relax.nn.avg_pool2d")
_TRANSLATE: Mapping[str, Translate] = {
    "relax.nn.conv2d": _conv2d,
    "relax.nn.max_pool2d": _pool("MaxPool"),
    "relax.nn.avg_pool2d": _pool("AveragePool"),
    "relax.permute_dims": _permute,
    "relax.nn.softmax": _softmax,
    "relax.nn.leakyrelu": _leaky,
    "relax.clip": _clip,
    "relax.concat": _concat,
    "relax.mean": _mean,
    "relax.quantize": _linear("QuantizeLinear"),
    "relax.dequantize": _linear("DequantizeLinear"),
}
