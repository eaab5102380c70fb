"""An ONNX file as plain values. What it claims is checked before it is read; nothing outside its folder is opened.

Source: the ONNX specification (onnx.proto, IR version 3 to 13), read with the `onnx` package.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.errors import FrontendError
from utvm.graph.names import printable
from utvm.prerequisites import how_to_add

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Of a model, and of all that it has in files beside it."""
MAX_NODES = 20_000
OLDEST_OPSET = 7
_DEEPEST = 4
"""Of loops and branches in each other."""

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_FOREIGN = "Export it with standard operators alone; operators of other domains are code that nobody has here."
_LAYOUT_DOMAIN = "com.microsoft.nchwc."
_OF_ONE_MACHINE = (
    "onnxruntime optimised it for the machine that it ran on: give the model from before, or save it with the "
    "optimisation level ORT_ENABLE_EXTENDED."
)
_FIX_SHAPES = (
    "Fix every dimension but the batch when exporting, or afterwards: `python -m "
    "onnxruntime.tools.make_dynamic_shape_fixed --input_name NAME --input_shape 1,3,224,224 MODEL.onnx FIXED.onnx`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """A node of the graph.

    Attributes:
        index: its place in the file.
        inputs, outputs: names of values; an empty one is absent.
        attributes: plain values: int, float, str, tuples of them, arrays.
        bodies: graphs that it runs, by the attribute that has each.
        scope: name in the file → name of the value here, for what its bodies read from around them.
        within: the loop or branch that it is a part of; empty for a node of the model itself.
    """

    index: int
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    bodies: Mapping[str, OnnxBody] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    within: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all values that it needs, those of its bodies included."""
        captured = {self.scope.get(name, name): None for body in self.bodies.values() for name in body.captured}
        return (*filter(None, self.inputs), *captured)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxBody:
    """A graph that a node runs: a branch, or one step of a loop.

    Attributes:
        nodes: in execution order.
        inputs, outputs: names within the body, but for outputs that it only hands on.
        constants: initializers.
        captured: names that it reads from around it.
    """

    nodes: tuple[OnnxNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]
    captured: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxModel:
    """The graph of a file, its nodes in execution order.

    Attributes:
        inputs: name → shape; a batch that is left open is 1.
        input_types: name → numpy's name of the type.
        constants: initializers.
        opset: version of the standard operators.
    """

    nodes: tuple[OnnxNode, ...]
    inputs: Mapping[str, tuple[int, ...]]
    input_types: Mapping[str, str]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]
    opset: int


def read_onnx(data: bytes, source: str, folder: Path | None) -> OnnxModel:
    """Read a file's bytes.

    Args:
        data: the file.
        source: what errors call it.
        folder: where its external data may lie; None allows none.

    Raises:
        FrontendError: the `onnx` package is missing, the file is damaged, or has a form that is not supported.
    """
    try:
        import onnx
    except ImportError as error:
        advice = [f"Install it: {how_to_add('onnx')}"]
        raise FrontendError(source, ["reading ONNX needs the onnx package"], advice=advice) from error
    if len(data) > MAX_FILE_BYTES:
        raise FrontendError(source, [f"the file has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"])
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise FrontendError(source, ["this is not an ONNX file, or it is damaged"]) from error
    try:
        return _Reader(model, source, folder).read()
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise FrontendError(source, [f"the file is damaged: {_short(error)}"]) from error


class _Reader:
    def __init__(self, model: Any, source: str, folder: Path | None) -> None:
        self.model = model
        self.source = source
        self.folder = folder
        self.left = MAX_FILE_BYTES
        """Bytes of constants that may still be read."""
        self.nodes = 0
        self.foreign: dict[str, None] = {}

    def read(self) -> OnnxModel:
        graph = self.model.graph
        if not graph.node or not graph.output:
            raise self._error("the model has no operators, or no outputs")
        self._check(graph, 0)
        if self.foreign:
            shown = ", ".join(list(self.foreign)[:5])
            advice = _OF_ONE_MACHINE if any(_LAYOUT_DOMAIN in name for name in self.foreign) else _FOREIGN
            raise self._error(f"it uses operators of its own domains: {shown}", advice)
        constants = {tensor.name: self._array(tensor) for tensor in graph.initializer}
        inputs, types = self._inputs(constants)
        nodes = tuple(self._node(index, node) for index, node in enumerate(graph.node))
        return OnnxModel(
            nodes=self._sorted(nodes, {*constants, *inputs}),
            inputs=inputs,
            input_types=types,
            outputs=tuple(value.name for value in graph.output),
            constants=constants,
            opset=self._opset(),
        )

    def _check(self, graph: Any, depth: int) -> None:
        """Check what a graph claims, and all graphs in it."""
        self.nodes += len(graph.node)
        if self.nodes > MAX_NODES or len(graph.initializer) > 4 * MAX_NODES:
            raise self._error(f"the file has {self.nodes:,} operators or more; at most {MAX_NODES:,} are read")
        if depth > _DEEPEST:
            raise self._error(f"loops and branches are more than {_DEEPEST} deep")
        if len(graph.sparse_initializer):
            raise self._error("it has sparse constants", "Store them dense.")
        local = {(function.domain, function.name) for function in self.model.functions}
        for node in graph.node:
            if (node.domain, node.op_type) in local:
                advice = "Inline its functions: onnx.inliner.inline_local_functions(model)."
                raise self._error(f"it calls a function of its own ('{printable(node.op_type)}')", advice)
            if node.domain not in _DOMAINS:
                self.foreign[f"'{printable(node.domain)}.{printable(node.op_type)}'"] = None
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    self._check(attribute.g, depth + 1)

    def _opset(self) -> int:
        versions = [item.version for item in self.model.opset_import if item.domain in ("", "ai.onnx")]
        opset = int(versions[0]) if versions else 1
        if opset < OLDEST_OPSET:
            advice = "Convert it: onnx.version_converter.convert_version(model, 13)."
            raise self._error(f"it is of opset {opset}; {OLDEST_OPSET} and newer are read", advice)
        return opset

    def _inputs(self, constants: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
        import onnx

        shapes: dict[str, tuple[int, ...]] = {}
        types: dict[str, str] = {}
        problems = []
        for value in self.model.graph.input:
            if value.name in constants:
                continue
            tensor = value.type.tensor_type
            if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
                problems.append(f"input '{printable(value.name)}' has no shape")
                continue
            sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
            if sizes and sizes[0] <= 0:
                sizes[0] = 1
            if any(size <= 0 for size in sizes):
                names = [
                    printable(dim.dim_param) or "?" if not dim.dim_value else str(dim.dim_value)
                    for dim in tensor.shape.dim
                ]
                problems.append(f"input '{printable(value.name)}' has open dimensions: [{', '.join(names)}]")
            shapes[value.name] = tuple(sizes)
            types[value.name] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        if problems:
            raise FrontendError(self.source, problems, advice=[_FIX_SHAPES])
        return shapes, types

    def _node(self, index: int, node: Any) -> OnnxNode:
        return OnnxNode(
            index=index,
            kind=printable(node.op_type),
            name=printable(node.name),
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={a.name: self._attribute(node, a) for a in node.attribute if not a.HasField("g")},
            bodies={a.name: self._body(a.g) for a in node.attribute if a.HasField("g")},
        )

    def _body(self, graph: Any) -> OnnxBody:
        constants = {tensor.name: self._array(tensor) for tensor in graph.initializer}
        nodes = tuple(self._node(index, node) for index, node in enumerate(graph.node))
        inputs, outputs = (tuple(value.name for value in values) for values in (graph.input, graph.output))
        own = {*constants, *inputs}
        made = {name for node in nodes for name in node.outputs}
        read = [name for node in nodes for name in node.reads] + list(outputs)
        captured = tuple(dict.fromkeys(name for name in read if name not in own and name not in made))
        return OnnxBody(
            nodes=self._sorted(nodes, {*own, *captured}),
            inputs=inputs,
            outputs=outputs,
            constants=constants,
            captured=captured,
        )

    def _attribute(self, node: Any, attribute: Any) -> Any:
        import onnx

        kinds = onnx.AttributeProto
        if attribute.type == kinds.TENSOR:
            return self._array(attribute.t)
        if attribute.type not in (kinds.INT, kinds.INTS, kinds.FLOAT, kinds.FLOATS, kinds.STRING, kinds.STRINGS):
            raise self._error(
                f"attribute '{printable(attribute.name)}' of '{printable(node.op_type)}' is not supported"
            )
        value = onnx.helper.get_attribute_value(attribute)
        values = value if isinstance(value, Sequence) and not isinstance(value, bytes) else [value]
        plain = tuple(printable(v.decode("utf-8", errors="replace")) if isinstance(v, bytes) else v for v in values)
        return plain if values is value else plain[0]

    def _array(self, tensor: Any) -> NDArray[Any]:
        """Return a constant, of which the file holds exactly what its shape claims."""
        import onnx

        name = printable(tensor.name)
        dims = tuple(tensor.dims)
        if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
            raise self._error(f"constant '{name}' holds no numbers")
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        size = math.prod(dims) * dtype.itemsize
        if len(dims) > 8 or any(d < 0 for d in dims) or size > self.left:
            raise self._error(f"constant '{name}' claims the shape {list(dims)[:9]}: too large, or the file is damaged")
        self.left -= size
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raw = self._external(tensor, name, size)
            return np.frombuffer(raw, dtype.newbyteorder("<")).reshape(dims).astype(dtype)
        try:
            return np.array(onnx.numpy_helper.to_array(tensor))
        except Exception as error:
            raise self._error(f"constant '{name}' of shape {list(dims)} is damaged: {_short(error)}") from error

    def _external(self, tensor: Any, name: str, size: int) -> bytes:
        """Return the bytes of a constant in a file beside the model."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        offset = int(entries.get("offset", "0") or 0)
        if self.folder is None:
            raise self._error(f"constant '{name}' lies in another file", "Give the path of the model, not its bytes.")
        path = (self.folder / location).resolve()
        if not location or not path.is_relative_to(self.folder.resolve()):
            advice = "Data of a model are read from its own folder only: put the file there and store its bare name."
            raise self._error(f"constant '{name}' names a file outside of the model's folder", advice)
        if not path.is_file():
            raise self._error(f"constant '{name}' is in '{printable(location)}', which is not there")
        with path.open("rb") as file:
            if not 0 <= offset <= path.stat().st_size:
                raise self._error(f"constant '{name}' begins behind the end of '{printable(location)}'")
            file.seek(offset)
            raw: bytes = file.read(size)
        if len(raw) != size:
            raise self._error(
                f"constant '{name}' needs {size:,} bytes of '{printable(location)}', which has {len(raw):,}"
            )
        return raw

    def _sorted(self, nodes: Sequence[OnnxNode], known: set[str]) -> tuple[OnnxNode, ...]:
        """Return nodes so that each comes after what it reads; most files are in order already."""
        producers: dict[str, OnnxNode] = {}
        for node in nodes:
            for name in filter(None, node.outputs):
                if name in producers or name in known:
                    raise self._error(f"value '{printable(name)}' is made twice")
                producers[name] = node
        # Of the nodes that can run, the first in the file comes next.
        missing = {node.index: {name for name in node.reads if name not in known} for node in nodes}
        readers: dict[str, list[OnnxNode]] = {}
        for node in nodes:
            for name in missing[node.index]:
                readers.setdefault(name, []).append(node)
        ready = [index for index, names in missing.items() if not names]
        ordered: list[OnnxNode] = []
        while ready:
            node = nodes[heapq.heappop(ready)]
            ordered.append(node)
            for name in node.outputs:
                for reader in readers.get(name, ()):
                    missing[reader.index].discard(name)
                    if not missing[reader.index]:
                        heapq.heappush(ready, reader.index)
        if len(ordered) < len(nodes):
            waiting = [(node, name) for node in nodes for name in missing[node.index]]
            node, name = min(waiting, key=lambda pair: (pair[1] in producers, pair[0].index, pair[1]))
            reason = "which is part of a cycle" if name in producers else "which nothing makes"
            what = f"node {node.index} {node.kind} reads '{printable(name)}'"
            raise self._error(f"{what}, {reason}: the file is damaged")
        return tuple(ordered)

    def _error(self, problem: str, advice: str = "") -> FrontendError:
        return FrontendError(self.source, [problem], advice=[advice] if advice else [])


def _short(error: BaseException) -> str:
    return printable(str(error).split("\n")[0]) or type(error).__name__
