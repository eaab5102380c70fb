"""tflite-micro's signal operators over several runs: against its interpreter, and on three cores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tflite
from flatbuffers import flexbuffers

import utvm
from tests.support.drawer import Array
from tests.support.oracle import Oracle
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.flexbuffer import read_numbers
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_signal import SIGNAL
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Graph, Quantization, Tensor
from utvm.graph.reference import evaluate

_RUNS = 5
_TYPES = {"int16": 7, "int32": 2, "float32": 0}
"""What the option T of a transform says."""


def tensor(name: str, dtype: str, *shape: int) -> Tensor:
    quant = Quantization.per_tensor(0.1, 3) if dtype == "int8" else None
    return Tensor(name=name, shape=shape, dtype=DType(dtype), quant=quant)


def constant(name: str, data: Any) -> Tensor:
    return Tensor(name=name, shape=data.shape, dtype=DType(data.dtype.name), data=data)


@dataclass(frozen=True)
class Signal:
    """A file of one operator, its graph, and inputs of several runs."""

    kind: str
    file: bytes
    graph: Graph
    runs: list[list[Array]]


def drawn(kind: str, rng: np.random.Generator) -> Signal:
    xs, ys, options = OPERATORS[kind](rng)
    op = EncodedOperator(
        code=tflite.BuiltinOperator.CUSTOM,
        version=1,
        inputs=tuple(xs),
        outputs=tuple(ys),
        custom=kind.split("/")[0],
        custom_options=bytes(flexbuffers.Dumps(options)) if options else b"",
    )
    given = [x for x in xs if not x.is_constant]
    file = write_encoded("signal", given, ys, [op])
    runs = [[_values(x, rng) for x in given] for _ in range(_RUNS)]
    return Signal(kind, file, load_tflite(file, name="signal"), runs)


def _values(x: Tensor, rng: np.random.Generator) -> Array:
    if x.dtype is DType.FLOAT32:
        return rng.standard_normal(x.shape).astype(np.float32)
    if x.shape == ():
        return np.array(rng.integers(0, 8), x.dtype.value)
    bits = int(rng.integers(3, 8 * x.dtype.itemsize))
    if x.dtype is DType.UINT64 or x.dtype is DType.UINT32:
        return (rng.integers(0, 1 << 62, x.shape).astype(np.uint64) >> np.uint64(62 - bits)).astype(x.dtype.value)
    low = 0 if x.name == "noise" else -(1 << (bits - 1))
    return rng.integers(low, 1 << (bits - 1), x.shape).astype(x.dtype.value)


Drawn = tuple[Sequence[Tensor], Sequence[Tensor], dict[str, Any]]


def _window(rng: np.random.Generator) -> Drawn:
    size, rows = int(rng.integers(1, 20)), int(rng.integers(1, 4))
    weights = constant("w", rng.integers(-(2**15), 2**15, size).astype(np.int16))
    shape = (rows, size)
    return [tensor("x", "int16", *shape), weights], [tensor("y", "int16", *shape)], {"shift": int(rng.integers(0, 16))}


def _energy(rng: np.random.Generator) -> Drawn:
    count = int(rng.integers(2, 20))
    return (
        [tensor("x", "int16", 2 * count)],
        [tensor("y", "uint32", count)],
        {"start_index": 0, "end_index": count},
    )


def _auto_scale(rng: np.random.Generator) -> Drawn:
    size = int(rng.integers(1, 20))
    return [tensor("x", "int16", size)], [tensor("y", "int16", size), tensor("bits", "int32")], {}


def _filter_bank(rng: np.random.Generator) -> Drawn:
    channels, size = int(rng.integers(1, 6)), 30
    widths = rng.integers(0, 5, channels + 1).astype(np.int16)
    starts = rng.integers(0, size - 5, channels + 1).astype(np.int16)
    places = (np.cumsum(widths) - widths).astype(np.int16)
    many = max(1, int(widths.sum()))
    weights, unweights = (constant(n, rng.integers(-9, 4096, many).astype(np.int16)) for n in ("w", "u"))
    tables = [constant("s", starts), constant("p", places), constant("k", widths)]
    xs = [tensor("x", "uint32", size), weights, unweights, *tables]
    return xs, [tensor("y", "uint64", channels)], {"num_channels": channels}


def _square_root(rng: np.random.Generator) -> Drawn:
    size = int(rng.integers(1, 20))
    return [tensor("x", "uint64", size), tensor("bits", "int32")], [tensor("y", "uint32", size)], {}


def _spectral_subtraction(rng: np.random.Generator) -> Drawn:
    size, one = int(rng.integers(1, 9)), 1 << 14
    smoothing, other = (int(v) for v in rng.integers(1, one, 2))
    options = {
        "alternate_one_minus_smoothing": one - other,
        "alternate_smoothing": other,
        "clamping": bool(rng.integers(0, 2)),
        "min_signal_remaining": int(rng.integers(0, one)),
        "num_channels": size,
        "one_minus_smoothing": one - smoothing,
        "smoothing": smoothing,
        "smoothing_bits": int(rng.integers(0, 12)),
        "spectral_subtraction_bits": 14,
    }
    return [tensor("x", "uint32", size)], [tensor("y", "uint32", size), tensor("noise", "uint32", size)], options


def _pcan(rng: np.random.Generator) -> Drawn:
    size = int(rng.integers(1, 9))
    gains = constant("g", rng.integers(-9, 2**15, 125).astype(np.int16))
    xs = [tensor("x", "uint32", size), tensor("noise", "uint32", size), gains]
    return xs, [tensor("y", "uint32", size)], {"snr_shift": int(rng.integers(0, 12))}


def _log(rng: np.random.Generator) -> Drawn:
    size = int(rng.integers(1, 20))
    options = {"input_correction_bits": int(rng.integers(0, 5)), "output_scale": int(rng.integers(1, 1 << 16))}
    return [tensor("x", "uint32", size)], [tensor("y", "int16", size)], options


def _overlap_add(dtype: str) -> Any:
    def make(rng: np.random.Generator) -> Drawn:
        outer, frames, size = (int(v) for v in rng.integers(1, 5, 3))
        step = int(rng.integers(1, size + 1))
        x, y = tensor("x", dtype, outer, frames, size), tensor("y", dtype, outer, frames * step)
        return [x], [y], {"T": _TYPES[dtype], "frame_step": step}

    return make


def _delay(rng: np.random.Generator) -> Drawn:
    outer, size, length = (int(v) for v in rng.integers(1, 9, 3))
    return [tensor("x", "int16", outer, size)], [tensor("y", "int16", outer, size)], {"delay_length": length}


def _framer(rng: np.random.Generator) -> Drawn:
    outer, steps, step = (int(v) for v in rng.integers(1, 5, 3))
    size = step + int(rng.integers(0, 9))
    x, y = tensor("x", "int16", outer, steps * step), tensor("y", "int16", outer, steps, size)
    options = {"frame_size": size, "frame_step": step, "prefill": bool(rng.integers(0, 2))}
    return [x], [y, tensor("valid", "bool")], options


def _stacker(rng: np.random.Generator) -> Drawn:
    channels, left, right = (int(v) for v in rng.integers(1, 4, 3))
    size = channels * (left + right + 1)
    options = {
        "num_channels": channels,
        "stacker_left_context": left,
        "stacker_right_context": right,
        "stacker_step": int(rng.integers(1, left + right + 2)),
    }
    return [tensor("x", "int16", channels)], [tensor("y", "int16", size), tensor("valid", "bool")], options


def _rfft(dtype: str) -> Any:
    def make(rng: np.random.Generator) -> Drawn:
        points, outer = 1 << int(rng.integers(2, 9)), int(rng.integers(1, 3))
        length = points - int(rng.integers(0, points // 2))
        x, y = tensor("x", dtype, outer, length), tensor("y", dtype, outer, points + 2)
        return [x], [y], {"T": _TYPES[dtype], "fft_length": points}

    return make


def _irfft(dtype: str) -> Any:
    def make(rng: np.random.Generator) -> Drawn:
        points, outer = 1 << int(rng.integers(2, 9)), int(rng.integers(1, 3))
        x, y = tensor("x", dtype, outer, points + 2), tensor("y", dtype, outer, points)
        return [x], [y], {"T": _TYPES[dtype], "fft_length": points}

    return make


def _circular(rng: np.random.Generator) -> Drawn:
    slots, width, depth = (int(v) for v in rng.integers(2, 6, 3))
    x, y = tensor("x", "int8", 1, 1, width, depth), tensor("y", "int8", 1, slots, width, depth)
    return [x], [y], {"cycles_max": 1}


OPERATORS: dict[str, Any] = {
    "SignalWindow": _window,
    "SignalEnergy": _energy,
    "SignalFftAutoScale": _auto_scale,
    "SignalFilterBank": _filter_bank,
    "SignalFilterBankLog": _log,
    "SignalFilterBankSquareRoot": _square_root,
    "SignalFilterBankSpectralSubtraction": _spectral_subtraction,
    "SignalPCAN": _pcan,
    **{f"SignalOverlapAdd/{dtype}": _overlap_add(dtype) for dtype in ("int16", "float32")},
    "SignalDelay": _delay,
    "SignalFramer": _framer,
    "SignalStacker": _stacker,
    **{f"SignalRfft/{dtype}": _rfft(dtype) for dtype in _TYPES},
    **{f"SignalIrfft/{dtype}": _irfft(dtype) for dtype in _TYPES},
    "CIRCULAR_BUFFER": _circular,
}


@pytest.fixture(scope="module")
def every() -> list[Signal]:
    return [drawn(kind, np.random.default_rng(seed)) for seed in range(6) for kind in OPERATORS]


def test_every_operator_is_drawn() -> None:
    assert {kind.split("/")[0] for kind in OPERATORS} == set(SIGNAL)


def test_the_reference_is_tflite_micro(every: list[Signal]) -> None:
    """Float transforms apart, whose products a compiler may fuse: these are within 2 parts in a million."""
    for case in every:
        oracle, memory = Oracle(case.file), dict[str, Array]()
        for run, inputs in enumerate(case.runs):
            wanted = oracle.run(*inputs)
            got = list(evaluate(case.graph, inputs, memory=memory).values())
            if case.kind == "CIRCULAR_BUFFER":
                # Slots that no run filled hold what was in tflite-micro's memory; here zeros.
                got, wanted = ([each[0][:, -run - 1 :]] for each in (got, wanted))
            if "valid" in {t.name for t in case.graph.outputs}:
                assert bool(got[1]) == bool(wanted[1]), case.kind
                if not got[1]:
                    continue
            loose = 2e-6 if case.graph.outputs[0].dtype is DType.FLOAT32 else 0
            for value, want in zip(got, wanted, strict=True):
                scale = loose * float(np.abs(want).max()) if loose else 0
                np.testing.assert_allclose(
                    value, want.reshape(value.shape), rtol=0, atol=scale, err_msg=f"{case.kind} {case.graph}"
                )


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])
def test_on_a_core(every: list[Signal], board: str) -> None:
    with utvm.connect(board) as session:
        for case in every[: len(OPERATORS)]:
            model, memory = utvm.Model(session, utvm.compile(case.graph, board=board)), dict[str, Array]()
            for inputs in case.runs[:3]:
                wanted = evaluate(case.graph, inputs, memory=memory)
                for name, value in model.run(inputs).outputs.items():
                    np.testing.assert_array_equal(value, wanted[name], err_msg=f"{case.kind} {name}")


def test_options_that_do_not_fit_are_refused() -> None:
    x, y = tensor("x", "int16", 8), tensor("y", "int16", 8)
    for options in (b"", b"\x01", b"\x00" * 9, bytes(flexbuffers.Dumps({"shift": 99})), bytes(flexbuffers.Dumps(3))):
        code = tflite.BuiltinOperator.CUSTOM
        op = EncodedOperator(
            code=code, version=1, inputs=(x, x), outputs=(y,), custom="SignalWindow", custom_options=options
        )
        with pytest.raises(FrontendError, match="SignalWindow"):
            load_tflite(write_encoded("bad", (x,), (y,), [op]))


def test_damaged_options_are_refused() -> None:
    whole = bytes(flexbuffers.Dumps({"a": 1, "bcd": 70000, "e": 0.5, "f": True}))
    assert read_numbers(whole) == {"a": 1, "bcd": 70000, "e": 0.5, "f": 1}
    rng = np.random.default_rng(0)
    for _ in range(500):
        data = bytearray(whole[: int(rng.integers(0, len(whole) + 1))])
        for place in rng.integers(0, max(1, len(data)), 2):
            if data:
                data[place] = int(rng.integers(0, 256))
        try:
            read_numbers(bytes(data))
        except RefusedError:
            continue
