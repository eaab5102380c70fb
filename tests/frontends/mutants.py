"""Model files with one or two fields changed: options, types, shapes, quantisation, operator codes, buffers, unions."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import tflite

_SMALL = (-3, -2, -1, 0, 1, 2, 3, 4, 5, 8, 16, 127, 128, 255)
_SCALES = (0.0, -1.0, 1e-38, 1e-9, 0.003, 1 / 256, 1 / 128, 0.5, 1.0, 4.0, 1e9, float("inf"), float("nan"))
_CODES = (
    *(0, 1, 2, 3, 4, 6, 9, 14, 17, 18, 19, 22, 25, 28, 34),
    *(38, 40, 41, 45, 49, 53, 65, 83, 88, 97, 98, 114, 118, 119, 200),
)


def mutated(generator: random.Random, data: bytes) -> bytes:
    """Return a file that is still a flatbuffer, with some field of some table other than it was."""
    changed = bytearray(data)
    model = tflite.Model.GetRootAs(data, 0)
    for _ in range(generator.choice([1, 1, 1, 2])):
        generator.choice(_KINDS)(generator, changed, model)
    return bytes(changed)


def _slot(table: Any, number: int) -> int | None:
    """Return where field `number` of a table lies in the file, None where it has its default."""
    offset = table._tab.Offset(4 + 2 * number)
    return int(table._tab.Pos + offset) if offset else None


def _vector(table: Any, number: int) -> tuple[int, int]:
    """Return where the elements of a vector lie, and how many there are."""
    offset = table._tab.Offset(4 + 2 * number)
    return (table._tab.Vector(offset), table._tab.VectorLen(offset)) if offset else (0, 0)


def _write(changed: bytearray, place: int | None, layout: str, value: float) -> None:
    if place is not None and place + struct.calcsize(layout) <= len(changed):
        struct.pack_into(layout, changed, place, value)


def _graph(generator: random.Random, model: Any) -> Any:
    return model.Subgraphs(generator.randrange(model.SubgraphsLength()))


def _operator(generator: random.Random, model: Any) -> Any:
    graph = _graph(generator, model)
    return graph.Operators(generator.randrange(graph.OperatorsLength()))


def _tensor(generator: random.Random, model: Any) -> Any:
    graph = _graph(generator, model)
    return graph.Tensors(generator.randrange(graph.TensorsLength()))


def _options(generator: random.Random, changed: bytearray, model: Any) -> None:
    table = _operator(generator, model).BuiltinOptions()
    if table is None:
        return
    start = table.Pos - struct.unpack_from("<i", changed, table.Pos)[0]
    (size,) = struct.unpack_from("<H", changed, start)
    slots = [struct.unpack_from("<H", changed, start + at)[0] for at in range(4, size, 2)]
    offset = generator.choice([slot for slot in slots if slot] or [0])
    if offset:
        _write(changed, table.Pos + offset, "<b", generator.choice([-1, 0, 1, 2, 3, 4, 7, 100]))


def _union(generator: random.Random, changed: bytearray, model: Any) -> None:
    _write(changed, _slot(_operator(generator, model), 3), "<B", generator.randrange(128))


def _code(generator: random.Random, changed: bytearray, model: Any) -> None:
    code = model.OperatorCodes(generator.randrange(model.OperatorCodesLength()))
    value = generator.choice(_CODES)
    _write(changed, _slot(code, 0), "<b", min(value, 127))
    _write(changed, _slot(code, 3), "<i", value)


def _operands(generator: random.Random, changed: bytearray, model: Any) -> None:
    place, count = _vector(_operator(generator, model), generator.choice([1, 2]))
    if count:
        value = generator.randrange(-1, _graph(generator, model).TensorsLength() + 1)
        _write(changed, place + 4 * generator.randrange(count), "<i", value)


def _dtype(generator: random.Random, changed: bytearray, model: Any) -> None:
    _write(changed, _slot(_tensor(generator, model), 1), "<b", generator.choice([0, 1, 2, 3, 4, 6, 7, 9, 15]))


def _shape(generator: random.Random, changed: bytearray, model: Any) -> None:
    place, count = _vector(_tensor(generator, model), 0)
    if count:
        _write(changed, place + 4 * generator.randrange(count), "<i", generator.choice(_SMALL))


def _buffer_index(generator: random.Random, changed: bytearray, model: Any) -> None:
    _write(changed, _slot(_tensor(generator, model), 2), "<I", generator.randrange(model.BuffersLength() + 1))


def _scale(generator: random.Random, changed: bytearray, model: Any) -> None:
    quant = _tensor(generator, model).Quantization()
    if quant is not None:
        place, count = _vector(quant, 2)
        if count:
            _write(changed, place + 4 * generator.randrange(count), "<f", generator.choice(_SCALES))


def _zero_point(generator: random.Random, changed: bytearray, model: Any) -> None:
    quant = _tensor(generator, model).Quantization()
    if quant is not None:
        place, count = _vector(quant, 3)
        if count:
            value = generator.choice([-(2**40), -129, -128, -1, 0, 1, 5, 127, 128, 2**31])
            _write(changed, place + 8 * generator.randrange(count), "<q", value)


def _axis(generator: random.Random, changed: bytearray, model: Any) -> None:
    quant = _tensor(generator, model).Quantization()
    if quant is not None:
        _write(changed, _slot(quant, 6), "<i", generator.choice([-1, 0, 1, 2, 3, 4, 100]))


def _constant(generator: random.Random, changed: bytearray, model: Any) -> None:
    """Change a number of a small constant, which is an axis, a shape, a padding or a bias."""
    for _ in range(20):
        buffer = model.Buffers(generator.randrange(model.BuffersLength()))
        place, count = _vector(buffer, 0)
        if 4 <= count <= 256:
            _write(changed, place + 4 * generator.randrange(count // 4), "<i", generator.choice(_SMALL))
            return


_KINDS: tuple[Callable[[random.Random, bytearray, Any], None], ...] = (
    _options,
    _options,
    _union,
    _code,
    _operands,
    _dtype,
    _shape,
    _buffer_index,
    _scale,
    _zero_point,
    _axis,
    _constant,
)
