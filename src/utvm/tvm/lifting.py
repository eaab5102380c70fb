"""TIR functions that TVM's ONNX frontend writes at once, as the Relax operators that they are: Clip and Pad."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import relax, tirx, topi

from utvm.tvm.code import stores
from utvm.tvm.flat import bindings_of, fixed_shape

_BOUNDS = {"maximum": (topi.maximum, relax.op.maximum), "minimum": (topi.minimum, relax.op.minimum)}


def lifted(module: Any) -> dict[Any, Any]:
    """Return the Relax call for each variable of a flat module whose TIR function is one of an operator.

    A function is known by being equal, in structure, to the one that TVM makes of the operator.
    """
    found = {}
    for binding in bindings_of(module):
        value = binding.value
        if getattr(getattr(value, "op", None), "name", "") == "relax.call_tir" and fixed_shape(value) is not None:
            function = module[value.args[0]]
            call = _lifted(value.args[0].name_hint.rstrip("0123456789"), function, list(value.args[1].fields))
            if call is not None:
                found[binding.var] = call
    return found


def _lifted(name: str, function: Any, operands: list[Any]) -> Any | None:
    first = next(stores(function.body), None)
    value: Any = getattr(first, "value", None)
    if name in _BOUNDS and isinstance(value, tirx.Max | tirx.Min):
        compute, operator = _BOUNDS[name]
        if len(operands) == 1 and isinstance(value.b, tirx.FloatImm):
            bound = float(value.b.value)
            same = _is(function, operands, lambda x: compute(x, bound))
            return operator(operands[0], relax.const(bound, "float32")) if same else None
        return operator(*operands) if len(operands) == 2 and _is(function, operands, compute) else None
    if name == "pad" and len(operands) == 1 and len(getattr(value, "args", ())) == 3:
        _, read, filler = value.args
        before = [int(index.b) if isinstance(index, tirx.Sub) else 0 for index in getattr(read, "indices", ())]
        into, out = ([int(size) for size in parameter.shape] for parameter in function.params)
        if isinstance(filler, tirx.FloatImm) and len(before) == len(into) == len(out):
            after, number = [o - i - b for i, o, b in zip(into, out, before, strict=True)], float(filler.value)
            if min(*before, *after) >= 0 and _is(function, operands, lambda x: topi.nn.pad(x, before, after, number)):
                widths = [width for pair in zip(before, after, strict=True) for width in pair]
                return relax.op.nn.pad(operands[0], widths, "constant", number)
    return None


def _is(function: Any, operands: list[Any], compute: Any) -> bool:
    """Whether TVM makes the same function of a computation of operands like these."""
    builder = relax.BlockBuilder()
    xs = [relax.Var(f"x{number}", operand.ty) for number, operand in enumerate(operands)]
    with builder.function("main", xs):
        with builder.dataflow():
            y = builder.emit_output(builder.emit_te(compute, *xs))
        builder.emit_func_output(y)
    (made,) = (f for _, f in builder.get().functions_items() if isinstance(f, tirx.PrimFunc))
    return bool(tvm_ffi.structural_equal(made, function))
