"""A Relax module as one graph: µTVM's operators for the parts that it takes over, TVM's functions for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utvm.graph import Dequantize, DType, Graph, Operator, Quantization, Quantize, Reshape, Tensor, Transpose
from utvm.graph.names import Names
from utvm.tvm.flat import results_of
from utvm.tvm.module import constant_tensor, tensor_of, tir_graph, tir_module
from utvm.tvm.parts import ModulePart, Perm, module_of
from utvm.tvm.printer import identifier

_SHIFT = 128
"""Zero points of uint8 are higher by this than those of int8."""


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


class _Splice:
    """The graph while parts are put together."""

    def __init__(self, module: Any, name: str) -> None:
        self.names = Names()
        self.labels = Names()
        self.known: dict[Any, Tensor] = {}
        self.operators: list[Operator] = []
        self.part_of: dict[str, int] = {}
        self.module = module
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
            graph = tir_graph(tir_module(module_of(part, self.module)), f"{self.prefix}_{number}")
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
        if x.dtype is DType.UINT8 and wanted.dtype is DType.INT8:
            y = replace(x, name=self.names.fresh(f"{x.name}_units"), quant=_shifted(wanted, _SHIFT))
            x = self._made(Reshape(name="", x=x, y=y))
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
        if wanted.dtype is DType.UINT8:
            name = self.names.fresh(f"{x.name}_unsigned")
            return self._made(
                Quantize(name="", x=x, y=replace(x, name=name, dtype=DType.UINT8, quant=_shifted(x, _SHIFT)))
            )
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


def _shifted(x: Tensor, shift: int) -> Quantization:
    """Return the units of a tensor's values where all stand for less by `shift` steps."""
    return Quantization.per_tensor(x.scale, x.zero_point + shift)
