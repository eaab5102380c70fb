"""A Relax module as a C library, self-contained, as `utvm.export` writes those of model files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import utvm
from utvm.api import as_board
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.codegen.library import render_library
from utvm.deploy.exporting import library_of
from utvm.tvm.compiling import portable_of, program_of


@checked_arguments
def export(module: Any, board: str | Path | Board, *, name: str = "main", offload: bool = False) -> Mapping[str, str]:
    """Return the C library of a Relax module: texts by file name, header, sources and weights; no runtime, no heap.

    It needs a C compiler and <math.h> (`-lm`).

    Args:
        module, name, offload: as in `compile`.
        board: for whose core kernels are made.

    Raises:
        UtvmError: as in `compile`.

    Example:
        for name, text in utvm.tvm.export(module, "nucleo-f746zg", name="network").items():
            Path(name).write_text(text)
    """
    target = as_board(board)
    program = program_of(module, target, name, offload=offload)
    library = library_of(program, portable_of(program), target, {}, {})
    whose = "TVM's and µTVM's kernels" if offload else "TVM's kernels"
    title = f"{program.name}: a Relax module as C, {whose} in µTVM {utvm.__version__}'s memory plan."
    return dict(render_library(replace(library, title=title)))
