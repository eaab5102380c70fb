"""The library writer: a model as C for a program of somebody else's, with inputs, outputs and memory as parameters.

Where the kernels use instructions that not every machine has, the same model with portable kernels stands beside them,
and the compiler takes the one that it can: the files can all be given to any build.
"""

from __future__ import annotations

from utvm.codegen.library.header_text import header
from utvm.codegen.library.interface import STATUSES, CLibrary, port_names
from utvm.codegen.library.source import implementation

__all__ = ["STATUSES", "CLibrary", "port_names", "render_library"]


def render_library(library: CLibrary) -> dict[str, str]:
    """Return file name → text: NAME.h, NAME.c, NAME_weights.h, NAME_weights.c, and NAME_portable… if there is one."""
    files = {f"{library.name}.h": header(library), **implementation(library, library.model, library.prelude)}
    if library.portable is not None:
        files |= implementation(library, library.portable, library.portable_prelude)
    return files
