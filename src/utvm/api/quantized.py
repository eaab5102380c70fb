"""An int8 network that was made from a float one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from utvm.graph import Graph

if TYPE_CHECKING:  # a compilation of an int8 file needs nothing of the quantiser
    from utvm.report import QuantizeReport


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedModel:
    """An int8 network made from a float one; every function that takes a model takes it.

    Attributes:
        graph: the int8 network.
        file: the same as a .tflite file.
        report: what it loses.

    Example:
        quantised = utvm.quantize("float.onnx", samples)
        Path("int8.tflite").write_bytes(quantised.file)
    """

    graph: Graph
    file: bytes
    report: QuantizeReport

    def __repr__(self) -> str:
        """One line, without the file."""
        return f"QuantizedModel({self.graph!r}, file of {len(self.file):,} B)"

    def _repr_html_(self) -> str:
        """The operators as a table, for notebooks."""
        return self.graph._repr_html_()
