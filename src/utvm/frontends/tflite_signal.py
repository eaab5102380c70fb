"""The operators of tflite-micro's signal library, and its circular buffer: custom operators of its files.

Each is a routine in C, whose parameters are numbers of the operator's options; what tflite-micro keeps inside of an
operator from run to run is state of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.context import Context, expect_shape, same_quantisation
from utvm.frontends.flexbuffer import Number, read_numbers
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_parts import Converted
from utvm.graph import Concatenation, DType, Foreign, Operator, StridedSlice, Tensor
from utvm.graph.routines import FFT_TYPES, fft_routine, routine

_LARGEST = 1 << 20
_MOST_POINTS = 1 << 15
"""Of a transform; places are int16."""
_GAINS = 125
"""Entries of a table of gains: up to two behind those of the 32nd interval."""
_SCALED_BITS = 31


def _options(c: Context, *names: str) -> list[int]:
    """Return options by their names: whole numbers that are neither huge nor missing."""
    found: Mapping[str, Number] = read_numbers(c.raw.custom_options)
    values = []
    for name in names:
        if name not in found:
            raise RefusedError(f"its option '{name}' is missing")
        values.append(int(found[name]))
        if abs(values[-1]) >= 1 << 31:
            raise RefusedError(f"its option '{name}' is {values[-1]}")
    return values


def _bounded(what: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise RefusedError(f"its {what} is {value}, {least} to {most} is expected")
    return value


def _typed(tensor: Tensor, *types: DType) -> Tensor:
    if tensor.dtype not in types:
        raise RefusedError(f"tensor '{tensor.name}': its type is {tensor.dtype}, {' or '.join(types)} is expected")
    return tensor


def _ports(c: Context, inputs: Sequence[DType], outputs: Sequence[DType]) -> tuple[list[Tensor], list[Tensor]]:
    """Return inputs and outputs of some types; refuse other numbers of them."""
    c.arity((len(inputs),), len(outputs))
    if c.is_once:
        raise RefusedError("it is not computed before the first run")
    xs = [_typed(c.any_input(i), dtype) for i, dtype in enumerate(inputs)]
    return xs, [_typed(c.any_output(i), dtype) for i, dtype in enumerate(outputs)]


def _numbers(c: Context, *values: int) -> Tensor:
    return c.constant_made("parameters", np.array(values, np.int32))


def _made(c: Context, name: str, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Operator:
    return Foreign(name=c.name, function=routine(name), xs=tuple(xs), ys=tuple(ys))


def _kept(c: Context, what: str, initial: NDArray[Any], after: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what an operator finds from the last run, and what it leaves for the next, a new tensor if None."""
    name = "inside", c.name, what
    first = c.constant_made(f"{what}/first", initial)
    quant = None if after is None else after.quant
    before = Tensor(name=c.fresh(f"{what}/before"), shape=first.shape, dtype=first.dtype, quant=quant)
    if after is None:
        after = Tensor(name=c.fresh(f"{what}/after"), shape=first.shape, dtype=first.dtype)
    c.variables.begin(name, first)
    found = c.variables.read(name, before)
    c.variables.assign(name, after)
    return found, after


def _window(c: Context) -> Converted:
    (x, weights), (y,) = _ports(c, (DType.INT16, DType.INT16), (DType.INT16,))
    (shift,) = _options(c, "shift")
    expect_shape(y, x.shape)
    if len(weights.shape) != 1 or x.elements % weights.elements:
        raise RefusedError(f"weights of shape {list(weights.shape)} do not fit {list(x.shape)}")
    return _made(c, "SignalWindow", [x, weights, _numbers(c, _bounded("shift", shift, 0, _SCALED_BITS))], [y])


def _energy(c: Context) -> Converted:
    (x,), (y,) = _ports(c, (DType.INT16,), (DType.UINT32,))
    end, start = _options(c, "end_index", "start_index")
    if x.elements % 2 or y.elements > x.elements // 2 or not 0 <= start <= end <= y.elements:
        raise RefusedError(f"places {start} to {end} do not fit {list(x.shape)} and {list(y.shape)}")
    return _made(c, "SignalEnergy", [x, _numbers(c, start, end)], [y])


def _auto_scale(c: Context) -> Converted:
    (x,), (y, bits) = _ports(c, (DType.INT16,), (DType.INT16, DType.INT32))
    expect_shape(y, x.shape)
    expect_shape(bits, ())
    return _made(c, "SignalFftAutoScale", [x], [y, bits])


def _filter_bank(c: Context) -> Converted:
    types = (DType.UINT32, *[DType.INT16] * 5)
    xs, (y,) = _ports(c, types, (DType.UINT64,))
    (channels,) = _options(c, "num_channels")
    expect_shape(y, (channels,))
    weights, unweights, starts, places, widths = (c.constant(i, DType.INT16).astype(np.int64) for i in range(1, 6))
    if weights.shape != unweights.shape or not starts.shape == places.shape == widths.shape == (channels + 1,):
        raise RefusedError(f"its tables do not fit {channels} channels")
    used = widths > 0
    if (
        np.minimum(starts, places)[used].min(initial=0) < 0
        or (starts + widths)[used].max(initial=0) > xs[0].elements
        or (places + widths)[used].max(initial=0) > weights.size
    ):
        raise RefusedError("a band lies outside of its input or its weights")
    return _made(c, "SignalFilterBank", xs, [y])


def _square_root(c: Context) -> Converted:
    xs, (y,) = _ports(c, (DType.UINT64, DType.INT32), (DType.UINT32,))
    expect_shape(y, xs[0].shape)
    expect_shape(xs[1], ())
    return _made(c, "SignalFilterBankSquareRoot", xs, [y])


def _spectral_subtraction(c: Context) -> Converted:
    (x,), (y, noise) = _ports(c, (DType.UINT32,), (DType.UINT32, DType.UINT32))
    names = ("smoothing", "alternate_smoothing", "one_minus_smoothing", "alternate_one_minus_smoothing", "clamping")
    *shares, channels, smoothing_bits, bits, least = _options(
        c, *names, "num_channels", "smoothing_bits", "spectral_subtraction_bits", "min_signal_remaining"
    )
    for tensor in (x, y, noise):
        expect_shape(tensor, (channels,))
    _bounded("smoothing_bits", smoothing_bits, 0, _SCALED_BITS)
    _bounded("spectral_subtraction_bits", bits, 0, _SCALED_BITS)
    before, after = _kept(c, "noise", np.zeros(channels, np.uint32))
    parameters = _numbers(c, *shares, smoothing_bits, bits, least)
    return _made(c, "SignalFilterBankSpectralSubtraction", [x, before, parameters], [y, noise, after])


def _pcan(c: Context) -> Converted:
    (x, noise, gains), (y,) = _ports(c, (DType.UINT32, DType.UINT32, DType.INT16), (DType.UINT32,))
    (shift,) = _options(c, "snr_shift")
    expect_shape(y, x.shape)
    expect_shape(noise, x.shape)
    if gains.elements < _GAINS:
        raise RefusedError(f"tensor '{gains.name}': a table of {gains.elements} gains, {_GAINS} are expected")
    return _made(c, "SignalPCAN", [x, noise, gains, _numbers(c, _bounded("snr_shift", shift, 0, 63))], [y])


def _log(c: Context) -> Converted:
    (x,), (y,) = _ports(c, (DType.UINT32,), (DType.INT16,))
    bits, scale = _options(c, "input_correction_bits", "output_scale")
    expect_shape(y, x.shape)
    part = np.arange(130) / 128
    table = np.rint(65536 * (np.log2(1 + part) - part)).astype(np.int16)
    parameters = _numbers(c, scale, _bounded("input_correction_bits", bits, 0, _SCALED_BITS))
    return _made(c, "SignalFilterBankLog", [x, c.constant_made("table", table), parameters], [y])


def _overlap_add(c: Context) -> Converted:
    dtype = c.any_input(0).dtype
    (x,), (y,) = _ports(c, (dtype,), (dtype,))
    _typed(x, DType.INT16, DType.FLOAT32)
    (step,) = _options(c, "frame_step")
    if len(x.shape) < 2:
        raise RefusedError(f"tensor '{x.name}': its shape is {list(x.shape)}, two dimensions are expected")
    *outer, frames, size = x.shape
    _bounded("frame_step", step, 1, size)
    expect_shape(y, (*outer, frames * step))
    rows = math.prod(outer)
    before, after = _kept(c, "sums", np.zeros((rows, size), dtype.value))
    name = "SignalOverlapAdd" if dtype is DType.INT16 else "SignalOverlapAddReal"
    return _made(c, name, [x, before, _numbers(c, rows, frames, size, step)], [y, after])


def _delay(c: Context) -> Converted:
    (x,), (y,) = _ports(c, (DType.INT16,), (DType.INT16,))
    (length,) = _options(c, "delay_length")
    _bounded("delay_length", length, 1, _LARGEST)
    expect_shape(y, x.shape)
    *outer, size = x.shape
    before, after = _kept(c, "samples", np.zeros((*outer, length), np.int16))
    joined = c.made("joined", x, (*outer, length + size))
    ones, axis = (1,) * len(x.shape), len(outer)
    first = (0,) * len(outer)
    return (
        Concatenation(name=f"{c.name}/joined", xs=(before, x), y=joined, axis=axis),
        StridedSlice(name=c.name, x=joined, y=y, begin=(*first, 0), strides=ones),
        StridedSlice(name=f"{c.name}/samples", x=joined, y=after, begin=(*first, size), strides=ones),
    )


def _framer(c: Context) -> Converted:
    (x,), (y, valid) = _ports(c, (DType.INT16,), (DType.INT16, DType.BOOL))
    size, step, prefill = _options(c, "frame_size", "frame_step", "prefill")
    *outer, length = x.shape
    _bounded("frame_step", step, 1, length)
    _bounded("frame_size", size, step if prefill else 1, _LARGEST)
    if length % step:
        raise RefusedError(f"{length} samples are no steps of {step}")
    expect_shape(y, (*outer, length // step, size))
    expect_shape(valid, ())
    rows, room = math.prod(outer), -(-size // step) * step
    before, after = _kept(c, "samples", np.zeros((rows, room), np.int16))
    waiting, left = _kept(c, "waiting", np.array(size - step if prefill else 0, np.int32))
    parameters = _numbers(c, rows, length // step, size, step, room)
    return _made(c, "SignalFramer", [x, before, waiting, parameters], [y, valid, after, left])


def _stacker(c: Context) -> Converted:
    (x,), (y, valid) = _ports(c, (DType.INT16,), (DType.INT16, DType.BOOL))
    channels, ahead, behind, step = _options(
        c, "num_channels", "stacker_left_context", "stacker_right_context", "stacker_step"
    )
    for what, value in (("stacker_left_context", ahead), ("stacker_right_context", behind)):
        _bounded(what, value, 0, _LARGEST)
    expect_shape(x, (channels,))
    _bounded("stacker_step", step, 1, ahead + behind + 1)
    size = channels * (ahead + behind + 1)
    expect_shape(y, (size,))
    expect_shape(valid, ())
    before, after = _kept(c, "frames", np.zeros(size, np.int16))
    waiting, left = _kept(c, "waiting", np.array(-1, np.int32))
    parameters = _numbers(c, channels, ahead, size, channels * step)
    return _made(c, "SignalStacker", [x, before, waiting, parameters], [y, valid, after, left])


def _fft(name: str, *, back: bool) -> Callable[[Context], Converted]:
    def convert(c: Context) -> Converted:
        dtype = c.any_input(0).dtype
        (x,), (y,) = _ports(c, (dtype,), (dtype,))
        if dtype not in FFT_TYPES:
            raise RefusedError(f"tensor '{x.name}': its type is {dtype}, {' or '.join(FFT_TYPES)} is expected")
        (points,) = _options(c, "fft_length")
        if points & (points - 1) or not 4 <= points <= _MOST_POINTS:
            raise RefusedError(f"a transform of {points} points is not supported, powers of two from 4 on are")
        *outer, length = x.shape
        if (length != points + 2) if back else (length > points):
            raise RefusedError(f"tensor '{x.name}': {length} values do not fit {points} points")
        expect_shape(y, (*outer, points if back else points + 2))
        count = points // 2
        work = Tensor(name=c.fresh("work"), shape=(count, 2), dtype=dtype)
        tables = (
            c.constant_made("order", _order(count)),
            c.constant_made("turns", _turns(-2 * np.pi * np.arange(count) / count, dtype, back)),
            c.constant_made("half_turns", _turns(-np.pi * ((np.arange(count // 2) + 1) / count + 0.5), dtype, back)),
        )
        parameters = _numbers(c, math.prod(outer), length, count)
        return Foreign(name=c.name, function=fft_routine(name, dtype.value), xs=(x, *tables, parameters), ys=(y, work))

    return convert


def _order(count: int) -> NDArray[np.int16]:
    """Return which value each place of a transform starts from: by digits of 4, the last of 2, in reverse."""
    order = np.zeros(1, np.int64)
    left = count
    factors = []
    while left > 1:
        factors.append(4 if left % 4 == 0 else 2)
        left //= factors[-1]
    for factor in reversed(factors):
        order = np.concatenate([order * factor + digit for digit in range(factor)])
    return order.astype(np.int16)


def _turns(phase: NDArray[np.float64], dtype: DType, back: bool) -> NDArray[Any]:
    """Return exp(i * phase), rounded half up in fixed point."""
    angle = -phase if back else phase
    parts = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    if dtype is DType.FLOAT32:
        return parts.astype(np.float32)
    return np.floor(0.5 + np.iinfo(dtype.value).max * parts).astype(dtype.value)


def _circular_buffer(c: Context) -> Converted:
    (x,), (y,) = _ports(c, (DType.INT8,), (DType.INT8,))
    cycles = int(read_numbers(c.raw.custom_options).get("0", 0)) if c.raw.custom_options else 0
    if c.raw.custom_options and not cycles:
        (cycles,) = _options(c, "cycles_max")
    if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[:2] != (1, 1):
        raise RefusedError(f"tensor '{x.name}': its shape is {list(x.shape)}, [1, 1, width, depth] is expected")
    slots = y.shape[1]
    expect_shape(y, (1, slots, *x.shape[2:]))
    same_quantisation(x, y)
    if cycles != 1:
        raise RefusedError(
            f"its network goes on behind it in every {cycles or 'second'}. run only, and all runs are the same here",
            "Convert a network whose streaming layers run each time, with cycles_max 1.",
        )
    if slots == 1:
        raise RefusedError("a buffer of one slot keeps nothing")
    before, _ = _kept(c, "slots", np.zeros(y.shape, np.int8), y)
    rest = c.made("rest", x, (1, slots - 1, *x.shape[2:]))
    return (
        StridedSlice(name=f"{c.name}/rest", x=before, y=rest, begin=(0, 1, 0, 0), strides=(1, 1, 1, 1)),
        Concatenation(name=c.name, xs=(rest, x), y=y, axis=1),
    )


SIGNAL: Mapping[str, Callable[[Context], Converted]] = {
    "SignalWindow": _window,
    "SignalEnergy": _energy,
    "SignalFftAutoScale": _auto_scale,
    "SignalFilterBank": _filter_bank,
    "SignalFilterBankLog": _log,
    "SignalFilterBankSquareRoot": _square_root,
    "SignalFilterBankSpectralSubtraction": _spectral_subtraction,
    "SignalPCAN": _pcan,
    "SignalOverlapAdd": _overlap_add,
    "SignalDelay": _delay,
    "SignalFramer": _framer,
    "SignalStacker": _stacker,
    "SignalRfft": _fft("SignalRfft", back=False),
    "SignalIrfft": _fft("SignalIrfft", back=True),
    "CIRCULAR_BUFFER": _circular_buffer,
}
"""By the name of the custom operator."""
