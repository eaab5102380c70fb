"""Graph → Graph rewrites, one a file. `run_passes` applies those that change no output bit, `prepare_float` others."""

from utvm.passes.channels_last import ChannelsLast
from utvm.passes.drop_dead_channels import drop_dead_channels
from utvm.passes.fold_constants import fold_constants
from utvm.passes.fold_dilation import fold_dilation
from utvm.passes.fold_padding import fold_padding
from utvm.passes.fuse_activations import fuse_activations
from utvm.passes.merge_quantization import merge_quantization
from utvm.passes.merge_views import merge_views
from utvm.passes.pipeline import PASSES, run_passes
from utvm.passes.plain_convolutions import plain_convolutions
from utvm.passes.prepare_float import prepare_float
from utvm.passes.remove_copies import remove_copies
from utvm.passes.remove_dead_operators import remove_dead_operators

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
