"""Model files → Graph."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.frontends.errors import FrontendError
    from utvm.frontends.loading import load
    from utvm.frontends.onnx import load_onnx
    from utvm.frontends.q7 import load_q7, q7_input
    from utvm.frontends.tflite import load_tflite
    from utvm.frontends.torch import load_pt2
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = ["FrontendError", "load", "load_onnx", "load_pt2", "load_q7", "load_tflite", "q7_input"]
