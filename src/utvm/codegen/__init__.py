"""C text: a builder for kernels and the writer of a model's files."""

from utvm.codegen.c import (
    SIZES,
    CArray,
    CFunction,
    CParameter,
    CSupport,
    CWriter,
    comment,
    float_literal,
    int_literal,
    statements,
)
from utvm.codegen.calls import ArenaRef, CCall, function_names
from utvm.codegen.entry import ARENA_SYMBOL, RESET_MODEL_SYMBOL, RUN_SYMBOL, entry_source
from utvm.codegen.library import CLibrary, port_names, render_library
from utvm.codegen.model import (
    ARENA_ALIGNMENT,
    CModel,
    CPort,
    CState,
    render_model,
    step_symbol,
)
from utvm.codegen.rolling import Turns, rolled
from utvm.codegen.weights_object import weights_assembly

__all__ = [
    "ARENA_ALIGNMENT",
    "ARENA_SYMBOL",
    "RESET_MODEL_SYMBOL",
    "RUN_SYMBOL",
    "SIZES",
    "ArenaRef",
    "CArray",
    "CCall",
    "CFunction",
    "CLibrary",
    "CModel",
    "CParameter",
    "CPort",
    "CState",
    "CSupport",
    "CWriter",
    "Turns",
    "comment",
    "entry_source",
    "float_literal",
    "function_names",
    "int_literal",
    "port_names",
    "render_library",
    "render_model",
    "rolled",
    "statements",
    "step_symbol",
    "weights_assembly",
]
