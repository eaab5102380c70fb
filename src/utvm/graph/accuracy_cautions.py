"""What a graph computes exactly as TFLite does, and yet not as its author may think."""

from __future__ import annotations

from utvm.graph.arithmetic import SOFTMAX_SUM_INTEGER_BITS
from utvm.graph.graph import Graph
from utvm.graph.operators import Softmax


def cautions(graph: Graph) -> tuple[str, ...]:
    """Return a sentence for each operator whose integers may overflow in TFLite's own arithmetic."""
    most = 1 << SOFTMAX_SUM_INTEGER_BITS
    return tuple(
        f"Softmax '{op.name}' is over {op.x.shape[-1]:,} values, and its sum of exponentials holds {most:,}: where "
        "that many are near the largest, results are wrong in tflite-micro and here alike (take softmax out of the "
        "model, or over fewer values)"
        for op in graph.operators
        if isinstance(op, Softmax) and op.x.shape and op.x.shape[-1] >= most
    )
