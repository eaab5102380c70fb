"""LSTM of float32 in plain C: the sums of a gate, some units at once, then the two states, step by step.

Not a schedule of loops: a step reads what the step before wrote, and a Compute never reads its own output.
"""

from __future__ import annotations

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter, float_literal
from utvm.cores import Core
from utvm.graph import DType, Lstm, Operator
from utvm.graph.recurrent import CELL_GATE, GATES
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.workload_keys import dims, workload

_UNITS = 4
"""Units at once: the sum of one need not wait for its last product, and their input is loaded once."""
_MULTIPLY_ADD = "utvm_multiply_add"


class PortableRealLstm(KernelFamily):
    """One step after another; each sum term by term, in the order of its inputs."""

    name = "portable"
    kinds = (Lstm,)
    dtypes = (DType.FLOAT32,)
    biases = (DType.FLOAT32,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an LSTM."""
        del core
        assert isinstance(op, Lstm)
        w = CWriter()
        _write(w, op)
        constants = {
            "input_weights": np.stack([t.values for t in op.input_weights]),
            "recurrent_weights": np.stack([t.values for t in op.recurrent_weights]),
            "biases": np.stack([t.values for t in op.biases]),
        }
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"lstm_{dims(op.x.shape)}_{op.units}_float",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    *(CParameter(name=name, c_type="float", role="input") for name in ("x", "hidden", "cell")),
                    *(CParameter(name=name, c_type="float", role="constant") for name in constants),
                    CParameter(name="gates", c_type="float", role="scratch"),
                    *(CParameter(name=n, c_type="float", role="output") for n in ("y", "next_hidden", "next_cell")),
                ),
                body=w.text,
                helpers=(_MULTIPLY_ADD, "utvm_logistic", "utvm_tanh"),
            ),
            constants={name: CArray(c_type="float", values=values) for name, values in constants.items()},
            scratch_bytes=4 * GATES * op.units,
        )


def _write(w: CWriter, op: Lstm) -> None:
    units, depth = op.units, op.x.shape[2]
    sequences, steps = op.sizes
    place = f"(t * {sequences} + s)" if op.time_major else f"(s * {steps} + t)"
    w(f"memcpy(next_hidden, hidden, {op.hidden.nbytes});", f"memcpy(next_cell, cell, {op.cell.nbytes});")
    with w.loop("s", sequences), w.loop("t", steps):
        w(f"const float *const now = x + {place} * {depth};")
        w(f"float *const before = next_hidden + s * {units};", f"float *const held = next_cell + s * {units};")
        with w.loop("g", GATES):
            whole = units // _UNITS * _UNITS
            for start, stop, count in ((0, whole, _UNITS), (whole, units, 1)):
                if start < stop:
                    with w.loop("u", stop, start=start, step=count):
                        _write_units(w, op, count)
        with w.loop("u", units):
            # Products are rounded before they are added, as tflite-micro keeps them.
            w(f"const float kept = gates[{units} + u] * held[u];")
            w(f"const float taken = gates[u] * gates[{2 * units} + u];")
            w("float c = kept + taken;")
            if op.cell_clip:
                clip = float_literal(float(op.cell_clip))
                w(f"c = c < -{clip} ? -{clip} : (c > {clip} ? {clip} : c);")
            w("held[u] = c;", f"before[u] = utvm_tanh(c) * gates[{3 * units} + u];")
        w(f"memcpy(y + {place} * {units}, before, {4 * units});")


def _write_units(w: CWriter, op: Lstm, count: int) -> None:
    """Write the gate `g` of `count` units from `u` on."""
    units, depth = op.units, op.x.shape[2]
    w(f"const int32_t row = g * {units} + u;")
    for name, source, weights, length in (
        ("a", "now", "input_weights", depth),
        ("b", "before", "recurrent_weights", units),
    ):
        w(*(f"float {name}{unit} = 0.0f;" for unit in range(count)))
        w(f"const float *w{name} = {weights} + row * {length};")
        with w.loop("i", length):
            w(f"const float v = {source}[i];")
            w(*(f"const float w{unit} = w{name}[{unit * length} + i];" for unit in range(count)))
            w(*(f"{name}{unit} = {_MULTIPLY_ADD}({name}{unit}, v, w{unit});" for unit in range(count)))
    for unit in range(count):
        w(f"const float sum{unit} = (a{unit} + biases[row + {unit}]) + b{unit};")
    for unit in range(count):
        w(f"gates[row + {unit}] = g == {CELL_GATE} ? utvm_tanh(sum{unit}) : utvm_logistic(sum{unit});")
