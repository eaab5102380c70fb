"""Relax operators as nodes of ONNX, which µTVM's frontend reads: how a part of a module becomes a graph of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from utvm.frontends.onnx_model import OnnxModel, OnnxNode
from utvm.tvm.flat import fixed_shape

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
    "relax.power": "Pow",
    "relax.matmul": "MatMul",
    "relax.nn.gelu": "Gelu",
}
"""Operators with the operands of ONNX and no attributes that change what is computed.

Not erf: µTVM's frontend has a form by tanh for it, which is 5e-4 off.
"""
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
    layouts = [str(getattr(call.attrs, each, "")) for each in ("data_layout", "layout", "kernel_layout")]
    if not all(layout in _LAYOUTS for layout in layouts):
        return False
    if name == "relax.nn.adaptive_avg_pool2d":
        return all(size == 1 for size in _numbers(call.attrs.output_size))
    if name == "relax.nn.pad":
        return str(call.attrs.pad_mode) == "constant"
    if name == "relax.nn.softplus":
        return float(call.attrs.beta) == 1
    if name == "relax.nn.layer_norm":
        return tuple(_numbers(call.attrs.axes)) in ((-1,), (len(fixed_shape(call) or ()) - 1,))
    return name in _SAME or name in _RESHAPES or name in _TRANSLATE


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


def _conv(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    a = call.attrs
    kind, more = "Conv", dict[str, Any]()
    if str(call.op.name).endswith("_transpose"):
        kind, more = "ConvTranspose", {"output_padding": _numbers(a.output_padding)}
    t.add(
        kind,
        [t.name(operand) for operand in call.args],
        output,
        strides=_numbers(a.strides),
        pads=_numbers(a.padding),
        dilations=_numbers(a.dilation),
        group=int(a.groups),
        **more,
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


def _clip(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    bounds = [t.constant(np.float32(_number(each))) for each in call.args[1:]]
    t.add("Clip", [t.name(call.args[0]), *bounds], output)


def _bound(kind: str, place: int) -> Translate:
    """Return how a maximum or minimum is written: a clip where it is one of a constant number."""

    def translate(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
        x, bound = (t.name(operand) for operand in call.args)
        number = t.constants.get(bound)
        if number is None or number.size != 1 or fixed_shape(call.args[0]) != shape:
            t.add(kind, [x, bound], output)
            return
        bounds = ["", ""]
        bounds[place] = t.constant(number.reshape(()))
        maker = t.makers.get(x)
        # ONNX's frontend makes two of one Clip: the lower bound comes first.
        is_lower = maker is not None and maker.kind == "Clip" and maker.inputs[2:] == ("",)
        if place and maker is not None and is_lower and t.uses.get(call.args[0], 0) == 1:
            x, bounds[0] = maker.inputs[:2]
        t.add("Clip", [x, *bounds], output)

    return translate


def _silu(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    x, gate = t.name(call.args[0]), f"{output}_gate"
    t.add("Sigmoid", [x], gate)
    t.add("Mul", [x, gate], output)


def _pad(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    widths = np.array(_numbers(call.attrs.pad_width), np.int64).reshape(-1, 2)
    value = t.constant(np.float32(call.attrs.pad_value))
    t.add("Pad", [t.name(call.args[0]), t.constant(widths.T.reshape(-1)), value], output, mode="constant")


def _layer_norm(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    a = call.attrs
    inputs = [t.name(call.args[0])]
    inputs.append(t.name(call.args[1]) if a.scale else t.constant(np.ones(shape[-1], np.float32)))
    if a.center:
        inputs.append(t.name(call.args[2]))
    t.add("LayerNormalization", inputs, output, axis=-1, epsilon=float(a.epsilon))


def _adaptive(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    t.add("GlobalAveragePool", [t.name(call.args[0])], output)


def _prelu(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    axis = int(call.attrs.axis) % len(shape)
    slopes = fixed_shape(call.args[1]) or ()
    turned = f"{output}_slopes"
    wanted = np.array([*slopes, *[1] * (len(shape) - 1 - axis)], np.int64)
    t.add("Reshape", [t.name(call.args[1]), t.constant(wanted)], turned)
    t.add("PRelu", [t.name(call.args[0]), turned], output)


def _concat(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    t.add("Concat", [t.name(each) for each in call.args[0].fields], output, axis=int(call.attrs.axis))


def _reduced(kind: str) -> Translate:
    def translate(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
        del shape
        a = call.attrs
        rank = len(fixed_shape(call.args[0]) or ())
        axes = tuple(range(rank)) if a.axis is None else _numbers(a.axis)
        if kind == "ReduceSum":  # which has its axes as an operand since opset 13
            operands = [t.name(call.args[0]), t.constant(np.array(axes, np.int64))]
            t.add(kind, operands, output, keepdims=int(a.keepdims))
        else:
            t.add(kind, [t.name(call.args[0])], output, axes=axes, keepdims=int(a.keepdims))

    return translate


def _axis(kind: str) -> Translate:
    def translate(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
        del shape
        t.add(kind, [t.name(call.args[0])], output, axis=int(call.attrs.axis))

    return translate


def _plain(kind: str, **attributes: Any) -> Translate:
    def translate(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
        del shape
        t.add(kind, [t.name(call.args[0])], output, **attributes)

    return translate


def _leaky(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
    del shape
    t.add("LeakyRelu", [t.name(call.args[0])], output, alpha=float(call.attrs.alpha))


def _linear(kind: str) -> Translate:
    def translate(t: Translation, call: Any, output: str, shape: tuple[int, ...]) -> None:
        del shape
        t.add(kind, [t.name(operand) for operand in call.args], output, axis=int(call.attrs.axis))

    return translate


_LAYOUTS = ("", "NCHW", "OIHW", "NCW", "OIW", "IOHW", "IOW")
_TRANSLATE: Mapping[str, Translate] = {
    **{f"relax.nn.conv{size}d{kind}": _conv for size in (1, 2) for kind in ("", "_transpose")},
    **{f"relax.nn.max_pool{size}d": _pool("MaxPool") for size in (1, 2)},
    **{f"relax.nn.avg_pool{size}d": _pool("AveragePool") for size in (1, 2)},
    "relax.nn.adaptive_avg_pool2d": _adaptive,
    "relax.permute_dims": _permute,
    "relax.nn.softmax": _axis("Softmax"),
    "relax.nn.log_softmax": _axis("LogSoftmax"),
    "relax.nn.leakyrelu": _leaky,
    "relax.nn.prelu": _prelu,
    "relax.nn.silu": _silu,
    "relax.nn.softplus": _plain("Softplus"),
    "relax.nn.gelu_tanh": _plain("Gelu", approximate="tanh"),
    "relax.nn.pad": _pad,
    "relax.nn.layer_norm": _layer_norm,
    "relax.clip": _clip,
    "relax.maximum": _bound("Max", 0),
    "relax.minimum": _bound("Min", 1),
    "relax.concat": _concat,
    "relax.mean": _reduced("ReduceMean"),
    "relax.max": _reduced("ReduceMax"),
    "relax.min": _reduced("ReduceMin"),
    "relax.sum": _reduced("ReduceSum"),
    "relax.quantize": _linear("QuantizeLinear"),
    "relax.dequantize": _linear("DequantizeLinear"),
}
