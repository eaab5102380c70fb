"""A TIR function as a C function of plain pointers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import tvm
from tvm.s_tir import transform as scheduled
from tvm.tirx import transform as plain

from utvm.codegen import CFunction, CParameter
from utvm.codegen.c import Role
from utvm.graph import DType
from utvm.graph.names import Names
from utvm.tvm.printer import SCRATCH, Printer, TvmCodeError, c_type, identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class TirOperand:
    """A buffer parameter of a TIR function; `is_output` where the function writes it."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    is_output: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TirCode:
    """A TIR function's operands and its C. The parameter `scratch` is last, there where `scratch_bytes` is not 0."""

    operands: tuple[TirOperand, ...]
    function: CFunction
    scratch_bytes: int


def as_module(function: Any) -> Any:
    """Return a module with one TIR function, `main`.

    Raises:
        TvmCodeError: it is no TIR function.

    Example:
        module = utvm.tvm.as_module(te.create_prim_func([x, w, y]))
    """
    if not isinstance(function, tvm.tirx.PrimFunc):
        raise TvmCodeError(f"a {type(function).__name__} is no TIR function: give a tirx.PrimFunc")
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def operands_of(function: Any) -> tuple[TirOperand, ...]:
    """Return the operands of a TIR function, scheduled or not.

    Raises:
        TvmCodeError: one is no buffer of known shape, or of a type that boards don't have.
    """
    written = {store.buffer for store in stores(function.body)}
    names = Names([SCRATCH])
    found = []
    for parameter in function.params:
        shape = getattr(parameter, "shape", None)
        if shape is None or not all(isinstance(size, tvm.tirx.IntImm) for size in shape):
            raise TvmCodeError(f"parameter '{parameter.name}' has no fixed shape: bind it before (relax's BindParams)")
        c_type(parameter.dtype)
        if str(parameter.dtype) not in set(DType):
            raise TvmCodeError(f"parameter '{parameter.name}' is {parameter.dtype}; µTVM takes {', '.join(DType)}")
        found.append(
            TirOperand(
                name=names.fresh(identifier(parameter.name)),
                shape=tuple(int(size) for size in shape),
                dtype=DType(str(parameter.dtype)),
                is_output=parameter in written,
            )
        )
    return tuple(found)


def tir_code(function: Any, *, stem: str, comment: str, roles: Sequence[Role] | None = None) -> TirCode:
    """Return the C of a TIR function.

    Args:
        function: a `tirx.PrimFunc`, scheduled or not.
        stem, comment: as in `CFunction`.
        roles: of the operands; inputs and outputs if None.

    Raises:
        TvmCodeError: it can't be written as C.
    """
    operands = operands_of(function)
    roles = roles or [("output" if operand.is_output else "input") for operand in operands]
    try:
        lowered = _passes()(plain.BindTarget(_host_target())(tvm.IRModule({"kernel": function})))["kernel"]
    except tvm.error.InternalError as error:
        raise TvmCodeError(f"TVM can't lower it: {str(error).strip().splitlines()[-1][:300]}") from error
    printer = Printer({p: operand.name for p, operand in zip(lowered.params, operands, strict=True)})
    body = printer.print(lowered.body)
    parameters = [
        CParameter(name=operand.name, c_type=operand.dtype.c_type, role=role, alone=True)
        for operand, role in zip(operands, roles, strict=True)
    ]
    if printer.scratch_bytes:
        parameters.append(CParameter(name=SCRATCH, c_type="uint8_t", role="scratch", alone=True))
    voids = "".join(f"  (void){parameter.name};\n" for parameter in parameters)
    return TirCode(
        operands=operands,
        function=CFunction(
            stem=stem,
            comment=comment,
            parameters=tuple(parameters),
            body=voids + body,
            helpers=("UTVM_MATH",) if printer.uses_math else (),
            support=tuple(printer.support.values()),
        ),
        scratch_bytes=printer.scratch_bytes,
    )


def stores(s: Any) -> Iterator[Any]:
    """Yield the stores to buffers in a statement."""
    if type(s).__name__ == "BufferStore":
        yield s
        return
    for field in ("body", "block", "init", "then_case", "else_case", "seq"):
        part = getattr(s, field, None)
        if part is not None:
            for each in part if field == "seq" else (part,):
                yield from stores(each)


def index_bounds(function: Any) -> dict[Any, int]:
    """Return how large the values of each buffer may be that a function reads places of others by."""
    found: dict[Any, int] = {}

    def visit(e: Any) -> None:
        for number, index in enumerate(getattr(e, "indices", None) or ()):
            size = (e.source if hasattr(e, "source") else e.buffer).shape[number]
            for buffer in _read(index):
                found[buffer] = min(found.get(buffer, int(size)), int(size))
        for part in _parts(e):
            visit(part)

    for store in stores(function.body):
        visit(store)
        visit(store.value)
    return found


def _read(e: Any) -> Iterator[Any]:
    """Yield the buffers that an expression reads."""
    if type(e).__name__ == "TensorLoad":
        yield e.source
    for part in _parts(e):
        yield from _read(part)


def _parts(e: Any) -> Iterator[Any]:
    for field in ("a", "b", "value", "condition", "true_value", "false_value"):
        part = getattr(e, field, None)
        if hasattr(part, "ty"):
            yield part
    for field in ("args", "indices"):
        yield from getattr(e, field, None) or ()


@lru_cache(maxsize=1)
def c_target() -> Any:
    """Return the target that schedules are made for: plain C, without threads and vectors."""
    return tvm.target.Target({"kind": "c"})


def _host_target() -> Any:
    return c_target().with_host(c_target())


@lru_cache(maxsize=1)
def _passes() -> Any:
    """Return TVM's own way from schedules to loops, without what wraps functions for its runtime."""
    return tvm.ir.transform.Sequential(
        [
            scheduled.CanonicalizeLoop(),
            scheduled.LowerInitBlock(),
            scheduled.PlanAndUpdateBufferAllocationLocation(),
            scheduled.ConvertBlocksToOpaque(),
            scheduled.CompactBufferAllocation(),
            scheduled.LowerMatchBuffer(),
            scheduled.StmtSimplify(),
            scheduled.InjectSoftwarePipeline(),
            scheduled.LowerOpaqueBlock(),
            plain.FlattenBuffer(),
            plain.NarrowDataType(32),
            scheduled.LoopPartition(),
            plain.VectorizeLoop(False),
            plain.StorageRewrite(),
            scheduled.HoistIfThenElse(),
            plain.UnrollLoop(),
            scheduled.RenormalizeSplitPattern(),
            plain.StmtSimplify(),
            plain.RemoveNoOp(),
            scheduled.RewriteUnsafeSelect(),
            plain.CommonSubexprElim(),
            plain.LowerIntrin(),
        ]
    )
