"""What the conversion of one operator may ask: its tensors, checked, and a way to refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.frontends.flatbuffer import RawModel, RawOperator, RawTensor
from utvm.frontends.refusal import RefusedError, ShapeRefusedError, axis_of
from utvm.frontends.tflite_types import QUANTISED, TYPES
from utvm.graph import FULL_INT8, DType, Elementwise, Operator, Quantization, Relu, Relu6, Tensor
from utvm.graph.arithmetic import integer_range
from utvm.graph.functions import function
from utvm.graph.names import Names
from utvm.graph.reference import evaluate_operator

if TYPE_CHECKING:
    from utvm.frontends.tflite_state import Variables

ACTIVATION_RANGES = {
    tflite.ActivationFunctionType.NONE: (None, None),
    tflite.ActivationFunctionType.RELU: (0.0, None),
    tflite.ActivationFunctionType.RELU6: (0.0, 6.0),
    tflite.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
}
"""The real range to which each fused activation clamps."""


def _between_ones(*, name: str, x: Tensor, y: Tensor) -> Operator:
    return Elementwise(name=name, function=function("ReluN1To1"), xs=(x,), y=y)


_FLOAT_ACTIVATIONS: Mapping[int, Callable[..., Operator]] = {
    tflite.ActivationFunctionType.RELU: Relu,
    tflite.ActivationFunctionType.RELU6: Relu6,
    tflite.ActivationFunctionType.RELU_N1_TO_1: _between_ones,
}
FLOAT_ADVICE = (
    "This operator is not computed in float32. Convert with full integer quantisation: converter.optimizations = "
    "[tf.lite.Optimize.DEFAULT], a representative_dataset, and converter.target_spec.supported_ops = "
    "[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]."
)
UINT8_ADVICE = (
    "Only the ends of a model may be uint8, between QUANTIZE and the graph's inputs and outputs. Convert the model "
    "again with a TensorFlow that quantises to int8 (2.3 or later)."
)
INT16_ADVICE = "This operator is not computed in int16: convert with int8 activations."
DYNAMIC_ADVICE = "Fix every dimension before converting, the batch at 1: a tf.function with an input_signature says so."
OPERATOR_ADVICE = "Take an operator that is not supported out of the model: README's table has those that are."
_ADVICE_OF_DTYPE = {DType.FLOAT32: FLOAT_ADVICE, DType.UINT8: UINT8_ADVICE, DType.INT16: INT16_ADVICE}


class Context:
    """One operator of a file on its way into the graph."""

    def __init__(
        self,
        model: RawModel,
        raw: RawOperator,
        tensors: dict[int, Tensor],
        names: Names,
        variables: Variables | None = None,
        *,
        is_once: bool = False,
        place: str = "",
    ) -> None:
        self._model = model
        self._tensors = tensors
        self._names = names
        self._first: Tensor | None = None
        self._activation: Callable[..., Operator] | None = None
        self.hybrid: Tensor | None = None
        self._variables = variables
        self.is_once = is_once
        self.raw = raw
        self.place = place
        self.name = f"{place}/{raw.kind.lower()}_{raw.index}" if place else f"{raw.kind.lower()}_{raw.index}"
        self.types = TYPES.get(raw.kind, (DType.INT8,))

    @property
    def kind(self) -> str:
        """The operator's kind, with the loop or the branch that it is in."""
        return f"{self.raw.kind} of {self.place.partition('/')[0]}" if self.place else self.raw.kind

    @property
    def unsigned(self) -> bool:
        """Whether the file has uint8 where tensors are int8."""
        return self._model.unsigned

    @property
    def variables(self) -> Variables:
        """The model's variables."""
        if self._variables is None:
            raise RefusedError("variables are not supported here")
        return self._variables

    def raw_input(self, position: int) -> RawTensor:
        """Return an input as the file has it."""
        index = self.raw.inputs[position]
        if index < 0:
            raise RefusedError("an input that is needed is absent")
        return self._model.tensors[index]

    def has_input(self, position: int) -> bool:
        """Whether an optional input is there."""
        return position < len(self.raw.inputs) and self.raw.inputs[position] >= 0

    def alias(self, position: int, tensor: Tensor) -> None:
        """Let an output be a tensor that is there already."""
        index = self.raw.outputs[position]
        if index in self._model.inputs:
            raise RefusedError(f"tensor '{self._model.tensors[index].name}': an output can't be an input of its graph")
        self._tensors[index] = tensor

    def made(self, what: str, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor that the file lacks, between two operators that one of the file's becomes."""
        name = self._names.fresh(f"{self.name}/{what}")
        return Tensor(name=name, shape=shape, dtype=like.dtype, quant=like.quant)

    def fresh(self, what: str) -> str:
        """Return a name for a tensor that the file lacks."""
        return self._names.fresh(f"{self.name}/{what}")

    def constant_made(self, what: str, data: NDArray[Any], quant: Quantization | None = None) -> Tensor:
        """Return a constant that the file lacks."""
        name = self._names.fresh(f"{self.name}/{what}")
        return Tensor(name=name, shape=data.shape, dtype=DType(data.dtype.name), quant=quant, data=data)

    def open_output(self, shape: tuple[int, ...]) -> bool:
        """Give the only output the shape that the operator makes; False where the file does not leave that open."""
        (index, *more) = self.raw.outputs or (-1,)
        if more or index < 0 or self.is_once or not shape:
            return False
        raw = self._model.tensors[index]
        free = tuple(size == -1 for size in raw.signature) if len(raw.signature) == len(raw.shape) else ()
        if not any(free) or raw.problem is not None:
            return False
        if self.place:
            # In what loops repeat, sizes may follow from open ones.
            new = shape
        elif len(shape) == len(raw.shape):
            new = tuple(size if is_free else old for is_free, size, old in zip(free, shape, raw.shape, strict=True))
        else:
            new = (shape[0] if free[0] else raw.shape[0], *raw.shape[1:])
        if raw.shape == new or len(new) != len(raw.shape):
            return False
        self._tensors[index] = dataclasses.replace(make_tensor(raw), shape=new)
        return True

    def is_opened(self, position: int) -> bool:
        """Whether an input has another shape than the file says, since that leaves sizes open."""
        index = self.raw.inputs[position]
        return index in self._tensors and self._tensors[index].shape != self._model.tensors[index].shape

    def shape_of_input(self, position: int) -> tuple[int, ...]:
        """Return the static shape of an input of any type, also of one that can't be used otherwise."""
        index = self.raw.inputs[position]
        shape = (self._tensors.get(index) or self._model.tensors[index]).shape
        if any(size <= 0 for size in shape):
            raise RefusedError(f"its input's shape {list(shape)} is not static", DYNAMIC_ADVICE)
        return shape

    def fold(self, *values: NDArray[Any]) -> None:
        """Make the operator's outputs constants."""
        for index, value in enumerate(values):
            tensor = self.any_output(index)
            if tensor.dtype is not DType.INT32 or tensor.shape != value.shape:
                raise RefusedError(
                    f"tensor '{tensor.name}': int32{list(value.shape)} is computed, it is {tensor.dtype}"
                    f"{list(tensor.shape)}"
                )
            if np.abs(value.astype(np.int64)).max(initial=0) >= 2**31:
                raise RefusedError(f"tensor '{tensor.name}': a value does not fit int32")
            self._tensors[self.raw.outputs[index]] = dataclasses.replace(tensor, data=value.astype(np.int32))

    def become_constant(self, values: NDArray[Any]) -> None:
        """Make the operator's first output a constant."""
        index = self.raw.outputs[0]
        self._tensors[index] = dataclasses.replace(self.any_output(), data=values.copy())

    def compute(self, made: Sequence[Operator], types: Collection[DType]) -> tuple[Operator, ...]:
        """Compute what has some types and is of constants, which its results become; return the other operators."""
        known: dict[Tensor, Tensor] = {}
        rest: list[Operator] = []
        for each in made:
            op = each.with_tensors(known)
            if not all(t.is_constant for t in op.inputs) or not all(t.dtype in types for t in op.outputs):
                rest.append(op)
                continue
            try:
                values = evaluate_operator(op, [t.values for t in op.inputs])
            except UtvmError as error:
                raise RefusedError(str(error)) from error
            results = zip(op.outputs, values, strict=True)
            known.update((y, dataclasses.replace(y, data=value)) for y, value in results)
        self._tensors.update({index: known[t] for index, t in self._tensors.items() if t in known})
        return tuple(rest)

    def options(self, kind: type[Any]) -> Any:
        """Return the operator's options read as `kind`, a class of the schema's tables."""
        if self.raw.options is None:
            raise RefusedError("its options are missing")
        name = kind.__name__
        if self.raw.options_type != getattr(tflite.BuiltinOptions, name):
            raise RefusedError(f"its options are of another type than {name}: the file is damaged")
        table = kind()
        table.Init(self.raw.options.Bytes, self.raw.options.Pos)
        return table

    def arity(self, inputs: tuple[int, ...], outputs: int = 1) -> None:
        """Refuse other numbers of inputs and outputs."""
        if len(self.raw.inputs) not in inputs:
            raise RefusedError(f"it has {len(self.raw.inputs)} inputs, {' or '.join(map(str, inputs))} are expected")
        if len(self.raw.outputs) != outputs:
            raise RefusedError(f"it has {len(self.raw.outputs)} outputs, {outputs} are expected")

    def any_input(self, position: int) -> Tensor:
        """Return an input of any type."""
        return self._tensor(self.raw.inputs[position])

    def any_output(self, position: int = 0) -> Tensor:
        """Return an output of any type."""
        tensor = self._tensor(self.raw.outputs[position])
        if tensor.is_constant:
            raise RefusedError(f"tensor '{tensor.name}': an output can't be a constant")
        return tensor

    @property
    def dtype(self) -> DType:
        """The type of the operator's activations, after the first of them was asked for."""
        return DType.INT8 if self._first is None else self._first.dtype

    def activation(self, position: int) -> Tensor:
        """Return an input of a type that the operator takes, integers quantised as a whole; constants are allowed."""
        return self._same_type(_of_types(self.any_input(position), self.types))

    def result(self, position: int = 0) -> Tensor:
        """Return an output of the type that the inputs have, integers quantised as a whole."""
        return self._same_type(_of_types(self.any_output(position), self.types))

    def _same_type(self, tensor: Tensor) -> Tensor:
        if self._first is None:
            self._first = tensor
        if tensor.dtype is not self._first.dtype:
            raise RefusedError(
                f"tensor '{tensor.name}': its type is {tensor.dtype}, that of '{self._first.name}' {self._first.dtype}",
                _ADVICE_OF_DTYPE.get(tensor.dtype, ""),
            )
        return tensor

    def clamp(self, activation: int, y: Tensor) -> tuple[int, int]:
        """Return the range that a fused activation clamps integers to; of float32 it becomes an operator of its own."""
        if activation not in ACTIVATION_RANGES:
            raise RefusedError(f"its fused activation {activation} is not supported")
        if y.dtype is not DType.FLOAT32:
            return quantised_range(y, *ACTIVATION_RANGES[activation])
        if activation != tflite.ActivationFunctionType.NONE:
            self._activation = _FLOAT_ACTIVATIONS.get(activation)
            if self._activation is None:
                raise RefusedError(f"its fused activation {activation} is not supported in float32")
        return FULL_INT8

    def finished(self, made: tuple[Operator, ...]) -> tuple[Operator, ...]:
        """Return what an operator became, with its fused activation behind it where `clamp` left that to be done."""
        if self._activation is None:
            return made
        (y,) = made[-1].outputs
        before = self.made("before_activation", y, y.shape)
        inner = (op.with_tensors({y: before}) for op in made)
        return (*inner, self._activation(name=f"{self.name}/activation", x=before, y=y))

    def element(self, position: int, types: tuple[DType, ...]) -> Tensor:
        """Return an input of one of some types; int8 must be quantised as a whole."""
        return _of_types(self.any_input(position), types)

    def made_of(self, types: tuple[DType, ...], position: int = 0) -> Tensor:
        """Return an output of one of some types; int8 must be quantised as a whole."""
        return _of_types(self.any_output(position), types)

    def constant(self, position: int, dtype: DType) -> NDArray[Any]:
        """Return the values of a constant input."""
        tensor = self.any_input(position)
        if not tensor.is_constant:
            raise RefusedError(f"tensor '{tensor.name}': it must be a constant")
        if tensor.dtype is not dtype:
            raise RefusedError(f"tensor '{tensor.name}': its type is {tensor.dtype}, {dtype} is expected")
        return tensor.values

    def integers(self, position: int) -> tuple[int, ...]:
        """Return a constant input of int32 or int64 as a flat tuple; its values fit int32."""
        tensor = self.any_input(position)
        values = self.constant(position, DType.INT64 if tensor.dtype is DType.INT64 else DType.INT32)
        if values.size and not -(2**31) <= values.min() <= values.max() < 2**31:
            raise RefusedError(f"tensor '{tensor.name}': a value does not fit int32")
        return tuple(int(v) for v in values.reshape(-1))

    def _tensor(self, index: int) -> Tensor:
        if index < 0:
            raise RefusedError("an input that is needed is absent")
        if index not in self._tensors:
            self._tensors[index] = make_tensor(self._model.tensors[index])
        return self._tensors[index]


def make_tensor(raw: RawTensor) -> Tensor:
    """Return the graph's form of a tensor of the file."""
    if raw.is_variable:
        raise RefusedError(f"tensor '{raw.name}': it is a variable")
    if raw.problem is not None or raw.dtype is None:
        advice = DYNAMIC_ADVICE if any(size <= 0 for size in raw.shape) else ""
        raise RefusedError(f"tensor '{raw.name}': {raw.problem}", advice)
    return Tensor(name=raw.name, shape=raw.shape, dtype=raw.dtype, quant=raw.quant, data=raw.data, packed=raw.packed)


def expect_shape(tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape."""
    if tensor.shape != shape:
        text = f"tensor '{tensor.name}': its shape is {list(tensor.shape)}, {list(shape)} is expected"
        raise ShapeRefusedError(text, shape)


def same_quantisation(x: Tensor, y: Tensor) -> None:
    """Refuse two tensors whose scale or zero point differ; float32, int32 and bool have none."""
    if x.dtype not in QUANTISED:
        return
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        raise RefusedError(
            f"tensors '{x.name}' and '{y.name}' must have the same scale and zero point, but have "
            f"{np.float32(x.scale)!s} and {x.zero_point}, {np.float32(y.scale)!s} and {y.zero_point}",
            "TFLite's own converter gives the inputs and the output of such an operator one scale. Where the scales "
            "differ in the last digit alone, write the same number into the file; else put a QUANTIZE to the other "
            "scale between.",
        )


def reduced_axes(c: Context, rank: int) -> tuple[int, ...]:
    """Return the axes that the second input names, in order."""
    axes = tuple(sorted({axis_of(axis, rank) for axis in c.integers(1)}))
    if not axes:
        raise RefusedError("it has no axes")
    return axes


def quantised_range(tensor: Tensor, low: float | None, high: float | None) -> tuple[int, int]:
    """Return a real range in a tensor's units as TFLite computes it (CalculateActivationRangeQuantized), in float32."""
    lowest, largest = integer_range(tensor.dtype) if tensor.dtype in QUANTISED else FULL_INT8

    def quantise(real: float) -> int:
        scaled = float(np.float32(real) / np.float32(tensor.scale))
        return int(np.sign(scaled) * np.floor(abs(scaled) + 0.5)) + tensor.zero_point

    least = lowest if low is None else max(lowest, quantise(low))
    most = largest if high is None else min(largest, quantise(high))
    return least, most


def softmax_beta(c: Context) -> float:
    """Return the factor on a SOFTMAX's input."""
    beta = float(c.options(tflite.SoftmaxOptions).Beta())
    if not 0 < beta < 1e3:
        raise RefusedError(f"its beta is {beta}")
    return beta


def leaky_alpha(c: Context) -> float:
    """Return the slope of a LEAKY_RELU below 0."""
    alpha = float(c.options(tflite.LeakyReluOptions).Alpha())
    if not abs(alpha) < 1e3:
        raise RefusedError(f"its alpha is {alpha}")
    return alpha


def quantised(tensor: Tensor) -> Tensor:
    """Return an int8, uint8 or int16 tensor that is quantised as a whole; others are refused."""
    return _of_types(tensor, QUANTISED)


def _of_types(tensor: Tensor, types: tuple[DType, ...]) -> Tensor:
    """Return a tensor of one of some types; int8, uint8 and int16 must be quantised as a whole."""
    if tensor.dtype not in types:
        raise RefusedError(
            f"tensor '{tensor.name}': its type is {tensor.dtype}, {' or '.join(types)} is expected",
            _ADVICE_OF_DTYPE.get(tensor.dtype, ""),
        )
    if tensor.dtype not in QUANTISED:
        return tensor
    if tensor.quant is None or len(tensor.quant.scale) != 1:
        raise RefusedError(f"tensor '{tensor.name}': it is not quantised as a whole")
    least, most = (0, 0) if tensor.dtype is DType.INT16 else integer_range(tensor.dtype)
    if not least <= tensor.zero_point <= most:
        raise RefusedError(
            f"tensor '{tensor.name}': its zero point {tensor.zero_point} is outside {tensor.dtype}"
            if tensor.dtype is not DType.INT16
            else f"tensor '{tensor.name}': its zero point is {tensor.zero_point}, int16 has 0"
        )
    return tensor
