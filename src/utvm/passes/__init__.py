"""Graph → Graph rewrites, one a file. `run_passes` applies those that change no output bit, `prepare_float` others."""

from utvm.passes.activations import fuse_activations
from utvm.passes.channel_order import ChannelsLast
from utvm.passes.constants import fold_constants
from utvm.passes.convolutions import plain_convolutions
from utvm.passes.copies import remove_copies
from utvm.passes.dead_channels import drop_dead_channels
from utvm.passes.dead_operators import remove_dead_operators
from utvm.passes.dilation import fold_dilation
from utvm.passes.float_graphs import prepare_float
from utvm.passes.padding import fold_padding
from utvm.passes.pipeline import PASSES, run_passes
from utvm.passes.quantization import merge_quantization
from utvm.passes.views import merge_views

__all__ = [
    "PASSES",
    "ChannelsLast",
    "drop_dead_channels",
    "fold_constants",
    "fold_dilation",
    "fold_padding",
    "fuse_activations",
    "merge_quantization",
    "merge_views",
    "plain_convolutions",
    "prepare_float",
    "remove_copies",
    "remove_dead_operators",
    "run_passes",
]
