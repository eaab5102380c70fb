"""Fold SpaceToBatch, a convolution and BatchToSpace into one dilated convolution."""

from __future__ import annotations

import dataclasses

from utvm.graph import BatchToSpace, Conv2D, DepthwiseConv2D, Graph, Operator, Padding, SpaceToBatch
from utvm.passes._edit import same_units


def fold_dilation(graph: Graph) -> Graph:
    """Return the graph in which convolutions read what was cut into blocks with a dilation of the blocks' size.

    TensorFlow writes dilated convolutions so. Exact, since a convolution of stride 1 without padding of its own reads
    pixels of one image of the batch alone. SpaceToBatch pads with the zero point, as a convolution does. Rows and
    columns that BatchToSpace cuts off are padding less; where it cuts off more than was padded, all stays as it is.
    """
    while (folded := _fold_first(graph)) is not None:
        graph = folded
    return graph


def _fold_first(graph: Graph) -> Graph | None:
    for op in graph.operators:
        conv = graph.producers.get(op.x) if isinstance(op, BatchToSpace) else None
        if not isinstance(op, BatchToSpace) or not isinstance(conv, Conv2D | DepthwiseConv2D):
            continue
        cut = graph.producers.get(conv.x)
        if not isinstance(cut, SpaceToBatch) or not _alone(graph, conv) or not _alone(graph, cut):
            continue
        dilated = _dilated(cut, conv, op)
        if dilated is not None:
            rest = [dilated if other is op else other for other in graph.operators if other not in (cut, conv)]
            return graph.rewrite(rest)
    return None


def _alone(graph: Graph, op: Operator) -> bool:
    """Whether one operator alone reads what `op` makes."""
    (made,) = op.outputs
    return len(graph.consumers[made]) == 1 and made not in graph.kept


def _dilated(cut: SpaceToBatch, conv: Conv2D | DepthwiseConv2D, joined: BatchToSpace) -> Operator | None:
    if cut.block != joined.block or conv.stride != (1, 1) or conv.padding.any:
        return None
    if not same_units(cut.x, cut.y) or not same_units(joined.x, joined.y):
        return None
    more, less = cut.padding, joined.crop
    padding = Padding(
        top=more.top - less.top,
        bottom=more.bottom - less.bottom,
        left=more.left - less.left,
        right=more.right - less.right,
    )
    if min(padding.top, padding.bottom, padding.left, padding.right) < 0:
        return None
    dilation = conv.dilation[0] * cut.block[0], conv.dilation[1] * cut.block[1]
    return dataclasses.replace(conv, x=cut.x, y=joined.y, dilation=dilation, padding=padding)
