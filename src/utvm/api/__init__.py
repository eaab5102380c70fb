"""The way through in a few calls: load a model, compile it for a board, run it there.

import utvm

compiled = utvm.compile("model.tflite", board="qemu-cortex-m7")
with utvm.connect("qemu-cortex-m7") as session:
    model = utvm.Model(session, compiled)
    result = model.run(image)
print(result.outputs, result.measurement.instructions)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.api.assembling import Assembly, as_board, assemble, assumed_core, prepared, timing_name
    from utvm.api.compiling import Compiled, build_program, compile, image_sources
    from utvm.api.costing import compare, cost
    from utvm.api.foreign import build_c
    from utvm.api.own_boards import add_board, check_board, check_pipeline
    from utvm.api.planning import plan
    from utvm.api.quantized import QuantizedModel
    from utvm.api.quantizing import quantize
    from utvm.api.running import Model, Result, connect, connect_stand_in, run_once
    from utvm.api.scheduling import schedule, tasks_with_schedules
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = [
    "Assembly",
    "Compiled",
    "Model",
    "QuantizedModel",
    "Result",
    "add_board",
    "as_board",
    "assemble",
    "assumed_core",
    "build_c",
    "build_program",
    "check_board",
    "check_pipeline",
    "compare",
    "compile",
    "connect",
    "connect_stand_in",
    "cost",
    "image_sources",
    "plan",
    "prepared",
    "quantize",
    "run_once",
    "schedule",
    "tasks_with_schedules",
    "timing_name",
]
