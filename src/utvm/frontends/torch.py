"""PyTorch: a program of torch.export → Graph in float32, or in int8 where a pt2e quantiser quantised it.

Programs come as objects or as .pt2 files, which are read without PyTorch: its readers fall back to pickle, which runs
code.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from utvm.frontends.builder import FLOAT_NAMES, GraphBuilder
from utvm.frontends.errors import FrontendError
from utvm.frontends.onnx_quantized import Steps, with_steps
from utvm.frontends.problems import Problems
from utvm.frontends.pt2 import read_pt2
from utvm.frontends.qdq import integers_of, is_quantised
from utvm.frontends.refusal import RefusedError
from utvm.frontends.torch_constants import OF_SHAPES, computed
from utvm.frontends.torch_integers import ON_INTEGERS
from utvm.frontends.torch_layers import CONVERTERS, Converter
from utvm.frontends.torch_movement import VIEWS
from utvm.frontends.torch_node import TorchNode, Value
from utvm.frontends.torch_program import TorchCall, TorchProgram, program_of
from utvm.frontends.torch_quantized import dequantize, quantize
from utvm.frontends.whole_numbers import COMPUTED_ALONE, WHOLE_NAMES
from utvm.graph import DType, Graph, GraphError, Tensor
from utvm.graph.names import printable

_PLACES = "it reads the places of maxima, or statistics of a layer, which are not supported"
_MOVING = VIEWS | {"squeeze_copy", "clone"}
"""What may be done to integers as to floats."""
_OF_TRUTH = _MOVING | {"where", "masked_fill", "to", "_to_copy", "float", "logical_and", "logical_or", "logical_not"}
_OF_TRUTH |= {"scaled_dot_product_attention", "zeros_like", "ones_like", "full_like"}
_OF_TRUTH |= {"bitwise_and", "bitwise_or", "bitwise_not", "__and__", "__or__"}
"""What reads truth values as they are; other operators read them as 0 and 1."""
_CONTROL = (
    "Write branches and loops whose way is known in plain Python, which torch.export traces: `if` on shapes, `for` "
    "over a number of steps."
)
_OTHERS = (
    "Write the module with other operators. Where a .pt2 file is refused give the module itself, since PyTorch spells "
    "out more then: utvm.quantize(module, samples, example_inputs=(example,))."
)
_FLOAT_INSTEAD = "Give the float module and typical inputs: utvm.compile(module, board, data=samples) quantises it."


def exported_graph(program: Any, *, name: str = "model") -> Graph:
    """Return the graph of a `torch.export.ExportedProgram`.

    Raises:
        FrontendError: with every problem found: node, reason.
    """
    plain = program_of(program)
    if not _known(plain):
        # PyTorch spells out what is not known, and changes in place.
        plain = program_of(_spelled_out(program, name))
    return _Importer(plain, name, name).graph()


def _known(program: TorchProgram) -> bool:
    """Whether each call has a conversion here and none changes what another value is a part of."""
    parts = _parts(program)
    return all(_conversion(call) is not None and not _shared_in_place(call, parts) for call in program.calls)


def _spelled_out(program: Any, name: str) -> Any:
    import torch

    table = torch.export.default_decompositions()
    for operator in list(table):
        if str(operator).removeprefix("aten.").partition(".")[0] in {**ON_INTEGERS, **CONVERTERS}:
            table.pop(operator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return program.run_decompositions(table)
    except Exception as error:
        text = str(error).split("\n")[0][:200]
        raise FrontendError(name, [f"run_decompositions of its program fails: {text}"]) from error


def _conversion(call: TorchCall) -> Converter | None:
    if call.kind.startswith("quantized_decomposed."):
        return quantize
    kind = call.kind.removeprefix("aten.").partition(".")[0]
    named = call.kind.startswith("aten.") or kind == "getitem"
    known = {**ON_INTEGERS, **CONVERTERS}
    return (known.get(kind) or known.get(kind.removesuffix("_"))) if named else None


def _in_place(call: TorchCall) -> bool:
    kind = call.kind.removeprefix("aten.").partition(".")[0]
    return kind.endswith("_") and not kind.endswith("__")


def _parts(program: TorchProgram) -> Mapping[str, int]:
    """Return for each value how many values share its memory, by what calls may make views."""
    root: dict[str, str] = {}
    for call in program.calls:
        kind = call.kind.removeprefix("aten.").partition(".")[0]
        read = call.references()
        if read and (kind in VIEWS or _in_place(call)):
            root |= dict.fromkeys(call.outputs, root.get(read[0], read[0]))
    views = Counter(
        root[name] for call in program.calls for name in call.outputs if name in root and not _in_place(call)
    )
    return {name: views[root.get(name, name)] for call in program.calls for name in (*call.outputs, *call.references())}


def _shared_in_place(call: TorchCall, parts: Mapping[str, int]) -> bool:
    return _in_place(call) and any(parts.get(name, 0) for name in call.references()[:1])


def load_pt2(path: Path) -> Graph:
    """Import a file of torch.export.save.

    Raises:
        FrontendError: with every problem found.
    """
    return _Importer(read_pt2(path), path.stem, path.name).graph()


def exported_module(module: Any, example_inputs: tuple[Any, ...]) -> Any:
    """Return a module in evaluation mode as a `torch.export.ExportedProgram`.

    Raises:
        FrontendError: it can't be traced.
    """
    import torch

    was_training = module.training
    try:
        return torch.export.export(module.eval(), tuple(example_inputs))
    except Exception as error:
        advice = ["Give a module without branches on data, and example inputs of one sample each."]
        text = str(error).split("\n")[0][:200]
        raise FrontendError(type(module).__name__, [f"torch.export fails: {text}"], advice=advice) from error
    finally:
        module.train(was_training)


class _Importer:
    def __init__(self, program: TorchProgram, name: str, source: str) -> None:
        self.program = program
        self.source = source
        self.builder = GraphBuilder(name)
        self.problems = Problems()
        self.values: dict[str, Value | tuple[Value, ...]] = dict(program.constants)
        self.parts = _parts(program)
        self.absent: set[str] = set()
        """Results of layers that are not made: places of maxima, statistics."""
        self.steps: dict[str, Steps] = {}
        """Constant → which integers it stands for."""

    def graph(self) -> Graph:
        self._inputs()
        for index, call in enumerate(self.program.calls):
            self._convert(index, call)
        made = [None if name is None else self.values.get(name) for name in self.program.outputs]
        outputs = [(f"output_{i}", value) for i, value in enumerate(made) if isinstance(value, Tensor)]
        if (len(outputs) != len(made) or not made) and not self.problems.texts:
            lost = next((name for name in self.program.outputs if name is not None and name not in self.values), None)
            known = "an output does not depend on the inputs"
            self.problems.of_file(known if lost is None else f"nothing makes output '{printable(lost)}'")
        if self.problems.texts:
            raise FrontendError(self.source, self.problems.texts, advice=self.problems.advice)
        try:
            graph = self.builder.graph(outputs)
            return integers_of(graph, self.source, _FLOAT_INSTEAD) if is_quantised(graph) else graph
        except GraphError as error:
            raise FrontendError(self.source, [str(error)]) from error

    def _inputs(self) -> None:
        for name, (shape, dtype) in self.program.inputs.items():
            shown = printable(name)
            sizes = tuple(size for size in shape if isinstance(size, int))
            if len(sizes) != len(shape):
                self.problems.of_file(f"input '{shown}' has open dimensions {list(map(str, shape))}: export it without")
            elif dtype not in (*FLOAT_NAMES, *WHOLE_NAMES):
                self.problems.of_file(f"input '{shown}' is {dtype}; floats or integers are expected")
            else:
                is_real = dtype in FLOAT_NAMES or self._is_cast(name)
                try:
                    self.values[name] = self.builder.input(name, sizes, DType.FLOAT32 if is_real else DType.INT32)
                except RefusedError as reason:
                    self.problems.of_file(f"input '{shown}': {reason}")

    def _is_cast(self, name: str) -> bool:
        """Whether all that is done with an input of integers is a cast to floats."""
        readers = [call for call in self.program.calls if name in call.references()]
        casts = [call for call in readers if call.kind.startswith(("aten.to.", "aten._to_copy."))]
        others = [call for call in readers if call not in casts and "_assert_tensor_metadata" not in call.kind]
        types = [str(arg) for call in casts for arg in (*call.args[1:], *call.kwargs.values())]
        floats = sum(arg.removeprefix("torch.") in FLOAT_NAMES for arg in types)
        return bool(casts) and not others and floats == len(casts) and name not in self.program.outputs

    def _convert(self, index: int, call: TorchCall) -> None:
        kind = printable(call.kind.removeprefix("aten."))
        if any(name in self.absent for name in call.references()):
            self.problems.of_operator(index, kind, _PLACES)
            return
        if any(name not in self.values for name in call.references()):
            return
        read = [self.values[name] for name in call.references()[:1]]
        if kind == "getitem" and isinstance(read[0], tuple) and int(call.args[1]) >= len(read[0]):
            # Who reads what is not made is refused then.
            self.absent.add(call.name)
            return
        self.builder.place = call.name
        try:
            # What is not finite is refused by name.
            with np.errstate(all="ignore"):
                self._keep(call, self._converted(call))
        except RefusedError as reason:
            self.problems.of_operator(index, kind, str(reason), reason.advice)
        except Exception as error:
            self.problems.of_operator(index, kind, f"its arguments are not understood ({type(error).__name__})")

    def _keep(self, call: TorchCall, made: Value | tuple[Value, ...]) -> None:
        if _in_place(call):
            # Whoever reads the operand from here on reads what it became.
            self.values[call.references()[0]] = made
        if len(call.outputs) == 1:
            self.values[call.outputs[0]] = made
        elif isinstance(made, tuple):
            self.values |= dict(zip(call.outputs, made, strict=False))
        else:
            self.values[call.outputs[0]] = made

    def _converted(self, call: TorchCall) -> Value | tuple[Value, ...]:
        node = TorchNode(call, self.builder, self.values)
        kind = node.kind.partition(".")[0]
        if call.kind.startswith("quantized_decomposed."):
            if kind == "quantize_per_tensor":
                return quantize(node)
            if kind in ("dequantize_per_tensor", "dequantize_per_channel"):
                value, steps = dequantize(node)
                if steps is not None:
                    self.steps[call.outputs[0]] = steps
                return value
            raise RefusedError("this operator is not supported", _FLOAT_INSTEAD)
        read = [self.values[name] for name in call.references()]
        known = not any(isinstance(value, Tensor | tuple) for value in read)
        if (known or kind in OF_SHAPES) and kind != "getitem":
            folded = computed(node)
            if folded is not None:
                return folded
        convert = _conversion(call)
        if convert is None and call.kind.startswith("higher_order."):
            raise RefusedError("it branches or loops at run time", _CONTROL)
        if convert is None:
            raise RefusedError("this operator is not supported", _OTHERS)
        if _shared_in_place(call, self.parts):
            raise RefusedError("it changes in place what another value is a part of", _OTHERS)
        types = {v.dtype for v in map(self.values.get, call.references()) if isinstance(v, Tensor)}
        if DType.INT8 in types:
            raise RefusedError("it reads integers, outside of a pair of quantisation and dequantisation")
        if DType.INT32 in types and kind.removesuffix("_") not in _MOVING:
            convert = ON_INTEGERS.get(kind)
            if convert is None:
                raise RefusedError(COMPUTED_ALONE)
        if DType.BOOL in types and kind.removesuffix("_") not in _OF_TRUTH:
            node = node.in_floats()
        before = len(self.builder.operators)
        made = convert(node)
        units = [self.steps.get(getattr(arg, "name", "")) for arg in call.args]
        if any(units):
            self.builder.operators[before:] = [
                with_steps(op, units, turned=False) for op in self.builder.operators[before:]
            ]
        return made
