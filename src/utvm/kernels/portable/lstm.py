"""LSTM in plain C: four gates a step, two products each, then the two states.

Not a schedule of loops: a step reads what the step before wrote, and a Compute never reads its own output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import DType, Lstm, Operator
from utvm.graph.arithmetic import Requantization, lstm_parameters
from utvm.graph.recurrent import CELL_GATE, GATES
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.workload_keys import dims, workload


class PortableLstm(KernelFamily):
    """One step after another; the zero points of inputs are part of the biases."""

    name = "portable"
    kinds = (Lstm,)
    dtypes = (DType.INT8, DType.INT16, DType.INT32)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an LSTM."""
        del core
        assert isinstance(op, Lstm)
        p, units, depth = lstm_parameters(op), op.units, op.x.shape[2]
        sequences, steps = op.sizes
        stride = sequences if op.time_major else 1
        w = CWriter()
        w("int16_t *const gates = (int16_t *)(void *)scratch;")
        w(f"memcpy(next_hidden, hidden, {op.hidden.nbytes});", f"memcpy(next_cell, cell, {op.cell.nbytes});")
        with w.loop("s", sequences), w.loop("t", steps):
            place = f"(t * {stride} + s)" if op.time_major else f"(s * {steps} + t)"
            w(f"const int8_t *const now = x + {place} * {depth};")
            w(f"int8_t *const before = next_hidden + s * {units};")
            w(f"int16_t *const held = next_cell + s * {units};")
            with w.loop("g", GATES), w.loop("u", units):
                w(f"const int32_t row = g * {units} + u;")
                w("int32_t a = input_biases[row];", "int32_t b = recurrent_biases[row];")
                with w.loop("i", depth):
                    w(f"a += now[i] * input_weights[row * {depth} + i];")
                with w.loop("i", units):
                    w(f"b += before[i] * recurrent_weights[row * {units} + i];")
                w("const int32_t *const f = factors + 4 * g;")
                w("a = utvm_clamp(utvm_requantize_double(a, f[0], f[1]), INT16_MIN, INT16_MAX);")
                w("b = utvm_clamp(utvm_requantize_double(b, f[2], f[3]), INT16_MIN, INT16_MAX);")
                w("a = utvm_clamp(a + b, INT16_MIN, INT16_MAX);")
                argument = f"a, {p.gate[0]}, {p.gate[1]}"
                gate = f"g == {CELL_GATE} ? utvm_tanh_int16({argument}) : utvm_sigmoid_int16({argument})"
                w(f"gates[row] = (int16_t)({gate});")
            with w.loop("u", units):
                w(f"const int32_t kept = {_product(f'(int32_t)gates[{units} + u] * held[u]', p.forgetting)};")
                w(f"const int32_t taken = {_product(f'(int32_t)gates[u] * gates[{2 * units} + u]', p.taking)};")
                w("int32_t c = utvm_clamp(kept, INT16_MIN, INT16_MAX) + utvm_clamp(taken, INT16_MIN, INT16_MAX);")
                w("c = utvm_clamp(c, INT16_MIN, INT16_MAX);")
                if op.cell_clip:
                    w(f"c = utvm_clamp(c, -{op.cell_clip}, {op.cell_clip});")
                w("held[u] = (int16_t)c;")
                w(f"const int32_t shown = utvm_tanh_int16(c, {p.cell[0]}, {p.cell[1]});")
                value = _product(f"shown * gates[{3 * units} + u]", p.showing)
                w(f"before[u] = (int8_t)utvm_clamp({value} + {op.next_hidden.zero_point}, -128, 127);")
            w(f"memcpy(y + {place} * {units}, before, {units});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"lstm_{dims(op.x.shape)}_{units}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="hidden", c_type="int8_t", role="input"),
                    CParameter(name="cell", c_type="int16_t", role="input"),
                    CParameter(name="input_weights", c_type="int8_t", role="constant"),
                    CParameter(name="recurrent_weights", c_type="int8_t", role="constant"),
                    CParameter(name="input_biases", c_type="int32_t", role="constant"),
                    CParameter(name="recurrent_biases", c_type="int32_t", role="constant"),
                    CParameter(name="factors", c_type="int32_t", role="constant"),
                    CParameter(name="scratch", c_type="uint8_t", role="scratch"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                    CParameter(name="next_hidden", c_type="int8_t", role="output"),
                    CParameter(name="next_cell", c_type="int16_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_clamp", "utvm_requantize_double", "utvm_sigmoid_int16", "utvm_tanh_int16"),
            ),
            constants=_constants(op),
            scratch_bytes=2 * GATES * units,
        )


def _constants(op: Lstm) -> dict[str, CArray]:
    p = lstm_parameters(op)
    inputs, recurrences = (np.stack([t.values for t in ts]) for ts in (op.input_weights, op.recurrent_weights))
    biases = np.stack([t.values.astype(np.int64) for t in op.biases]) - op.x.zero_point * inputs.astype(np.int64).sum(
        axis=2
    )
    own = -op.hidden.zero_point * recurrences.astype(np.int64).sum(axis=2)
    factors = [(a.multiplier, a.shift, b.multiplier, b.shift) for a, b in zip(p.inputs, p.recurrences, strict=True)]
    return {
        "input_weights": CArray(c_type="int8_t", values=inputs),
        "recurrent_weights": CArray(c_type="int8_t", values=recurrences),
        "input_biases": _int32(biases),
        "recurrent_biases": _int32(own),
        "factors": _int32(np.array(factors)),
    }


def _int32(values: NDArray[Any]) -> CArray:
    return CArray(c_type="int32_t", values=values.astype(np.int32))


def _product(text: str, factor: Requantization) -> str:
    return f"utvm_requantize_double({text}, {factor.multiplier}, {factor.shift})"
