"""The rewrites of float networks, in order: results change by rounding alone, and perhaps the order of dimensions."""

from __future__ import annotations

import dataclasses

from utvm.graph import Graph
from utvm.passes.activation_order import early_activations
from utvm.passes.affine import fold_affine
from utvm.passes.channel_order import ChannelsLast, channels_last
from utvm.passes.constants import fold_constants
from utvm.passes.dead_operators import remove_dead_operators
from utvm.passes.identifiers import integer_inputs, plain_identifiers
from utvm.passes.joins import read_parts
from utvm.passes.spelled_out import find_functions
from utvm.passes.views import merge_views


def prepare_float(graph: Graph) -> ChannelsLast:
    """Return a float graph with images [N,H,W,C], batch normalisations in weights, and activations behind layers."""
    moved = channels_last(plain_identifiers(integer_inputs(remove_dead_operators(fold_constants(graph)))))
    simple = moved.graph
    for rewrite in (merge_views, find_functions, read_parts, fold_affine, early_activations, remove_dead_operators):
        simple = rewrite(simple)
    return dataclasses.replace(moved, graph=simple)
