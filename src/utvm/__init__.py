"""µTVM: compile int8 neural networks for bare-metal microcontrollers, run and measure them over a debug link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from utvm.api import Compiled, Model, Result, compile, connect, cost, quantize
    from utvm.frontends import load
    from utvm.graph.custom import custom

_LAZY = {
    "Compiled": "utvm.api",
    "Model": "utvm.api",
    "Result": "utvm.api",
    "compile": "utvm.api",
    "connect": "utvm.api",
    "cost": "utvm.api",
    "custom": "utvm.graph.custom",
    "load": "utvm.frontends",
    "quantize": "utvm.api",
}

__all__ = ["Compiled", "Model", "Result", "__version__", "compile", "connect", "cost", "custom", "load", "quantize"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `utvm --help` stays quick."""
    if name not in _LAZY:
        raise AttributeError(f"module 'utvm' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
