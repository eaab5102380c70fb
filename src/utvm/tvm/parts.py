"""Which parts of a Relax module µTVM's own kernel families take over, and which TVM keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from tvm import relax

from utvm.cores import Core
from utvm.errors import UtvmError
from utvm.frontends.onnx import graph_of_nodes
from utvm.graph import DType, Graph
from utvm.graph.cost import macs
from utvm.graph.names import Names
from utvm.lowering import Options, lower
from utvm.passes import run_passes
from utvm.tvm.flat import bindings_of, flat_module, is_constant, replaced, results_of, with_main
from utvm.tvm.lifting import lifted
from utvm.tvm.module import is_lowered, tensor_of, tir_module
from utvm.tvm.onnx_nodes import is_known, onnx_form
from utvm.tvm.printer import TvmCodeError, identifier

Perm = tuple[int, ...]
_BEGIN = (
    *("nn.conv1d", "nn.conv2d", "nn.conv1d_transpose", "nn.conv2d_transpose", "matmul", "nn.pad"),
    *("nn.max_pool1d", "nn.avg_pool1d", "nn.max_pool2d", "nn.avg_pool2d", "nn.adaptive_avg_pool2d"),
    *("nn.softmax", "nn.log_softmax", "nn.layer_norm", "mean", "max", "min", "sum", "concat"),
)
"""Operators that TVM fuses with what follows, not with what comes before."""
_NO_SUMS = "there are no sums of products in it"
_CONVERTED = ((DType.FLOAT32, DType.INT8), (DType.UINT8, DType.INT8))
"""Types of TVM's values, and those of µTVM's that stand for them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModulePart:
    """A run of a module's bindings, and who computes it.

    Attributes:
        kinds: TVM's names of its operators.
        bindings: the run.
        inputs, outputs: what it reads from before and what is read after it, TVM's variables.
        own: the graph of µTVM's operators; None where TVM computes it.
        moved_in, moved_out: how inputs and outputs of `own` are turned to images with channels last.
        reason: why TVM keeps it; empty where it does not.
    """

    kinds: tuple[str, ...]
    bindings: tuple[Any, ...]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    own: Graph | None = None
    moved_in: tuple[Perm | None, ...] = ()
    moved_out: tuple[Perm | None, ...] = ()
    reason: str = ""


def offloadable(module: Any) -> Any:
    """Return a flat module whose constants are computed where µTVM has no operators for them, TIR of operators undone.

    Raises:
        TvmCodeError: it is no Relax module, or its operators are TIR functions already.
    """
    flat = flat_module(module)
    operators = lifted(flat)
    if is_lowered(flat) and not all(binding.var in operators for binding in bindings_of(flat)):
        raise TvmCodeError("the module's operators are TIR functions already: offload before it is tuned or legalised")
    flat = flat_module(flat, operators)
    fixed, results = list(_Reads(flat).fixed.values()), set(results_of(flat))
    strange = [b.var for b in fixed if not is_known(b.value) or b.var in results]
    wanted = [variable for variable in strange if isinstance(variable.ty, relax.TensorType)]
    if not wanted:
        return flat
    part = ModulePart(kinds=(), bindings=tuple(fixed), inputs=(), outputs=tuple(wanted))
    made = zip(wanted, results_of(tir_module(module_of(part, flat))), strict=True)
    return flat_module(flat, {variable: value for variable, value in made if is_constant(value)})


def parts_of(module: Any, core: Core) -> list[ModulePart]:
    """Return the parts of an `offloadable` module: µTVM's where it has families for the operators, else TVM's."""
    reads = _Reads(module)
    found: list[ModulePart] = []
    for run in _runs(reads.varying):
        known = is_known(run[0].value)
        found += _taken(run, reads, core) if known else [reads.part(run, "no operators of µTVM")]
    return list(_joined(found, reads))


def layers_of(part: ModulePart) -> list[list[int]]:
    """Return the numbers of a part's bindings by layers: what sums, pools or normalises begins one."""
    found: list[list[int]] = [[]]
    varies = set(part.inputs)
    for number, binding in enumerate(part.bindings):
        if varies.isdisjoint(_variables(binding.value)):
            continue
        varies.add(binding.var)
        if found[-1] and kind_of(binding) in _BEGIN:
            found.append([])
        found[-1].append(number)
    return found


def by_tvm(module: Any, parts: Sequence[ModulePart]) -> list[list[ModulePart]]:
    """Return what each part is where TVM computes all of it: its layers, since TVM fuses no more than that."""
    reads = _Reads(module)
    return [
        [replace(part, reason="")]
        if part.own is None
        else [reads.part([part.bindings[place] for place in layer]) for layer in layers_of(part)]
        for part in parts
    ]


def kind_of(binding: Any) -> str:
    """Return TVM's name of a binding's operator."""
    return str(getattr(getattr(binding.value, "op", None), "name", "alias")).removeprefix("relax.")


class _Reads:
    """Who reads what in a module.

    Attributes:
        varying: the bindings that depend on its inputs, in order.
        fixed: the others, by their variables.
    """

    def __init__(self, module: Any) -> None:
        main = module["main"]
        varies, self.varying = set(main.params), list[Any]()
        self.fixed: dict[Any, Any] = {}
        self._readers: dict[Any, set[Any]] = {}
        for binding in bindings_of(module):
            read = set(_variables(binding.value))
            if varies.isdisjoint(read):
                self.fixed[binding.var] = binding
                continue
            varies.add(binding.var)
            self.varying.append(binding)
            for variable in read:
                self._readers.setdefault(variable, set()).add(binding.var)
        for each in results_of(module):
            self._readers.setdefault(each, set()).add("the caller")

    def part(self, run: Sequence[Any], reason: str = "") -> ModulePart:
        """Return a run as a part, with what it needs that is made of constants alone."""
        made = {binding.var for binding in run}
        fixed = self._needed(run)
        every = (*fixed, *run)
        known = made | {binding.var for binding in fixed}
        inputs = dict.fromkeys(v for binding in every for v in _variables(binding.value) if v not in known)
        return ModulePart(
            kinds=tuple(kind_of(binding) for binding in run),
            bindings=every,
            inputs=tuple(inputs),
            outputs=tuple(b.var for b in run if self._readers.get(b.var, set()) - made),
            reason=reason,
        )

    def run_of(self, parts: Sequence[ModulePart]) -> list[Any]:
        """Return what several parts compute of the inputs."""
        return [binding for part in parts for binding in part.bindings if binding.var not in self.fixed]

    def _needed(self, run: Sequence[Any]) -> list[Any]:
        needed, waiting = set[Any](), list(run)
        while waiting:
            for variable in _variables(waiting.pop().value):
                if variable in self.fixed and variable not in needed:
                    needed.add(variable)
                    waiting.append(self.fixed[variable])
        return [binding for variable, binding in self.fixed.items() if variable in needed]


def _runs(bindings: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield runs of bindings that are all known, or all not."""
    run: list[Any] = []
    for binding in bindings:
        if run and is_known(binding.value) != is_known(run[0].value):
            yield run
            run = []
        run.append(binding)
    if run:
        yield run


def _variables(value: Any) -> Iterator[Any]:
    if isinstance(value, relax.Var):
        yield value
    for operand in getattr(value, "args", None) or getattr(value, "fields", None) or ():
        yield from _variables(operand)
    inner = getattr(value, "tuple_value", None)
    if inner is not None:
        yield from _variables(inner)


def _taken(run: Sequence[Any], reads: _Reads, core: Core) -> Iterator[ModulePart]:
    """Yield a run as µTVM's; where it is refused, what of it is not, in pieces that are as long as they can be."""
    parts = list(_halved(list(_pieces(run)), reads, core))
    for begins, group in groupby(parts, lambda part: part.own is not None or part.reason == _NO_SUMS):
        together = list(group)
        yield from _grown(together, reads, core) if begins else together


def _pieces(run: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the pieces at which a run may be cut: from DequantizeLinear to QuantizeLinear, else single operators."""
    piece: list[Any] = []
    for binding in run:
        kind = kind_of(binding)
        if piece and kind == "dequantize" and kind_of(piece[0]) != "dequantize":
            yield piece
            piece = []
        piece.append(binding)
        if kind == "quantize" or kind_of(piece[0]) != "dequantize":
            yield piece
            piece = []
    if piece:
        yield piece


def _halved(pieces: list[list[Any]], reads: _Reads, core: Core) -> Iterator[ModulePart]:
    """Yield pieces as one part of µTVM; where that is refused, their halves."""
    run = [binding for piece in pieces for binding in piece]
    part = reads.part(run)
    if not part.outputs:
        yield part
        return
    try:
        yield _own(part, core)
    except UtvmError as error:
        smaller = pieces if len(pieces) > 1 else [[binding] for binding in run]
        if len(smaller) > 1:
            middle = len(smaller) // 2
            yield from _halved(smaller[:middle], reads, core)
            yield from _halved(smaller[middle:], reads, core)
        else:
            yield replace(part, reason=" ".join(str(error).split())[:300])


def _grown(parts: list[ModulePart], reads: _Reads, core: Core) -> Iterator[ModulePart]:
    """Yield neighbours as one part where that is possible, all of them or two after another."""
    if len(parts) == 1 or all(part.own is None for part in parts):
        yield from parts
        return
    whole = _united(parts, reads, core)
    if whole is not None:
        yield whole
        return
    grown = parts[0]
    for part in parts[1:]:
        both = None if grown.own is None and part.own is None else _united([grown, part], reads, core)
        if both is None:
            yield grown
            grown = part
        else:
            grown = both
    yield grown


def _united(parts: Sequence[ModulePart], reads: _Reads, core: Core) -> ModulePart | None:
    """Return parts as one of µTVM, None where that is refused."""
    try:
        return _own(reads.part(reads.run_of(parts)), core)
    except UtvmError:
        return None


def _own(part: ModulePart, core: Core) -> ModulePart:
    if not all(is_known(binding.value) for binding in part.bindings):
        raise TvmCodeError("no operators of µTVM")
    inputs = {variable: f"in_{number}" for number, variable in enumerate(part.inputs)}
    outputs = {variable: f"out_{number}" for number, variable in enumerate(part.outputs)}
    moved = graph_of_nodes(onnx_form(part.bindings, inputs, outputs), "part")
    graph = run_passes(moved.graph)
    if not macs(graph):
        raise TvmCodeError(_NO_SUMS)
    for variable, tensor in zip((*part.inputs, *part.outputs), (*graph.inputs, *graph.outputs), strict=True):
        given = tensor_of(tensor.name, variable.ty)
        if given.dtype is not tensor.dtype and (given.dtype, tensor.dtype) not in _CONVERTED:
            raise TvmCodeError(f"'{variable.name}' is {given.dtype}, {tensor.dtype} in µTVM")
    lower(graph, core, Options(name="part"))
    return replace(
        part,
        own=graph,
        moved_in=tuple(moved.inputs.get(name) for name in inputs.values()),
        moved_out=tuple(moved.outputs.get(name) for name in outputs.values()),
    )


def _joined(parts: Sequence[ModulePart], reads: _Reads) -> Iterator[ModulePart]:
    """Yield the parts; what TVM keeps one after another is one part, which TVM fuses."""
    waiting: list[ModulePart] = []
    for part in [*parts, None]:
        if part is not None and part.own is None:
            waiting.append(part)
            continue
        if waiting:
            reasons = dict.fromkeys(each.reason for each in waiting if each.reason)
            yield reads.part(reads.run_of(waiting), "; ".join(reasons))
            waiting = []
        if part is not None:
            yield part


def module_of(part: ModulePart, module: Any) -> Any:
    """Return a part of a module as a module, with the functions that it may call."""
    builder, names = relax.BlockBuilder(), Names()
    known = {v: relax.Var(names.fresh(identifier(v.name)), v.ty) for v in part.inputs}
    with builder.function("main", list(known.values())):
        with builder.dataflow():
            for binding in part.bindings:
                known[binding.var] = builder.emit(replaced(binding.value, known))
            outputs = [builder.emit_output(known[variable]) for variable in part.outputs]
        builder.emit_func_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
    return with_main(module, builder)
