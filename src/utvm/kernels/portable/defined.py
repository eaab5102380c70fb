"""Any operator that has a definition, in plain C: its computations, one loop nest after another."""

from __future__ import annotations

from utvm.codegen import SIZES, CArray, CFunction, CParameter, CWriter
from utvm.compute import Compute, Expr, HelperCall, access
from utvm.compute.collapse import collapsed
from utvm.compute.expressions import children
from utvm.cores import Core
from utvm.graph import (
    Add,
    AveragePool2D,
    BatchMatMul,
    Conv2D,
    CumulativeSum,
    DepthwiseConv2D,
    Dequantize,
    DType,
    Elementwise,
    FullyConnected,
    Gather,
    GatherNd,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Quantize,
    Reduction,
    Relu,
    Relu6,
    ResizeBilinear,
    ShiftIn,
    Softmax,
    Sub,
    SvdfFeature,
    SvdfTime,
    Tanh,
    Tensor,
    UpdateSlice,
)
from utvm.graph.definitions import Definition, defined_apart, definition
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.element_pairs import refusal_of_number
from utvm.kernels.workload_keys import dims, workload
from utvm.loops import Schedule, render

_AT_ONCE = (1, 2, 4, 8)
_DEFAULT = 4
"""Points of an elementwise operator, or terms of a sum, that are written out one after another."""

_SUMS, _WIDE_SUMS = 4, 2
"""Sums of neighbouring points that are made at once: what is added to one need not wait for the one before."""
_REALS = 8
"""Points of an elementwise operator of reals, whose additions and products take three cycles each."""
_MANY = 16
"""Points beside which a rest of up to three is little."""


_ALONE = (Elementwise, Reduction, Gather, GatherNd, BatchMatMul)
_OF_MANY_TYPES = (SvdfFeature, ShiftIn, SvdfTime, UpdateSlice)
"""What has no other portable family."""
_BINARY = (Add, Sub, Mul)
"""What a table serves where one operand is a number."""
_APART = (
    *(Conv2D, DepthwiseConv2D, FullyConnected, MaxPool2D, AveragePool2D, Mean, Softmax),
    *(Logistic, Tanh, Relu, Relu6, LeakyRelu, ResizeBilinear, CumulativeSum, Quantize, Dequantize),
)
"""What has one for int8."""


class PortableDefined(KernelFamily):
    """Elementwise operators, reductions, and all others that are a definition alone; a user's own too.

    Knob: `unroll`, points or terms without a branch between them.
    """

    name = "portable"
    kinds = (*_ALONE, *_OF_MANY_TYPES, *_BINARY, *_APART)
    dtypes = tuple(DType)
    biases = tuple(DType)

    def outside_signature(self, op: Operator) -> str | None:
        """Return which tensor of `op` has a type that its definition is not made for, as a clause."""
        return super().outside_signature(op) or _wrong_type(op)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why other families compute `op`."""
        if isinstance(op, _APART) and not defined_apart(op) and not _has_wide_weights(op):
            return "other families compute it"
        if isinstance(op, _BINARY) and not defined_apart(op) and (number := refusal_of_number(op)) is not None:
            return number
        return super().refusal(op, core)

    def space(self, op: Operator, core: Core) -> Space:
        """Return as many points or terms at once as there are."""
        del core
        turns = _turns(_collapsed(op)[-1])
        return {"unroll": tuple(n for n in _AT_ONCE if n <= max(1, turns))}

    def default(self, op: Operator, core: Core) -> Config:
        """Return a few at once, where they leave no rest, or a rest that is little beside them.

        Sums of two tensors are long: more of them at once gain 1 to 8 % for 430 bytes, which is left to tuning.
        """
        del core
        if isinstance(op, _BINARY) and not defined_apart(op):
            return {"unroll": 1}
        stage = _collapsed(op)[-1]
        turns = _turns(stage)
        if not stage.reduce and turns >= _MANY:
            plain = stage.c_type == "float" and not _calls(stage.epilogue)
            return {"unroll": _REALS if plain else _DEFAULT}
        return {"unroll": next(n for n in (_DEFAULT, 2, 1) if turns % n == 0)}

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a definition."""
        defined = _definition(op)
        unroll = int((config or self.default(op, core))["unroll"])
        w, helpers = CWriter(), dict[str, None]()
        places, scratch = _scratch(defined)
        for name, (c_type, place) in places.items():
            w(f"{c_type} *const {name} = ({c_type} *)(void *)(scratch + {place});")
        stages = _collapsed(op)
        for stage in stages:
            s = _schedule(stage, unroll, blocks=op.outputs[0].dtype is not DType.INT8 or _has_wide_weights(op))
            if len(stages) == 1:
                helpers.update(dict.fromkeys(render(w, s)))
            else:
                with w.block(""):
                    helpers.update(dict.fromkeys(render(w, s)))
        read = {buffer.name for stage in stages for buffer in stage.buffers}
        for name in defined.inputs:
            if name not in read:
                w(f"(void){name};")
        y = op.outputs[0]
        constants = {name: CArray.of(t.values) for name, t in defined.inputs.items() if t.is_constant}
        constants |= {n: CArray(c_type=_c_type(defined, n), values=v) for n, v in defined.constants.items()}
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(y.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}, unroll {unroll}",
                parameters=(
                    *(
                        CParameter(name=name, c_type=t.dtype.c_type, role="constant" if t.is_constant else "input")
                        for name, t in defined.inputs.items()
                    ),
                    *(
                        CParameter(name=name, c_type=_c_type(defined, name), role="constant")
                        for name in defined.constants
                    ),
                    *((CParameter(name="scratch", c_type="uint8_t", role="scratch"),) if scratch else ()),
                    CParameter(name="y", c_type=y.dtype.c_type, role="output"),
                ),
                body=w.text,
                helpers=tuple(helpers),
            ),
            constants=constants,
            scratch_bytes=scratch,
            in_place=in_place(op),
        )


def in_place(op: Operator) -> tuple[int, ...]:
    """Return the activations whose place the output may take, as they follow from the definition."""
    defined = definition(op)
    if defined is None or defined.only is None:
        return ()
    every = [name for name, t in defined.inputs.items() if not t.is_constant]
    size = op.outputs[0].dtype.itemsize
    return tuple(
        number
        for number, name in enumerate(every)
        if access.is_in_place(defined.only, name, (defined.inputs[name].dtype.itemsize, size))
    )


def _has_wide_weights(op: Operator) -> bool:
    """Whether weights are int16 beside int8: those of a file that gives weights a zero point."""
    return isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected) and op.weights.dtype is DType.INT16


def _wrong_type(op: Operator) -> str | None:
    taken: tuple[DType, ...] = (DType.INT8,)
    tensors: tuple[Tensor, ...] = op.inputs
    if isinstance(op, BatchMatMul):
        tensors = (op.a, op.b, op.y)
    if isinstance(op, Elementwise):
        taken = op.function.inputs
    elif isinstance(op, Reduction):
        taken = op.reducer.inputs
    elif isinstance(op, Gather | GatherNd):
        return None if op.x.dtype is op.y.dtype else "it gathers another type than it makes"
    elif isinstance(op, _OF_MANY_TYPES):
        return None
    elif isinstance(op, Quantize | Dequantize) and defined_apart(op):
        taken = (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32)
    elif _has_wide_weights(op) and not defined_apart(op):
        tensors = (*op.activations, *op.outputs)
    elif isinstance(op, _BINARY + _APART) or defined_apart(op):
        taken, tensors = _types_apart(op), (*op.inputs, *op.outputs)
        parameters = (getattr(op, "weights", None), getattr(op, "bias", None))
        if DType.INT16 in taken and parameters[0] is not None:
            tensors = tuple(t for t in tensors if t not in parameters)
    wrong = [t for t in tensors if t.dtype not in taken]
    return f"it does not take {wrong[0].dtype} (tensor '{wrong[0].name}')" if wrong else None


def _types_apart(op: Operator) -> tuple[DType, ...]:
    """Return the type that all activations have where a definition is not that of int8."""
    if not defined_apart(op):
        return DType.INT8, DType.INT32
    return (DType.INT16,) if any(t.dtype is DType.INT16 for t in (*op.inputs, *op.outputs)) else (DType.FLOAT32,)


def _definition(op: Operator) -> Definition:
    found = definition(op)
    assert found is not None
    return found


def _collapsed(op: Operator) -> list[Compute]:
    return [collapsed(stage) for stage in _definition(op).stages]


def _turns(stage: Compute) -> int:
    """Return the turns of the innermost loop."""
    axes = stage.reduce or stage.space
    return list(axes.values())[-1] if axes else 1


def _schedule(stage: Compute, unroll: int, *, blocks: bool) -> Schedule:
    """Return the order of a stage: neighbouring sums at once where `blocks` may be, else so many points or terms."""
    s = Schedule.of(stage)
    if blocks and stage.reduce and stage.space:
        innermost = list(stage.space)[-1]
        sums = min(_WIDE_SUMS if stage.c_type.endswith("64_t") else _SUMS, stage.space[innermost])
        if sums > 1:
            return s.split(innermost, sums).unroll(f"{innermost}_i")
    axes = stage.reduce or stage.space
    if axes and unroll > 1:
        innermost = list(axes)[-1]
        if axes[innermost] >= unroll and not (stage.reduce and axes[innermost] % unroll):
            s = s.split(innermost, unroll).unroll(f"{innermost}_i")
    return s


def _calls(expr: Expr) -> bool:
    """Whether an expression calls a helper, which is text for every point."""
    return isinstance(expr, HelperCall) or any(_calls(child) for child in children(expr))


def _scratch(defined: Definition) -> tuple[dict[str, tuple[str, int]], int]:
    """Return the C type and the place of what one stage leaves for the next, and the bytes of all."""
    found: dict[str, tuple[str, int]] = {}
    place = 0
    for stage in defined.stages[:-1]:
        found[stage.output.name] = stage.output.c_type, place
        place += -(-stage.output.elements * SIZES[stage.output.c_type] // 8) * 8
    return found, place


def _c_type(defined: Definition, name: str) -> str:
    return next(b.c_type for stage in defined.stages for b in stage.buffers if b.name == name)
