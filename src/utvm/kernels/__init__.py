"""Kernel families: operators as C, specialised to the layer."""

from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.portable import PortableConv2D
from utvm.kernels.prelude import PRELUDE, with_dependencies
from utvm.kernels.workload import workload

FAMILIES: tuple[KernelFamily, ...] = (PortableConv2D(),)
"""All families. Where several apply and no config is asked for, the first wins."""

__all__ = [
    "FAMILIES",
    "PRELUDE",
    "Config",
    "Kernel",
    "KernelFamily",
    "Space",
    "with_dependencies",
    "workload",
]
