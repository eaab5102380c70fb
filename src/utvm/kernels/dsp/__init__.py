"""Kernels for Arm cores with the DSP extension: pairs of int16 products in scheduled assembler micro-kernels."""
