"""The C of one small network, kept for each kind of core, so that a review sees what a change does to the output.

`UTVM_UPDATE_GOLDEN=1 python -m pytest tests/codegen` writes the files anew.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from utvm.cores import get_core
from utvm.graph import (
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    MaxPool2D,
    Padding,
    Quantization,
    Softmax,
    Tensor,
)
from utvm.lowering import lower

GOLDEN = Path(__file__).parent / "golden"


def activation(name: str, *shape: int, scale: float = 0.1, zero_point: int = -3) -> Tensor:
    quant = Quantization.per_tensor(scale, zero_point)
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant)


def constant(name: str, values: np.ndarray, *, axis: int | None = None) -> Tensor:
    dtype = DType(str(values.dtype))
    quant = None
    if dtype is DType.INT8:
        count = 1 if axis is None else values.shape[axis]
        scales = tuple(float(np.float32(0.01 * (i + 1))) for i in range(count))
        quant = Quantization(scale=scales, zero_point=(0,) * count, axis=axis)
    return Tensor(name=name, shape=values.shape, dtype=dtype, quant=quant, data=values)


def small_network() -> Graph:
    generator = np.random.default_rng(7)

    def weights(name: str, *shape: int, axis: int) -> Tensor:
        return constant(name, generator.integers(-127, 128, shape).astype(np.int8), axis=axis)

    def bias(name: str, size: int) -> Tensor:
        return constant(name, generator.integers(-500, 500, size).astype(np.int32))

    x, a, b = activation("x", 1, 6, 6, 4), activation("a", 1, 6, 6, 4), activation("b", 1, 6, 6, 4)
    c, d = activation("c", 1, 3, 3, 4), activation("d", 1, 3)
    y = activation("y", 1, 3, scale=1 / 256, zero_point=-128)
    around = Padding(top=1, bottom=1, left=1, right=1)
    return Graph(
        name="small",
        operators=(
            Conv2D(
                name="conv", x=x, weights=weights("w0", 4, 3, 3, 4, axis=0), bias=bias("b0", 4), y=a, padding=around
            ),
            DepthwiseConv2D(
                name="depthwise", x=a, weights=weights("w1", 1, 3, 3, 4, axis=3), bias=None, y=b, padding=around
            ),
            MaxPool2D(name="pool", x=b, y=c, filter=(2, 2), stride=(2, 2)),
            FullyConnected(name="dense", x=c, weights=weights("w2", 3, 36, axis=0), bias=bias("b2", 3), y=d),
            Softmax(name="softmax", x=d, y=y),
        ),
        inputs=(x,),
        outputs=(y,),
    )


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m7", "rv32imc"])
def test_the_c_is_what_was_reviewed(core: str) -> None:
    files = lower(small_network(), get_core(core)).render()
    folder = GOLDEN / core
    if os.environ.get("UTVM_UPDATE_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())} == files
