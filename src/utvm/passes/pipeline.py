"""The passes in their order."""

from __future__ import annotations

from collections.abc import Callable

from utvm.graph import Graph
from utvm.passes.activations import fuse_activations
from utvm.passes.constants import fold_constants
from utvm.passes.convolutions import plain_convolutions
from utvm.passes.copies import remove_copies
from utvm.passes.dead_channels import drop_dead_channels
from utvm.passes.dead_operators import remove_dead_operators
from utvm.passes.dilation import fold_dilation
from utvm.passes.joins import merge_joins, read_parts
from utvm.passes.padding import fold_padding
from utvm.passes.quantization import merge_quantization
from utvm.passes.views import merge_views

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    remove_dead_operators,
    fold_constants,
    merge_quantization,
    merge_views,
    read_parts,
    merge_joins,
    remove_copies,
    fold_dilation,
    plain_convolutions,
    fold_padding,
    fuse_activations,
    drop_dead_channels,
)
"""Every rewrite, in the order of a round. Each returns the object that it was given if it finds nothing."""


def run_passes(graph: Graph, *, observe: Callable[[str, Graph], None] | None = None) -> Graph:
    """Apply all passes, round after round, until a round changes nothing; no output bit changes.

    Every change takes away an operator, an input of one, channels, or a kind that never comes back, so this ends.

    Args:
        graph: the graph as a frontend made it.
        observe: called with a name and the graph: "input" first, then "ROUND.PASS" after each pass that
            changed something, as in "1.fold_padding".
    """
    if observe is not None:
        observe("input", graph)
    round_number = 0
    before = None
    while graph is not before:
        before = graph
        round_number += 1
        for apply in PASSES:
            result = apply(graph)
            if result is not graph and observe is not None:
                observe(f"{round_number}.{apply.__name__}", result)
            graph = result
    return graph
