"""What quantising a network cost it: for the terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utvm.graph import Tensor
from utvm.quantization import BoardCost, Distribution, Judgement, Kept

_WORST = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizeReport:
    """What quantising showed.

    Attributes:
        calibrated: samples that the ranges are from.
        inputs, outputs: of the int8 network.
        reordered: inputs and outputs whose dimensions are in another order than in the model's file.
        file_bytes: size of the .tflite file.
        seconds: of the host, per stage.
        peak_bytes: memory that the process took at most.
        distributions: what calibration saw, by tensor.
        kept: choices of operators in int16 and float32 that were measured; the last was taken. Empty where none were
            asked for.
        wanted: points of accuracy that may be lost; None likewise.
        board: whose costs `kept` and `cost` have, None where none was named.
        cost: of the network that was made, on the board.
    """

    model: str
    calibrated: int
    judgement: Judgement
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    reordered: tuple[str, ...]
    file_bytes: int
    seconds: Mapping[str, float]
    peak_bytes: int
    distributions: Mapping[str, Distribution]
    kept: tuple[Kept, ...] = ()
    wanted: float | None = None
    board: str | None = None
    cost: BoardCost | None = None


def quantize_text(report: QuantizeReport) -> str:
    """Return a few lines for the terminal."""
    found = report.judgement
    lines = [f"{report.model}: float32 to int8, calibrated on {report.calibrated} samples"]
    if found.float_accuracy is not None and found.int8_accuracy is not None:
        gain = 100 * (found.int8_accuracy - found.float_accuracy)
        lines.append(
            f"  accuracy   {100 * found.int8_accuracy:.2f} % of {found.samples:,} samples, float "
            f"{100 * found.float_accuracy:.2f} % ({gain:+.2f} points)"
        )
    if found.agreement is not None:
        lines.append(f"  agreement  {100 * found.agreement:.2f} % of {found.samples:,} samples have the float class")
    lines.append(f"  signal     {_decibels(found.snr)} over noise at the outputs")
    worst = sorted(found.layers, key=lambda layer: layer.snr)[:_WORST]
    lines.append(f"  worst      {', '.join(f'{layer.name} {_decibels(layer.snr)}' for layer in worst)}")
    lines += _kept_lines(report)
    lines += _cost_lines(report)
    lines += [f"  {what:9}  {_port(tensor, report)}" for what, tensor in _ports(report)]
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    lines.append(f"  took       {spent}; {report.peak_bytes / 2**20:,.0f} MB")
    return "\n".join(lines)


def _kept_lines(report: QuantizeReport) -> list[str]:
    if not report.kept or report.wanted is None:
        return []
    taken, none = report.kept[-1], report.kept[0]
    if not taken.types:
        lines = [f"  kept       all operators are int8 and lose {taken.lost:.2f} points of {report.wanted:g} allowed"]
    else:
        parts = ((taken.wide, "int16"), (taken.real, "float32"))
        which = ", ".join(f"{', '.join(names)} in {what}" for names, what in parts if names)
        told = f"{which} lose {taken.lost:.2f} points, all in int8 {none.lost:.2f}"
        beyond = "" if taken.lost <= report.wanted else f"; no choice loses {report.wanted:g} or less"
        lines = [f"  kept       {told}{beyond}"]
    return lines


def _cost_lines(report: QuantizeReport) -> list[str]:
    cost = report.cost
    if cost is None:
        return []
    cycles = "" if cost.cycles is None else f"{cost.cycles:,} modelled cycles, "
    size = f"arena {cost.arena_bytes:,} B, flash {cost.flash_bytes:,} B"
    return [f"  cost       {cycles}{size} on {report.board}{'' if cost.fits else ', which has no room for it'}"]


def quantize_line(report: QuantizeReport) -> str:
    """Return what quantising lost in one line."""
    found = report.judgement
    told = f"signal {_decibels(found.snr)} over noise"
    if found.float_accuracy is not None and found.int8_accuracy is not None:
        told = f"accuracy {100 * found.int8_accuracy:.2f} %, float {100 * found.float_accuracy:.2f} %"
    elif found.agreement is not None:
        told = f"{100 * found.agreement:.2f} % of {found.samples:,} samples have the float class, {told}"
    return f"{report.model} quantised to int8 on {report.calibrated} samples: {told}"


def quantize_json(report: QuantizeReport) -> dict[str, Any]:
    """Return the report as plain values; a signal without noise is null."""
    found = report.judgement
    return {
        "model": report.model,
        "calibration_samples": report.calibrated,
        "samples": found.samples,
        "float_accuracy": found.float_accuracy,
        "int8_accuracy": found.int8_accuracy,
        "agreement": found.agreement,
        "snr_db": _finite(found.snr),
        "layers": [
            {
                "tensor": layer.name,
                "operator": layer.kind,
                "snr_db": _finite(layer.snr),
                "low": layer.low,
                "high": layer.high,
            }
            for layer in found.layers
        ],
        "inputs": [_tensor(t) for t in report.inputs],
        "outputs": [_tensor(t) for t in report.outputs],
        "reordered": list(report.reordered),
        "file_bytes": report.file_bytes,
        "kept": [
            {
                "int16": list(choice.wide),
                "float32": list(choice.real),
                "points_lost": choice.lost,
                **_cost(choice.cost),
            }
            for choice in report.kept
        ],
        "board": report.board,
        **_cost(report.cost),
        "seconds": dict(report.seconds),
        "peak_bytes": report.peak_bytes,
    }


def _cost(cost: BoardCost | None) -> dict[str, int | None]:
    return {
        "modelled_cycles": None if cost is None else cost.cycles,
        "arena_bytes": None if cost is None else cost.arena_bytes,
        "flash_bytes": None if cost is None else cost.flash_bytes,
    }


def _ports(report: QuantizeReport) -> list[tuple[str, Tensor]]:
    return [("input", t) for t in report.inputs] + [("output", t) for t in report.outputs]


def _port(tensor: Tensor, report: QuantizeReport) -> str:
    moved = ", its dimensions reordered: channels are last" if tensor.name in report.reordered else ""
    units = "classes" if tensor.quant is None else f"real = {tensor.scale:.6g} * (q - {tensor.zero_point})"
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}, {units}{moved}"


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "scale": None if tensor.quant is None else tensor.scale,
        "zero_point": None if tensor.quant is None else tensor.zero_point,
    }


def _decibels(value: float) -> str:
    return "no error" if value == math.inf else f"{value:.1f} dB"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
