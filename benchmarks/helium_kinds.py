"""Layers that are neither products nor pooling, in plain C and by vectors of Helium: a table of docs/helium.md.

    python benchmarks/helium_kinds.py [--write]

Each layer runs on the emulated Cortex-M55 by the first portable family that takes it, and as it is compiled by default.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tables import DOCS, write_table

from utvm import api
from utvm.codegen import RUN_SYMBOL
from utvm.device import Session, build_image
from utvm.graph import (
    BatchMatMul,
    Concatenation,
    Dequantize,
    DType,
    Graph,
    Mean,
    Mul,
    Operator,
    Pad,
    Quantization,
    Quantize,
    Reduction,
    ResizeBilinear,
    ResizeNearestNeighbor,
    StridedSlice,
    Tensor,
    Transpose,
)
from utvm.graph.functions import reducer
from utvm.kernels import PORTABLE_FAMILIES
from utvm.lowering import Options, Program, lower

BOARD = "qemu-cortex-m55"
_SCALE, _ZERO_POINT = 0.05, 3


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help="write the table into docs/helium.md")
    arguments = parser.parse_args()
    lines = list(kinds_table())
    print("\n".join(lines))
    if arguments.write:
        write_table(DOCS / "helium.md", "helium-kinds", lines)


def kinds_table() -> Iterator[str]:
    """Yield a row a layer: modelled cycles of an output in plain C and as compiled by default."""
    yield "| layer | family | plain C | by default | times |"
    yield "|---|---|--:|--:|--:|"
    with api.connect(BOARD) as session:
        core = session.board.core
        for op in _layers():
            graph = Graph(name="layer", operators=(op,), inputs=op.activations, outputs=op.outputs)
            plain = next(family for family in PORTABLE_FAMILIES if family.applies(op, core))
            choice = {op.name: (plain, plain.default(op, core))}
            before = _cycles(session, lower(graph, core, Options(choices=choice)))
            program = lower(graph, core, Options())
            after = _cycles(session, program)
            outputs = sum(y.elements for y in op.outputs)
            family = program.calls[0].kernel.family
            yield f"| {op.name} | {family} | {before / outputs:.2f} | {after / outputs:.2f} | {before / after:.1f} |"


def _cycles(session: Session, program: Program) -> int:
    session.load(build_image(session.board, api.image_sources(program.name, program.render()), entries=[RUN_SYMBOL]))
    cycles = session.call(RUN_SYMBOL).cycles
    assert cycles is not None
    return cycles


def _tensor(name: str, shape: tuple[int, ...], scale: float = _SCALE, dtype: DType = DType.INT8) -> Tensor:
    quant = Quantization.per_tensor(scale, _ZERO_POINT) if dtype is DType.INT8 else None
    return Tensor(name=name, shape=shape, dtype=dtype, quant=quant)


def _layers() -> Iterator[Operator]:
    x = _tensor("x", (1, 48, 48, 16))
    yield _resized(x, (96, 96), half=True)
    yield _resized(_tensor("x", (1, 30, 30, 21)), (65, 65), half=False)
    yield _resized(_tensor("x", (1, 48, 48, 1)), (96, 96), half=True)
    small = _tensor("x", (1, 24, 24, 32))
    yield ResizeNearestNeighbor(
        name="nearest, 24 x 24 x 32 to 48 x 48", x=small, y=_tensor("y", (1, 48, 48, 32)),
        align_corners=False, half_pixel_centers=False,
    )  # fmt: skip
    yield _turned("transposition, 24 x 24 x 32 to channels first", small, (0, 3, 1, 2))
    yield _turned("channels first to 24 x 24 x 32", _tensor("x", (1, 32, 24, 24)), (0, 2, 3, 1))
    yield _turned("3 channels first to 96 x 96 x 3", _tensor("x", (1, 3, 96, 96)), (0, 2, 3, 1))
    yield _turned("shuffle of two groups of 58 channels", _tensor("x", (1, 576, 2, 58)), (0, 1, 3, 2))
    yield StridedSlice(
        name="every second of 48 x 48 x 16 channels", x=x, y=_tensor("y", (1, 48, 48, 8)), begin=(0, 0, 0, 0),
        strides=(1, 1, 1, 2), shrink=(),
    )  # fmt: skip
    parts = tuple(_tensor(f"x{n}", (1, 24, 24, 5)) for n in range(3))
    yield Concatenation(name="three times 5 channels", xs=parts, y=_tensor("y", (1, 24, 24, 15)), axis=3)
    borders = ((0, 0), (1, 1), (1, 1), (0, 0))
    yield Pad(name="padding of 48 x 48 x 16", x=x, y=_tensor("y", (1, 50, 50, 16)), paddings=borders, value=3)
    yield Mean(name="mean over 12 channels", x=_tensor("x", (1, 24, 24, 12)), y=_tensor("y", (1, 24, 24, 1)), axes=(3,))
    most = reducer("ReduceMax")
    yield Reduction(name="most of 24 x 24", x=small, y=_tensor("y", (1, 1, 1, 32)), axes=(1, 2), reducer=most)
    runs, total = _tensor("x", (64, 64)), _tensor("y", (64, 1), 1.0)
    yield Reduction(name="sums of 64 neighbours", x=runs, y=total, axes=(1,), reducer=reducer("Sum"))
    a, b, c = _tensor("a", (4, 64, 32)), _tensor("b", (4, 64, 32)), _tensor("c", (4, 64, 64))
    name = "product, 4 times 64 x 32 and 64 x 32 turned"
    yield BatchMatMul(name=name, a=a, b=b, y=_tensor("y", (4, 64, 64), 0.2), turned_b=True)
    yield BatchMatMul(name="product, 4 times 64 x 64 and 64 x 32", a=c, b=b, y=_tensor("y", (4, 64, 32), 0.2))
    shape = (1, 96, 96, 3)
    yield Quantize(name="from float32, 96 x 96 x 3", x=_tensor("x", shape, dtype=DType.FLOAT32), y=_tensor("y", shape))
    yield Dequantize(name="to float32, 24 x 24 x 32", x=small, y=_tensor("y", small.shape, dtype=DType.FLOAT32))
    one = _tensor("b", (1, 24, 24, 1))
    yield Mul(name="product of 24 x 24 x 32 and one channel", a=small, b=one, y=_tensor("y", small.shape, 0.1))


def _resized(x: Tensor, size: tuple[int, int], *, half: bool) -> Operator:
    _, height, width, channels = x.shape
    how = "" if half else ", corners aligned"
    return ResizeBilinear(
        name=f"bilinear, {height} x {width} x {channels} to {size[0]} x {size[1]}{how}",
        x=x, y=_tensor("y", (1, *size, channels)), align_corners=not half, half_pixel_centers=half,
    )  # fmt: skip


def _turned(name: str, x: Tensor, perm: tuple[int, ...]) -> Operator:
    return Transpose(name=name, x=x, y=_tensor("y", tuple(x.shape[axis] for axis in perm)), perm=perm)


if __name__ == "__main__":
    main()
