"""µTVM: compile int8 neural networks for bare-metal microcontrollers, run and measure them over a debug link.

The names of `__all__` are public; docs/api.md has one line on each.
They do not change without a warning for one release.

Example:
    compiled = utvm.compile("model.tflite", board="qemu-cortex-m7")
    with utvm.connect("qemu-cortex-m7") as session:
        probabilities = utvm.Model(session, compiled).predict(image)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from utvm import boards
    from utvm.api import (
        Compiled,
        Model,
        QuantizedModel,
        Result,
        build_c,
        compile,
        connect,
        cost,
        plan,
        quantize,
        schedule,
    )
    from utvm.boards import Board
    from utvm.deploy.exporting import Export, export
    from utvm.deploy.verifying import Verification, verify
    from utvm.device import FunctionRun, Session
    from utvm.errors import UtvmError, UtvmWarning
    from utvm.frontends import load
    from utvm.graph import Graph, Tensor
    from utvm.graph.registration import custom
    from utvm.loops import Schedule
    from utvm.lowering import Program
    from utvm.model_tuning import tune
    from utvm.profiling import profile
    from utvm.toolchain import Image
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = [
    "Board",
    "Compiled",
    "Export",
    "FunctionRun",
    "Graph",
    "Image",
    "Model",
    "Program",
    "QuantizedModel",
    "Result",
    "Schedule",
    "Session",
    "Tensor",
    "UtvmError",
    "UtvmWarning",
    "Verification",
    "__version__",
    "boards",
    "build_c",
    "compile",
    "connect",
    "cost",
    "custom",
    "export",
    "load",
    "plan",
    "profile",
    "quantize",
    "schedule",
    "tune",
    "verify",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
