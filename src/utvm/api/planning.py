"""The memory plan of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utvm.api.compiling import compile
from utvm.api.quantized import QuantizedModel
from utvm.api.sizes import Size
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.graph import Graph
from utvm.loops import Schedule
from utvm.lowering import Program


@checked_arguments
def plan(
    model: str | Path | Graph | QuantizedModel,
    board: str | Path | Board,
    *,
    name: str | None = None,
    small: bool = False,
    flash: Size | None = None,
    ram: Size | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    schedules: Mapping[str, Schedule] | None = None,
) -> Program:
    """Return the program that `compile` makes of a model: its kernels in order, and where buffers lie in the arena.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        name, small, flash, ram, assume, records, schedules: as in `compile`.

    Raises:
        UtvmError: the model can't be read or lowered, a tool is missing, or it does not fit the board.

    Example:
        program = utvm.plan("model.tflite", "qemu-cortex-m7", ram="64K")
        print(program.arena_bytes, program.memory.lower_bound)
    """
    options: dict[str, Any] = {"small": small, "flash": flash, "ram": ram}
    options |= {"assume": assume, "records": records, "schedules": schedules}
    return compile(model, board, name=name, **options).program
