"""µTVM: compile int8 neural networks for bare-metal microcontrollers, run and measure them over a debug link.

models: load, quantize, custom; Graph, Tensor, QuantizedModel
what a model costs: cost and compare by estimate, plan, frontier, space
programs: compile, schedule, build_c, export, verify, flash; Compiled, Program, Schedule, Image, Export
on boards: connect, Model, run_once, profile, tune; Session, Result, FunctionRun, Fleet, RecordStore; bench
boards: boards.list_boards and load_board, add_board, check_board, check_pipeline; Board
besides: diagnose says what is missing here; UtvmError is the base of every error, and says what to do next

These names do not change without a warning for one release; docs/api.md has one line on each. Sizes are bytes or text
as "64K". Cycles of emulated boards are modelled.

Example:
    compiled = utvm.compile("model.tflite", board="qemu-cortex-m7")
    with utvm.connect("qemu-cortex-m7") as session:
        probabilities = utvm.Model(session, compiled).predict(image)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

GOING: dict[str, tuple[str, str]] = {}
"""Public names that are to go → what takes their place, and the release that has them no longer."""

if TYPE_CHECKING:
    from utvm import bench, boards
    from utvm.api import (
        Compiled,
        Model,
        QuantizedModel,
        Result,
        add_board,
        build_c,
        check_board,
        check_pipeline,
        compare,
        compile,
        connect,
        cost,
        plan,
        quantize,
        run_once,
        schedule,
    )
    from utvm.boards import Board
    from utvm.deploy.exporting import Export, export
    from utvm.deploy.flashing import flash
    from utvm.deploy.verifying import Verification, verify
    from utvm.device import FunctionRun, Session
    from utvm.doctor import diagnose
    from utvm.errors import UtvmError, UtvmWarning
    from utvm.fleet import Fleet
    from utvm.frontends import load
    from utvm.graph import Graph, Tensor
    from utvm.graph.registration import custom
    from utvm.loops import Schedule
    from utvm.lowering import Program
    from utvm.model_tuning import space, tune
    from utvm.plan_frontier import frontier
    from utvm.profiling import profile
    from utvm.toolchain import Image
    from utvm.tuning import RecordStore
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__, GOING)

__all__ = [
    "Board",
    "Compiled",
    "Export",
    "Fleet",
    "FunctionRun",
    "Graph",
    "Image",
    "Model",
    "Program",
    "QuantizedModel",
    "RecordStore",
    "Result",
    "Schedule",
    "Session",
    "Tensor",
    "UtvmError",
    "UtvmWarning",
    "Verification",
    "__version__",
    "add_board",
    "bench",
    "boards",
    "build_c",
    "check_board",
    "check_pipeline",
    "compare",
    "compile",
    "connect",
    "cost",
    "custom",
    "diagnose",
    "export",
    "flash",
    "frontier",
    "load",
    "plan",
    "profile",
    "quantize",
    "run_once",
    "schedule",
    "space",
    "tune",
    "verify",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
