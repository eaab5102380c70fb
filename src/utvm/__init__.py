"""µTVM: compile int8 neural networks for bare-metal microcontrollers, run and measure them over a debug link.

The names of `__all__` are public; docs/api.md has one line on each.
They do not change without a warning for one release.

Example:
    compiled = utvm.compile("model.tflite", board="qemu-cortex-m7")
    with utvm.connect("qemu-cortex-m7") as session:
        probabilities = utvm.Model(session, compiled).predict(image)
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from utvm import boards
    from utvm.api import Compiled, Model, QuantizedModel, Result, compile, connect, cost, plan, quantize
    from utvm.boards import Board
    from utvm.deploy.export import Export, export
    from utvm.deploy.verify import Verification, verify
    from utvm.device import Session
    from utvm.errors import UtvmError, UtvmWarning
    from utvm.frontends import load
    from utvm.graph import Graph, Tensor
    from utvm.graph.custom import custom
    from utvm.lowering import Program
    from utvm.profile import profile
    from utvm.tune import tune

_LAZY = {
    "Board": "utvm.boards",
    "Compiled": "utvm.api",
    "Export": "utvm.deploy.export",
    "Graph": "utvm.graph",
    "Model": "utvm.api",
    "Program": "utvm.lowering",
    "QuantizedModel": "utvm.api",
    "Result": "utvm.api",
    "Session": "utvm.device",
    "Tensor": "utvm.graph",
    "UtvmError": "utvm.errors",
    "UtvmWarning": "utvm.errors",
    "Verification": "utvm.deploy.verify",
    "compile": "utvm.api",
    "connect": "utvm.api",
    "cost": "utvm.api",
    "custom": "utvm.graph.custom",
    "export": "utvm.deploy.export",
    "load": "utvm.frontends",
    "plan": "utvm.api",
    "profile": "utvm.profile",
    "quantize": "utvm.api",
    "tune": "utvm.tune",
    "verify": "utvm.deploy.verify",
}

__all__ = [
    "Board",
    "Compiled",
    "Export",
    "Graph",
    "Model",
    "Program",
    "QuantizedModel",
    "Result",
    "Session",
    "Tensor",
    "UtvmError",
    "UtvmWarning",
    "Verification",
    "__version__",
    "boards",
    "compile",
    "connect",
    "cost",
    "custom",
    "export",
    "load",
    "plan",
    "profile",
    "quantize",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `utvm --help` stays quick."""
    import importlib

    if name == "boards":
        return importlib.import_module("utvm.boards")
    if name not in _LAZY:
        raise AttributeError(f"module 'utvm' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)


class _Package(ModuleType):
    """Keeps the functions `tune` and `profile` from being hidden by the modules that hold them."""

    def __setattr__(self, name: str, value: object) -> None:
        """Take no module in the place of a public function: an import of `utvm.tune` sets one."""
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
