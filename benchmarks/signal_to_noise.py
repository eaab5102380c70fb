"""Signal over noise of int8 networks at their outputs: made here from the float files, and by the files' owners.

Run `python benchmarks/signal_to_noise.py [--shared DIR]`. It draws inputs for MLPerf Tiny's VWW and AD networks over
the range of the owners' int8 input: pictures of large and small differences, and spectra that wander. Half of them
calibrate, half judge. The owners calibrated on real inputs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import utvm
from utvm.frontends.inputs import quantised_values
from utvm.graph import Tensor
from utvm.passes import prepare_float
from utvm.quantization.batches import Runner
from utvm.quantization.judging import real_values

NETWORKS = {"vww_mobilenetv1_025_96": 48, "ad_autoencoder": 200}
"""Name of the files → inputs that are drawn."""


def drawn(port: Tensor, count: int) -> NDArray[np.float32]:
    """Return inputs [count, ...] within what eight bits of an input hold."""
    rng = np.random.default_rng(0)
    low, high = (port.scale * (end - port.zero_point) for end in (-128, 127))
    shape = port.shape[1:]
    if len(shape) == 3:
        coarse = rng.uniform(low, high, (count, shape[0] // 16, shape[1] // 16, shape[2]))
        x = np.kron(coarse, np.ones((1, 16, 16, 1))) + rng.normal(0, 0.05 * (high - low), (count, *shape))
    else:
        walk = np.cumsum(rng.normal(0, 1, (count, *shape)), axis=1)
        x = walk / np.abs(walk).max() * min(-low, high)
    return np.clip(x, low, high).astype(np.float32)


def decibels(real: NDArray[Any], made: NDArray[Any]) -> float:
    """Return the power of values over that of the error."""
    wanted = real.astype(np.float64)
    return float(10 * np.log10((wanted**2).sum() / ((made.reshape(real.shape) - wanted) ** 2).sum()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    models = parser.parse_args().shared / "models"
    print("| network | inputs | µTVM, dB | the owners' int8 file, dB |\n|---|---|---|---|")
    for name, count in NETWORKS.items():
        owners = utvm.load(models / "mlperf_tiny" / f"{name}_int8.tflite")
        source = models / "mlperf_tiny_float" / f"{name}_float.tflite"
        (port,), (y,) = owners.inputs, owners.outputs
        train, test = np.split(drawn(port, count), 2)
        ours = utvm.quantize(source, train, evaluate=test).report.judgement.snr
        graph = prepare_float(utvm.load(source)).graph
        real = next(iter(Runner(graph).joined({graph.inputs[0].name: test}).values()))
        stored = next(iter(Runner(owners).joined({port.name: quantised_values(test, port)}).values()))
        print(f"| {name} | {len(test)} | {ours:.1f} | {decibels(real, real_values(stored, y)):.1f} |", flush=True)


if __name__ == "__main__":
    main()
