"""CMSIS-NN's functions of int16 activations and of float32, layer by layer, from a checkout of ARM-software/CMSIS-NN.

Each Conv2D, DepthwiseConv2D and FullyConnected is one call of the library's wrapper, compiled at -Ofast by the board's
compiler. The sources are read where they are; nothing of them is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray
from utvm.device import Session, build_image
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.formulas import limits
from utvm.toolchain import Source

Weighted = Conv2D | DepthwiseConv2D | FullyConnected

_PARTS = ("ConvolutionFunctions", "FullyConnectedFunctions", "NNSupportFunctions")
_SCRATCH = 1 << 15
_ENTRY = "peer_run"
_CLAMP = "{.min = -3.4e38f, .max = 3.4e38f}"


def measure_layer(
    session: Session, checkout: Path, op: Weighted, x: NDArray[Any], wanted: NDArray[Any]
) -> tuple[int, float]:
    """Return the modelled cycles of a layer by the library, and the largest difference of its output, relative.

    Args:
        session: the board.
        checkout: the folder of the library.
        op: the layer, of int16 or float32.
        x: its input.
        wanted: its output by our reference.
    """
    program = Source(name="peer.c", text=_program(op))
    image = build_image(
        session.board,
        [*_library(checkout), program],
        entries=[_ENTRY],
        optimize="-Ofast",
        extra_flags=("-w", "-fhosted", "-DARM_NN_ENABLE_F32=1"),
    )
    session.load(image)
    session.write("peer_x", np.ascontiguousarray(x).tobytes())
    measured = session.call(_ENTRY)
    assert measured.cycles is not None
    if any(session.read("peer_status", 4)):
        raise RuntimeError(f"CMSIS-NN refuses {op.name}")
    got = np.frombuffer(session.read("peer_y", op.y.nbytes), wanted.dtype).astype(np.float64)
    off = np.abs(got - wanted.reshape(-1)).max() / max(1e-9, float(np.abs(wanted.astype(np.float64)).max()))
    return measured.cycles, float(off)


@lru_cache(maxsize=1)
def _library(checkout: Path) -> tuple[Source, ...]:
    files = [*(checkout / "Include").rglob("*.h"), *(checkout / "Source").rglob("*.h")]
    for part in _PARTS:
        files += sorted((checkout / "Source" / part).glob("*.c"))
    found = []
    for file in files:
        if "f16" in file.name and file.suffix == ".c":
            continue
        text = re.sub(r'#include "(\.\./)*Internal/', '#include "', file.read_text(encoding="utf-8"))
        found.append(Source(name=file.name, text=text))
    return tuple(found)


def _program(op: Weighted) -> str:
    """Return the C of one call."""
    real = op.x.dtype is DType.FLOAT32
    element = "float" if real else "int16_t"
    count = op.weights.shape[3 if isinstance(op, DepthwiseConv2D) else 0]
    bias = np.zeros(count, np.float32 if real else np.int64) if op.bias is None else op.bias.values
    arrays = [
        CArray(c_type="float" if real else "int8_t", values=op.weights.values).render("peer_weights"),
        CArray(c_type="float" if real else "int64_t", values=bias).render("peer_bias"),
    ]
    if not real:
        table = channel_requantization(op)
        arrays.append(CArray(c_type="int32_t", values=table.multiplier).render("peer_multiplier"))
        arrays.append(CArray(c_type="int32_t", values=table.shift).render("peer_shift"))
    kind, arguments = _call(op, real)
    head = '#include "arm_nnfunctions.h"\n' + ('#include "arm_nnfunctions_flt.h"\n' if real else "")
    return f"""{head}
{chr(10).join(arrays)}
{element} peer_x[{op.x.elements}], peer_y[{op.y.elements}];
int32_t peer_status;
static int8_t peer_scratch[{_SCRATCH}] __attribute__((aligned(8)));

void {_ENTRY}(void) {{
  const cmsis_nn_context context = {{peer_scratch, sizeof peer_scratch}};
{arguments}
  peer_status = {kind};
}}
"""


def _call(op: Weighted, real: bool) -> tuple[str, str]:
    """Return the call, and the declarations of what it takes."""
    suffix = "_f32" if real else "_s16"
    low, high = (0, 0) if real else limits(op)
    clamp = _CLAMP if real else f"{{.min = {low}, .max = {high}}}"
    if isinstance(op, FullyConnected):
        units, inputs = op.weights.shape
        rows = op.x.elements // inputs
        dims = {"x": (rows, 1, 1, inputs), "w": (inputs, 1, 1, units), "b": (1, 1, 1, units), "y": (rows, 1, 1, units)}
        lines = [f"  const cmsis_nn_fc_params{'_f32' if real else ''} params = {{.activation = {clamp}}};"]
        quant = ""
        if not real:
            lines.append("  const cmsis_nn_per_tensor_quant_params quant = {peer_multiplier[0], peer_shift[0]};")
            quant = "&quant, "
        last = ", ARM_NN_LAYOUT_NHWC" if real else ""
        call = f"arm_fully_connected{suffix}(&context, &params, {quant}&x, peer_x, &w, peer_weights, &b, peer_bias, "
        return f"{call}&y, peer_y{last})", "\n".join([*lines, *_dims(dims)])
    depthwise = isinstance(op, DepthwiseConv2D)
    out = op.y.shape[3]
    rows, columns = op.weights.shape[1:3]
    dims = {
        "x": op.x.shape,
        "w": (1 if depthwise else out, rows, columns, op.weights.shape[3]),
        "b": (1, 1, 1, out),
        "y": op.y.shape,
    }
    many = f".ch_mult = {op.multiplier}, " if isinstance(op, DepthwiseConv2D) else ""
    kind = f"cmsis_nn_{'dw_conv' if depthwise else 'conv'}_params{'_f32' if real else ''}"
    lines = [
        f"  const {kind} params = {{{many}.stride = {_tile(op.stride)}, "
        f".padding = {_tile((op.padding.top, op.padding.left))}, .dilation = {_tile(op.dilation)}, "
        f".activation = {clamp}}};"
    ]
    quant = "" if real else "&quant, "
    if not real:
        values = "{(int32_t *)peer_multiplier, (int32_t *)peer_shift}"
        lines.append(f"  const cmsis_nn_per_channel_quant_params quant = {values};")
    bias = "peer_bias"
    if not real and not depthwise:
        lines.append("  const cmsis_nn_bias_data bias = {peer_bias, false};")
        bias = "&bias"
    name = f"arm_{'depthwise_conv' if depthwise else 'convolve'}_wrapper{suffix}"
    call = f"{name}(&context, &params, {quant}&x, peer_x, &w, peer_weights, &b, {bias}, &y, peer_y)"
    return call, "\n".join([*lines, *_dims(dims)])


def _dims(dims: dict[str, tuple[int, ...]]) -> list[str]:
    return [
        f"  const cmsis_nn_dims {name} = {{.n = {n}, .h = {h}, .w = {w}, .c = {c}}};"
        for name, (n, h, w, c) in dims.items()
    ]


def _tile(pair: tuple[int, int]) -> str:
    return f"{{.w = {pair[1]}, .h = {pair[0]}}}"
