"""A scheduled TIR function as a program for one trial, and what the host says must come out of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from utvm.api.foreign import LIBRARIES
from utvm.boards import Board
from utvm.cache import digest
from utvm.codegen import ARENA_SYMBOL, RUN_SYMBOL, CPort
from utvm.device import build_image
from utvm.errors import UtvmError
from utvm.graph import DType, Tensor
from utvm.graph.samples import random_input
from utvm.toolchain import MemoryOverflowError, Source
from utvm.tuning import BuiltCandidate, Expectation, Outcome
from utvm.tvm.code import TirCode, TirOperand, as_module, index_bounds, operands_of, tir_code
from utvm.tvm.printer import TvmCodeError

FLAGS = ("-w", "-Wno-error")
"""A comparison that is always true is no fault of a schedule."""
_TOLERANCE = 1e-4
"""Of the largest value: schedules add floats in other orders than the host. Integers must be equal."""
_ALIGNMENT = 16
_LARGEST_INT32 = 1 << 15


def expected(function: Any) -> Expectation:
    """Return seeded inputs of a TIR function, and what LLVM's code of it makes of them on the host.

    Raises:
        TvmCodeError: it has operands that boards don't take, or TVM can't compile it.
    """
    operands = operands_of(function)
    bounds = index_bounds(function)
    arrays = [
        _sample(operand, number, bounds.get(parameter))
        for number, (operand, parameter) in enumerate(zip(operands, function.params, strict=True))
    ]
    inputs = {o.name: a for o, a in zip(operands, arrays, strict=True) if not o.is_output}
    try:
        held = [tvm.runtime.tensor(array.copy()) for array in arrays]
        compiled = tvm.compile(as_module(function), target="llvm")
        compiled["main"](*held)
    except (tvm.error.InternalError, RuntimeError, ValueError) as error:
        raise TvmCodeError(f"TVM can't run the function on the host: {str(error).strip()[-300:]}") from error
    outputs = {o.name: h.numpy() for o, h in zip(operands, held, strict=True) if o.is_output}
    key = digest([*outputs, *(np.ascontiguousarray(a).tobytes() for a in (*inputs.values(), *outputs.values()))])
    return Expectation(key=key, inputs=inputs, outputs=outputs, tolerance=_TOLERANCE)


def build(function: Any, board: Board) -> BuiltCandidate:
    """Return a TIR function's program for one trial; what goes wrong is said in it, not raised."""
    started = time.perf_counter()
    try:
        code = tir_code(function, stem="kernel", comment="A candidate of TVM")
    except TvmCodeError as error:
        return BuiltCandidate(outcome=Outcome.NOT_BUILT, message=str(error))
    return build_code(code, board, started)


def build_code(code: TirCode, board: Board, started: float) -> BuiltCandidate:
    """Return the program of C that was made; `started` is when that began."""
    offsets, size = _offsets(code.operands)
    source = Source(name="candidate.c", text=_program(code, offsets, size))
    ports = [CPort(tensor=_tensor(o), offset=offset) for o, offset in zip(code.operands, offsets, strict=True)]
    outcome, message, image = Outcome.OK, "", None
    try:
        image = build_image(board, [source], entries=[RUN_SYMBOL], extra_flags=FLAGS, libraries=LIBRARIES)
    except MemoryOverflowError as error:
        outcome, message = Outcome.TOO_LARGE, str(error)
    except UtvmError as error:
        outcome, message = Outcome.NOT_BUILT, str(error)
    return BuiltCandidate(
        outcome=outcome,
        message=message,
        image=image,
        inputs=tuple(port for port, o in zip(ports, code.operands, strict=True) if not o.is_output),
        outputs=tuple(port for port, o in zip(ports, code.operands, strict=True) if o.is_output),
        scratch_bytes=code.scratch_bytes,
        seconds=time.perf_counter() - started,
    )


def signature(operands: Sequence[TirOperand]) -> tuple[object, ...]:
    """Return what a function and its schedules have in common."""
    return tuple((o.shape, o.dtype, o.is_output) for o in operands)


def _sample(operand: TirOperand, seed: int, bound: int | None) -> NDArray[Any]:
    """Return seeded values of an operand; below `bound` where other operands are read by them."""
    if operand.is_output:
        return np.zeros(operand.shape, operand.dtype.value)
    array = random_input(_tensor(operand), seed)
    if bound is not None:
        return np.abs(array.astype(np.int64) % max(bound, 1)).astype(array.dtype)
    # Sums of large products would overflow, which C leaves open.
    return array % _LARGEST_INT32 if operand.dtype in (DType.INT32, DType.INT64) else array


def _tensor(operand: TirOperand) -> Tensor:
    return Tensor(name=operand.name, shape=operand.shape, dtype=operand.dtype)


def _offsets(operands: Sequence[TirOperand]) -> tuple[list[int], int]:
    offsets, size = [], 0
    for operand in operands:
        offsets.append(size)
        size += -(-max(_tensor(operand).nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
    return offsets, size


def _program(code: TirCode, offsets: Sequence[int], size: int) -> str:
    """Return C that calls a kernel on its operands in the arena, as a session calls models."""
    pointers = [f"(void *)({ARENA_SYMBOL} + {offset})" for offset in offsets]
    scratch = ""
    if code.scratch_bytes:
        scratch = f"static _Alignas({_ALIGNMENT}) uint8_t utvm_scratch[{code.scratch_bytes}];\n"
        pointers.append("utvm_scratch")
    return (
        "#include <math.h>\n#include <stdint.h>\n#include <string.h>\n\n"
        f"{''.join(part.text for part in code.function.support)}\n{code.function.render('kernel')}\n"
        f"_Alignas({_ALIGNMENT}) uint8_t {ARENA_SYMBOL}[{size}];\n{scratch}"
        f"int32_t {RUN_SYMBOL}(void);\n\n"
        f"int32_t {RUN_SYMBOL}(void) {{\n  kernel({', '.join(pointers)});\n  return 0;\n}}\n"
    )


def references(functions: Mapping[str, Any]) -> dict[tuple[object, ...], Expectation]:
    """Return what must come out of functions, by their signatures.

    Raises:
        TvmCodeError: two have the same signature, so that their candidates can't be told apart; or as in `expected`.
    """
    found: dict[tuple[object, ...], Expectation] = {}
    for name, function in functions.items():
        key = signature(operands_of(function))
        if key in found:
            raise TvmCodeError(f"'{name}' has the operands of another function of the module: tune them one by one")
        found[key] = expected(function)
    return found
