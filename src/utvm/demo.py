"""The demonstration: the network of examples/cifar10 on an emulated Cortex-M7, on real pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utvm import api
from utvm.errors import UtvmError
from utvm.prerequisites import how_to_add
from utvm.report import read_labels, scores

BOARD = "qemu-cortex-m7"
EXAMPLE = Path(__file__).parent / "example" / "cifar10_cnn.tflite"
"""The network that comes with the package, labels beside it; examples/cifar10 of a checkout makes both."""
_PICTURES = (
    ("a cat", "chelsea.png"),
    ("a horse (drawn)", "horse.png"),
    ("a rocket (none of the ten classes)", "rocket.jpg"),
)


def run_demo() -> Iterator[str]:
    """Compile the network, load it into the emulated board's RAM and classify photographs; yields lines to print.

    Raises:
        UtvmError: the photographs' package or a tool is missing.
    """
    started = time.perf_counter()
    model = EXAMPLE
    labels = read_labels(model.with_name("labels.txt")) or ()
    compiled = api.compile(model, BOARD)
    report = compiled.report()
    yield f"{model.name}: {report.macs:,} multiply-accumulates, compiled for {BOARD} ({report.core})"
    with api.connect(compiled.board) as session:
        loaded = api.Model(session, compiled)
        yield "loaded into RAM over the debug link, verified, running"
        instructions, cycles = [], set[int]()
        for name, pixels in pictures():
            result = loaded.run(pixels)
            output = compiled.program.graph.outputs[0]
            real = scores(output, result.outputs[output.name]).reshape(-1)
            best = np.argsort(-real)[:3]
            shown = ", ".join(f"{labels[i]} {real[i]:.1f}" for i in best)
            yield f"  {name:<34} →  {shown}"
            instructions.append(result.measurement.instructions)
            if result.measurement.cycles is not None:
                cycles.add(result.measurement.cycles)
        stack = session.stack_used()
    counted = sorted({count for count in instructions if count is not None})
    shown = " or ".join(f"{count:,}" for count in counted) + " (exact)" if counted else "not counted"
    yield f"instructions a picture  {shown}"
    if cycles:
        yield f"modelled cycles         {max(cycles):,} at most, zero-wait memory"
    yield f"peak RAM                {report.arena_bytes:,} B arena + {stack:,} B stack"
    yield f"flash                   {report.flash_bytes:,} B"
    spent = ", ".join(f"{stage} {seconds * 1e3:.0f} ms" for stage, seconds in compiled.seconds.items())
    yield f"time                    {time.perf_counter() - started:.1f} s in all; {spent}"


def pictures() -> Iterator[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]]:
    """Yield (name, uint8 [1,32,32,3]) of pictures that come with scikit-image.

    Raises:
        UtvmError: scikit-image is not installed.
    """
    try:
        folder = files("skimage") / "data"
    except ModuleNotFoundError as error:
        raise UtvmError(f"the photographs come with scikit-image: `{how_to_add('demo')}`") from error
    for name, file in _PICTURES:
        with (folder / file).open("rb") as opened, Image.open(opened) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (32, 32), Image.Resampling.LANCZOS)
        yield name, np.asarray(fitted, dtype=np.uint8)[None]
