"""Exact integer Winograd convolution for cores with the DSP extension: fewer products, not one bit of difference.

F(m, r) computes m outputs of a filter of r taps from m + r - 1 products instead of m * r. The usual transforms have
fractions and round. These have integer entries, their sums are taken modulo 2^32, and the factor that they leave on a
result is divided out exactly. The price is flash (int16 weights at every point of a transform) and scratch.

In the order in which to read: `transforms` has the F(m, r); `exactness` says why nothing is lost, and when; `stages`
are the micro-kernels; `family` is what both families share. `nested` transforms rows and columns, F(m x m, r x r);
`rows` transforms rows alone, which takes fewer bits and suits kernels of any height. Each has a module for its plan.

Sources: S. Winograd, Arithmetic Complexity of Computations (SIAM, 1980), for F(m, r); A. Lavin and S. Gray, Fast
Algorithms for Convolutional Neural Networks (CVPR 2016), for its use on tiles of images and its nesting.
"""

from utvm.kernels.dsp.winograd.nested import WinogradConvolution
from utvm.kernels.dsp.winograd.rows import WinogradRows

__all__ = ["WinogradConvolution", "WinogradRows"]
