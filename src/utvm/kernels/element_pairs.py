"""What families of Add, Sub and Mul share: their operands, one element in C, and which of them a table serves."""

from __future__ import annotations

from utvm.codegen import CArray, CParameter, CWriter
from utvm.graph import Add, Mul, Operator, Sub, Tensor
from utvm.graph.arithmetic import Requantization, addition_parameters, multiplication_parameters
from utvm.graph.formulas import limits
from utvm.kernels.weighted import offset

_REQUANTIZE = "utvm_requantize_double"


def operand_parameters(op: Add | Sub | Mul) -> tuple[CParameter, ...]:
    """Return the parameters `a` and `b`, either of which may be a constant."""
    return tuple(
        CParameter(name=name, c_type=tensor.dtype.c_type, role="constant" if tensor.is_constant else "input")
        for name, tensor in _operands(op).items()
    )


def constant_operands(op: Add | Sub | Mul) -> dict[str, CArray]:
    """Return the constants that the parameters of operands are bound to."""
    return {name: CArray.of(t.values) for name, t in _operands(op).items() if t.is_constant}


def operands_in_place(op: Add | Sub | Mul) -> tuple[int, ...]:
    """Return the activations whose place an output that is made element by element may take."""
    activations = [t for t in _operands(op).values() if not t.is_constant]
    return tuple(index for index, tensor in enumerate(activations) if tensor.shape == op.y.shape)


def _operands(op: Add | Sub | Mul) -> dict[str, Tensor]:
    return {"a": op.a, "b": op.b}


def write_element(w: CWriter, op: Add | Sub | Mul, a: str, b: str, y: str) -> None:
    """Write the statements that make one element, an lvalue, of two."""
    left, right = (f"({n}{offset(-t.zero_point)})" for n, t in ((a, op.a), (b, op.b)))
    if isinstance(op, Mul):
        total = _requantized(f"(int32_t){left} * {right}", multiplication_parameters(op))
    else:
        parameters = addition_parameters(op)
        scale = 1 << parameters.left_shift
        w(f"const int32_t left = {_requantized(f'(int32_t){left} * {scale}', parameters.a)};")
        w(f"const int32_t right = {_requantized(f'(int32_t){right} * {scale}', parameters.b)};")
        total = _requantized(f"left {'-' if isinstance(op, Sub) else '+'} right", parameters.y)
    w(f"const int32_t sum = {total}{offset(op.y.zero_point)};")
    low, high = limits(op)
    w(f"{y} = ({op.y.dtype.c_type})utvm_clamp(sum, {low}, {high});")


def _requantized(value: str, factor: Requantization) -> str:
    return f"{_REQUANTIZE}({value}, {factor.multiplier}, {factor.shift})"


def with_a_number(op: Operator) -> int | None:
    """Return the int8 value of the constant operand that is one number everywhere; None where neither is.

    The other operand has the shape of the output.
    """
    if not isinstance(op, Add | Sub | Mul):
        return None
    for constant, other in ((op.a, op.b), (op.b, op.a)):
        if constant.is_constant and not other.is_constant and other.shape == op.y.shape:
            values = constant.values.reshape(-1)
            return int(values[0]) if values.size and (values == values[0]).all() else None
    return None


def refusal_of_number(op: Operator) -> str | None:
    """Return that a table serves `op`, where `with_a_number`."""
    return None if with_a_number(op) is None else "a table serves it, since one operand is a number"


def refusal_of_shapes(op: Add | Sub | Mul) -> str | None:
    """Return that a table serves `op`, or that its operands have not the shape of the output."""
    if (number := refusal_of_number(op)) is not None:
        return number
    return None if op.a.shape == op.b.shape == op.y.shape else "its operands have several shapes"
