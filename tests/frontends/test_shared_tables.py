"""Small files whose tables are named again and again: they are refused, or cost no more than what they hold."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import flatbuffers
import numpy as np
import pytest
import tflite

from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.flatbuffer import read_flatbuffer

CODES = tflite.BuiltinOperator


class Maker:
    """Writes files in which one table may stand in many places."""

    def __init__(self) -> None:
        self.b = flatbuffers.Builder(1 << 16)

    def table(self, kind: str, **fields: int) -> int:
        getattr(tflite, f"{kind}Start")(self.b)
        for name, value in fields.items():
            getattr(tflite, f"{kind}Add{name}")(self.b, value)
        return int(getattr(tflite, f"{kind}End")(self.b))

    def tables(self, items: Sequence[int]) -> int:
        self.b.StartVector(4, len(items), 4)
        for item in reversed(items):
            self.b.PrependUOffsetTRelative(item)
        return int(self.b.EndVector())

    def integers(self, *values: int) -> int:
        return int(self.b.CreateNumpyVector(np.array(values, np.int32)))

    def subgraph(self, tensors: Sequence[int], operators: Sequence[int], inputs: int, outputs: int) -> int:
        of = {"Tensors": self.tables(tensors), "Operators": self.tables(operators)}
        return self.table("SubGraph", **of, Inputs=inputs, Outputs=outputs)

    def file(self, code: int, subgraphs: Sequence[int], buffers: Sequence[int]) -> bytes:
        codes = self.tables([self.table("OperatorCode", BuiltinCode=code, DeprecatedBuiltinCode=min(code, 127))])
        of = {"Subgraphs": self.tables(subgraphs), "Buffers": self.tables(buffers)}
        self.b.Finish(self.table("Model", Version=3, OperatorCodes=codes, **of), b"TFL3")
        return bytes(self.b.Output())


def test_options_that_many_operators_share() -> None:
    m = Maker()
    options = m.b.CreateByteVector(bytes(100_000))
    x, y = m.integers(0), m.integers(1)
    op = m.table("Operator", Inputs=x, Outputs=y, CustomOptions=options)
    tensor = m.table("Tensor", Shape=m.integers(1, 4), Type=tflite.TensorType.INT8)
    data = m.file(CODES.CUSTOM, [m.subgraph([tensor] * 2, [op] * 2000, x, y)], [m.table("Buffer")])
    with pytest.raises(FrontendError, match=r"words of options .* damaged or too large"):
        load_tflite(data, name="shared")


def test_a_subgraph_that_many_calls_share() -> None:
    m = Maker()
    none, x, y = m.integers(), m.integers(0), m.integers(1)
    calls = []
    for index in range(1, 900):
        options = m.table("CallOnceOptions", InitSubgraphIndex=index)
        kind = tflite.BuiltinOptions.CallOnceOptions
        calls.append(m.table("Operator", Inputs=none, Outputs=none, BuiltinOptionsType=kind, BuiltinOptions=options))
    tensor = m.table("Tensor", Shape=m.integers(1, 4), Type=tflite.TensorType.INT8)
    main = m.subgraph([tensor] * 2, calls, x, y)
    once = m.subgraph([tensor] * 3000, [], none, none)
    data = m.file(CODES.CALL_ONCE, [main] + [once] * 900, [m.table("Buffer")])
    with pytest.raises(FrontendError, match="damaged or too large"):
        load_tflite(data, name="shared")


def test_a_buffer_that_many_tensors_share_is_held_once() -> None:
    m = Maker()
    content = m.b.CreateByteVector(bytes(1 << 20))
    buffers = [m.table("Buffer"), m.table("Buffer", Data=content)]
    tensor = m.table("Tensor", Shape=m.integers(1 << 10, 1 << 10), Type=tflite.TensorType.INT8, Buffer=1)
    x = m.integers(0)
    data = m.file(CODES.RELU, [m.subgraph([tensor] * 2000, [], x, x)], buffers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    raw = read_flatbuffer(data, "shared")
    assert len(raw.tensors) == 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # KiB
    first, second = (tensor.data for tensor in raw.tensors[:2])
    assert first is not None
    assert second is not None
    assert np.shares_memory(first, second)
