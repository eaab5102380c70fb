"""Other code for cores without the DSP extension beside ours, all of it compiled from plain C or C++ and counted alike.

    python benchmarks/plain_c_peers.py --tflite-micro DIR --gemmlowp DIR --models DIR
                                       [--boards B,B] [--cxx-headers DIR ...] [--json FILE] [--write]

Whole networks by CMSIS-NN 4.0.0 and by BakeNN (both of `utvm[bench]`). Of tflite-micro the reference kernels: each
Conv2D, DepthwiseConv2D and FullyConnected of a network is one call with its weights and activations. The first two
options are checkouts of tensorflow/tflite-micro and google/gemmlowp, of which nothing is kept here. All are compiled by
the board's own compiler at -Ofast, and compared with our reference. A compiler without the C++ library (picolibc's)
takes the headers of another one from --cxx-headers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tables import DOCS, write_table

from utvm import api
from utvm.bench.bakenn import PORTABLE, measure_bakenn
from utvm.bench.cmsis_nn import measure_cmsis_nn
from utvm.boards import Board
from utvm.device import Session, build_image
from utvm.frontends import load
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.profiling import profile
from utvm.toolchain import Source

NETWORKS = ("kws_dscnn_int8", "ic_resnet8_int8", "ad_autoencoder_int8")
_ENTRY = "utvm_run_peer"
_OPTIMIZE = "-Ofast"
_FLAGS = ("-std=gnu++17", "-fno-rtti", "-fno-exceptions", "-fno-threadsafe-statics", "-ffunction-sections", "-w")
_DEFINES = ("-DNDEBUG", "-DTF_LITE_STATIC_MEMORY")
"""As tflite-micro's own makefile builds a release."""
_INTERNAL = "tensorflow/lite/kernels/internal"
_KERNELS = {
    Conv2D: "ConvPerChannel",
    DepthwiseConv2D: "DepthwiseConvPerChannel",
    FullyConnected: "FullyConnectedPerChannel",
}
_PARAMETERS = {Conv2D: "ConvParams", DepthwiseConv2D: "DepthwiseParams", FullyConnected: "FullyConnectedParams"}

Weighted = Conv2D | DepthwiseConv2D | FullyConnected


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A network on a board. Modelled cycles.

    Attributes:
        ours, cmsis_nn, bakenn: of the whole network, the peers without what they lack.
        layers: weighted layers.
        ours_weighted, tflite_micro: of these alone.
        exact: whether all outputs of all were as they should be.
    """

    network: str
    board: str
    ours: int
    cmsis_nn: int
    bakenn: int
    layers: int
    ours_weighted: int
    tflite_micro: int
    exact: bool

    @property
    def line(self) -> str:
        """The row of a table."""
        whole, weighted = self.ours, self.ours_weighted
        cells = [
            *(f"{whole / 1e6:.3f}", _beside(self.cmsis_nn, whole), _beside(self.bakenn, whole)),
            *(f"{weighted / 1e6:.3f}", _beside(self.tflite_micro, weighted), "yes" if self.exact else "no"),
        ]
        return f"| {self.network} | {self.board} | {' | '.join(cells)} |"


def _beside(cycles: int, ours: int) -> str:
    return f"{cycles / 1e6:.3f} ({cycles / ours:.1f}x)"


def main() -> None:
    """Print a row for each network and board."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tflite-micro", type=Path, required=True, metavar="DIR")
    parser.add_argument("--gemmlowp", type=Path, required=True, metavar="DIR")
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--boards", default="qemu-cortex-m3,qemu-riscv32")
    parser.add_argument("--cxx-headers", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--json", type=Path, default=Path("plain_c_peers.jsonl"), metavar="FILE")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/benchmarks.md")
    arguments = parser.parse_args()
    folders = [arguments.tflite_micro, arguments.gemmlowp, *arguments.cxx_headers]
    for name in arguments.boards.split(","):
        board = api.as_board(name)
        for network in NETWORKS:
            (model,) = arguments.models.rglob(f"{network}.tflite")
            row = _row(model, board, folders)
            with arguments.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(row.line, flush=True)
    if arguments.write:
        held = [json.loads(line) for line in arguments.json.read_text(encoding="utf-8").splitlines()]
        rows = {(each["network"], each["board"]): Row(**each) for each in held}
        head = [
            "| network | board | ours | CMSIS-NN 4.0.0 | BakeNN | ours, weighted layers | tflite-micro | exact |",
            "|---|---|--:|--:|--:|--:|--:|---|",
        ]
        write_table(DOCS / "benchmarks.md", "plain C", [*head, *(row.line for row in rows.values())])


def _row(model: Path, board: Board, folders: list[Path]) -> Row:
    graph = load(model)
    inputs = {tensor.name: random_input(tensor, 0) for tensor in graph.inputs}
    values = evaluate(graph, inputs, keep=True)
    layers = [op for op in graph.operators if isinstance(op, Weighted)]
    theirs, exact = 0, True
    with api.connect(board) as session:
        peers = (
            measure_cmsis_nn(session, graph, inputs),
            measure_bakenn(session, graph, PORTABLE, inputs),
        )
        for op in layers:
            cycles, held = _measured(session, op, values[op.x.name], folders)
            theirs += cycles
            exact = exact and bool((held == values[op.y.name].reshape(-1)).all())
    report, _ = profile(model, board, records="none")
    kinds = [kind.__name__ for kind in _KERNELS]
    return Row(
        network=graph.name,
        board=board.name,
        ours=report.cycles or 0,
        cmsis_nn=peers[0].cycles or 0,
        bakenn=peers[1].cycles or 0,
        layers=len(layers),
        ours_weighted=sum(each.cycles or 0 for each in report.operators if each.kind in kinds),
        tflite_micro=theirs,
        exact=exact and all(peer.exact for peer in peers),
    )


def _measured(session: Session, op: Weighted, x: NDArray[np.int8], folders: list[Path]) -> tuple[int, NDArray[np.int8]]:
    """Return the cycles of a layer by its reference kernel, and what it made."""
    core = session.board.core
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "peer.cc").write_text(_program(op), encoding="utf-8")
        search = [part for each in folders for part in ("-isystem", str(each.resolve()))]
        tool = [f"{core.tool_prefix}g++", *core.cflags, *core.isa.specs, _OPTIMIZE, *_FLAGS, *_DEFINES, *search]
        subprocess.run([*tool, "-S", "peer.cc", "-o", "peer.S"], cwd=folder, check=True)
        code = Source(name="peer.S", text=(Path(folder) / "peer.S").read_text(encoding="utf-8"))
    arrays = Source(name="peer_arrays.c", text=_arrays(op))
    session.load(build_image(session.board, [code, arrays], entries=[_ENTRY], optimize=_OPTIMIZE))
    session.write("peer_x", np.ascontiguousarray(x).tobytes())
    measured = session.call(_ENTRY)
    assert measured.cycles is not None
    return measured.cycles, np.frombuffer(session.read("peer_y", op.y.nbytes), np.int8)


def _program(op: Weighted) -> str:
    """Return the C++ of a call of a layer's kernel."""
    fields = {
        "input_offset": -op.x.zero_point,
        "output_offset": op.y.zero_point,
        "quantized_activation_min": op.clamp[0],
        "quantized_activation_max": op.clamp[1],
    }
    shapes = {"x": op.x.shape, "weights": op.weights.shape, "bias": (op.y.shape[-1],), "y": op.y.shape}
    if isinstance(op, FullyConnected):
        shapes["y"] = op.x.elements // op.weights.shape[1], op.weights.shape[0]
    else:
        fields |= {
            "stride_height": op.stride[0],
            "stride_width": op.stride[1],
            "dilation_height_factor": op.dilation[0],
            "dilation_width_factor": op.dilation[1],
            "padding_values.height": op.padding.top,
            "padding_values.width": op.padding.left,
        }
    if isinstance(op, DepthwiseConv2D):
        fields["depth_multiplier"] = op.multiplier
    sizes = "\n".join(
        f"static const int32_t {name}_sizes[] = {{{', '.join(map(str, shape))}}};" for name, shape in shapes.items()
    )
    shaped = {name: f"tflite::RuntimeShape({len(shape)}, {name}_sizes), peer_{name}" for name, shape in shapes.items()}
    kind = type(op)
    # They are two types where int32_t is long.
    shift = "int" if kind is FullyConnected else "int32_t"
    return f"""
#include "{_INTERNAL}/reference/integer_ops/conv.h"
#include "{_INTERNAL}/reference/integer_ops/depthwise_conv.h"
#include "{_INTERNAL}/reference/integer_ops/fully_connected.h"
#include "{_INTERNAL}/common.cc"
#include "{_INTERNAL}/runtime_shape.cc"

extern "C" {{
extern int8_t peer_x[], peer_y[];
extern const int8_t peer_weights[];
extern const int32_t peer_bias[], peer_multiplier[];
extern const int peer_shift[];

void {_ENTRY}(void) {{
  {sizes}
  tflite::{_PARAMETERS[kind]} parameters{{}};
  {" ".join(f"parameters.{name} = {value};" for name, value in fields.items())}
  tflite::reference_integer_ops::{_KERNELS[kind]}(
      parameters, peer_multiplier, reinterpret_cast<const {shift} *>(peer_shift),
      {shaped["x"]}, {shaped["weights"]}, {shaped["bias"]}, {shaped["y"]});
}}
}}
"""


def _arrays(op: Weighted) -> str:
    """Return the C of what a layer's kernel reads and writes."""
    table = channel_requantization(op)
    bias = np.zeros(table.multiplier.size, np.int32) if op.bias is None else op.bias.values
    constants = {
        "int8_t peer_weights": op.weights.values,
        "int32_t peer_bias": bias,
        "int32_t peer_multiplier": table.multiplier,
        "int peer_shift": table.shift,
    }
    lines = ["#include <stdint.h>", *(f"int8_t peer_{each}[{t.nbytes}];" for each, t in (("x", op.x), ("y", op.y)))]
    for name, values in constants.items():
        numbers = ", ".join(str(int(value)) for value in values.reshape(-1))
        lines += [f"extern const {name}[{values.size}];", f"const {name}[{values.size}] = {{{numbers}}};"]
    return "\n".join([*lines, ""]).replace("-2147483648", "INT32_MIN")


if __name__ == "__main__":
    main()
