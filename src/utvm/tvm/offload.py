"""Parts of a Relax module that µTVM's own kernel families take over; TVM keeps the rest, in one program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm import relax

from utvm.cores import Core
from utvm.errors import UtvmError
from utvm.frontends.onnx import graph_of_nodes
from utvm.graph import Dequantize, DType, Graph, Operator, Quantize, Reshape, Tensor, Transpose
from utvm.graph.cost import macs
from utvm.graph.names import Names
from utvm.lowering import Options, lower
from utvm.passes import run_passes
from utvm.tvm.flat import bindings_of, flat_module, is_constant, replaced, results_of
from utvm.tvm.module import constant_tensor, is_lowered, tensor_of, tir_graph, tir_module
from utvm.tvm.onnx_nodes import is_known, onnx_form
from utvm.tvm.printer import TvmCodeError, identifier

Perm = tuple[int, ...]
_BEGIN = ("nn.conv2d", "matmul", "nn.max_pool2d", "nn.avg_pool2d", "nn.softmax", "mean", "concat")
"""Operators that TVM fuses with what follows, not with what comes before."""


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

    @property
    def label(self) -> str:
        """The operators, for people."""
        return ", ".join(self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Offloaded:
    """A module as one graph.

    Attributes:
        graph: operators of both.
        parts: in order of execution.
        part_of: operator's name → number of its part.
    """

    graph: Graph
    parts: tuple[ModulePart, ...]
    part_of: Mapping[str, int]


def offloadable(module: Any) -> Any:
    """Return a flat module in which what is made of constants by operators that µTVM has not is constants.

    Raises:
        TvmCodeError: it is no Relax module, or its operators are TIR functions already.
    """
    flat = flat_module(module)
    if is_lowered(flat):
        raise TvmCodeError("the module's operators are TIR functions already: offload before it is tuned or legalised")
    fixed, results = list(_Reads(flat).fixed.values()), set(results_of(flat))
    strange = [b.var for b in fixed if not is_known(b.value) or b.var in results]
    wanted = [variable for variable in strange if isinstance(variable.ty, relax.TensorType)]
    if not wanted:
        return flat
    part = ModulePart(kinds=(), bindings=tuple(fixed), inputs=(), outputs=tuple(wanted))
    made = zip(wanted, results_of(tir_module(_module_of(part))), strict=True)
    return flat_module(flat, {variable: value for variable, value in made if is_constant(value)})


def parts_of(module: Any, core: Core) -> list[ModulePart]:
    """Return the parts of an `offloadable` module: µTVM's where it has families for the operators, else TVM's."""
    reads = _Reads(module)
    found: list[ModulePart] = []
    for run in _runs(reads.varying):
        known = is_known(run[0].value)
        found += _taken(run, reads, core) if known else [reads.part(run, "no operators of µTVM")]
    return list(_joined(found, reads))


def offloaded(module: Any, parts: Sequence[ModulePart], name: str) -> Offloaded:
    """Return parts as one graph, from the inputs of the module to its outputs.

    Raises:
        TvmCodeError: TVM can't lower one of its parts.
    """
    spliced = _Splice(module, name)
    for number, part in enumerate(parts):
        spliced.add(number, part)
    graph = Graph(
        name=name,
        operators=tuple(spliced.operators),
        inputs=tuple(spliced.known[parameter] for parameter in module["main"].params),
        outputs=tuple(spliced.result(each) for each in results_of(module)),
    )
    return Offloaded(graph=graph, parts=tuple(parts), part_of=spliced.part_of)


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


def _taken(run: Sequence[Any], reads: _Reads, core: Core) -> list[ModulePart]:
    """Return a run as µTVM's; where it is refused, its halves, as far as they are not."""
    part = reads.part(run)
    if not part.outputs:
        return [part]
    try:
        return [_own(part, core)]
    except UtvmError as error:
        if len(run) > 1:
            middle = len(run) // 2
            return _taken(run[:middle], reads, core) + _taken(run[middle:], reads, core)
        return [replace(part, reason=" ".join(str(error).split())[:300])]


def _own(part: ModulePart, core: Core) -> ModulePart:
    if not all(is_known(binding.value) for binding in part.bindings):
        raise TvmCodeError("no operators of µTVM")
    inputs = {variable: f"in_{number}" for number, variable in enumerate(part.inputs)}
    outputs = {variable: f"out_{number}" for number, variable in enumerate(part.outputs)}
    moved = graph_of_nodes(onnx_form(part.bindings, inputs, outputs), "part")
    graph = run_passes(moved.graph)
    if not macs(graph):
        raise TvmCodeError("there are no sums of products in it")
    for variable, tensor in zip((*part.inputs, *part.outputs), (*graph.inputs, *graph.outputs), strict=True):
        given = tensor_of(tensor.name, variable.ty)
        if given.dtype is not tensor.dtype and (given.dtype, tensor.dtype) != (DType.FLOAT32, DType.INT8):
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
            made = {binding.var for binding in reads.varying}
            reasons = dict.fromkeys(each.reason for each in waiting if each.reason)
            run = [binding for each in waiting for binding in each.bindings if binding.var in made]
            yield reads.part(run, "; ".join(reasons))
            waiting = []
        if part is not None:
            yield part


class _Splice:
    """The graph while parts are put together."""

    def __init__(self, module: Any, name: str) -> None:
        self.names = Names()
        self.labels = Names()
        self.known: dict[Any, Tensor] = {}
        self.operators: list[Operator] = []
        self.part_of: dict[str, int] = {}
        self.prefix = name
        for parameter in module["main"].params:
            self.known[parameter] = tensor_of(self.names.fresh(identifier(parameter.name)), parameter.ty)

    def result(self, value: Any) -> Tensor:
        """Return what the module gives back."""
        return self.known[value] if value in self.known else constant_tensor(self.names, value)

    def add(self, number: int, part: ModulePart) -> None:
        """Append the operators of a part."""
        before = len(self.operators)
        if part.own is None:
            graph = tir_graph(tir_module(_module_of(part)), f"{self.prefix}_{number}")
            given = dict(zip(graph.inputs, (self.known[v] for v in part.inputs), strict=True))
            made = self._copied(graph, given)
            self.known |= dict(zip(part.outputs, (made[t] for t in graph.outputs), strict=True))
        else:
            ends = zip(part.inputs, part.own.inputs, part.moved_in, strict=True)
            given = {inner: self._inward(self.known[v], inner, perm) for v, inner, perm in ends}
            made = self._copied(part.own, given)
            for variable, inner, perm in zip(part.outputs, part.own.outputs, part.moved_out, strict=True):
                self.known[variable] = self._outward(made[inner], tensor_of("", variable.ty), perm)
        self.part_of |= {op.name: number for op in self.operators[before:]}

    def _copied(self, graph: Graph, given: Mapping[Tensor, Tensor]) -> dict[Tensor, Tensor]:
        """Append a graph's operators; return what stands for its tensors."""
        made = dict(given)
        for op in graph.operators:
            for tensor in (*op.inputs, *op.outputs):
                if tensor not in made:
                    made[tensor] = replace(tensor, name=self.names.fresh(tensor.name))
            self.operators.append(replace(op.with_tensors(made), name=self.labels.fresh(op.name)))
        for tensor in graph.outputs:
            made.setdefault(tensor, tensor)
        return made

    def _inward(self, x: Tensor, wanted: Tensor, perm: Perm | None) -> Tensor:
        """Return what a part of µTVM reads for a tensor of TVM."""
        if wanted.dtype is not x.dtype:
            y = replace(x, name=self.names.fresh(f"{x.name}_quantized"), dtype=wanted.dtype, quant=wanted.quant)
            x = self._made(Quantize(name="", x=x, y=y))
        elif wanted.quant != x.quant:
            # A view that says which numbers the integers stand for.
            y = replace(x, name=self.names.fresh(f"{x.name}_units"), quant=wanted.quant)
            x = self._made(Reshape(name="", x=x, y=y))
        return x if perm is None else self._turned(x, perm)

    def _outward(self, x: Tensor, wanted: Tensor, perm: Perm | None) -> Tensor:
        """Return what TVM reads for a tensor of a part of µTVM."""
        if perm is not None:
            x = self._turned(x, tuple(perm.index(d) for d in range(len(perm))))
        if wanted.dtype is x.dtype:
            return x
        y = replace(x, name=self.names.fresh(f"{x.name}_real"), dtype=wanted.dtype, quant=None)
        return self._made(Dequantize(name="", x=x, y=y))

    def _turned(self, x: Tensor, perm: Perm) -> Tensor:
        shape = tuple(x.shape[d] for d in perm)
        y = replace(x, name=self.names.fresh(f"{x.name}_turned"), shape=shape)
        return self._made(Transpose(name="", x=x, y=y, perm=perm))

    def _made(self, op: Operator) -> Tensor:
        (y,) = op.outputs
        self.operators.append(replace(op, name=self.labels.fresh(y.name)))
        return y


def _module_of(part: ModulePart) -> Any:
    """Return a part as a Relax module."""
    builder, names = relax.BlockBuilder(), Names()
    known = {v: relax.Var(names.fresh(identifier(v.name)), v.ty) for v in part.inputs}
    with builder.function("main", list(known.values())):
        with builder.dataflow():
            for binding in part.bindings:
                known[binding.var] = builder.emit(replaced(binding.value, known))
            outputs = [builder.emit_output(known[variable]) for variable in part.outputs]
        builder.emit_func_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
    return builder.get()
