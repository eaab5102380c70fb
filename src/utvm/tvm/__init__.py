"""TVM on bare metal: TIR and Relax modules on any board, and MetaSchedule's candidates measured there.

An extra, `utvm[tvm]`, with TVM in one version; nothing else of µTVM imports it.

Example:
    with utvm.tvm.Boards("qemu-cortex-m7") as boards:
        tuned = utvm.tvm.tune(function, boards, trials=32)
"""

from __future__ import annotations

import sys
import types

from utvm.tvm.versions import TvmVersionError, check_versions

check_versions()
# MetaSchedule imports the instructions of all GPUs, 20 seconds of the host; none is for a microcontroller.
if "tvm.s_tir.tensor_intrin" not in sys.modules:
    sys.modules["tvm.s_tir.tensor_intrin"] = types.ModuleType("tvm.s_tir.tensor_intrin")

import tvm.s_tir  # noqa: E402

from utvm.tvm.code import as_module, c_target  # noqa: E402
from utvm.tvm.compiling import OffloadedPart, OffloadGains, compile, gains  # noqa: E402
from utvm.tvm.library import export  # noqa: E402
from utvm.tvm.measuring import Boards  # noqa: E402
from utvm.tvm.module import tune_module  # noqa: E402
from utvm.tvm.printer import TvmCodeError  # noqa: E402
from utvm.tvm.searching import TunedFunction, default_space, tune  # noqa: E402

if not hasattr(tvm.s_tir, "tensor_intrin"):
    tvm.s_tir.tensor_intrin = sys.modules["tvm.s_tir.tensor_intrin"]

__all__ = [
    "Boards",
    "OffloadGains",
    "OffloadedPart",
    "TunedFunction",
    "TvmCodeError",
    "TvmVersionError",
    "as_module",
    "c_target",
    "compile",
    "default_space",
    "export",
    "gains",
    "tune",
    "tune_module",
]
