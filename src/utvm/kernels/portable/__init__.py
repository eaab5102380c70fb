"""Portable kernels: C11 for any core, one family an operator."""

from utvm.kernels.portable.conv2d import PortableConv2D

__all__ = ["PortableConv2D"]
