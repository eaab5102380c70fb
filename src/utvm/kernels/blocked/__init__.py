"""Templates over loops, for any core: blocks of registers, packed weights, copied windows, two products a word."""

from utvm.kernels.blocked.depthwise import BlockedDepthwise
from utvm.kernels.blocked.product import BlockedProduct
from utvm.kernels.blocked.real import BlockedReal

__all__ = ["BlockedDepthwise", "BlockedProduct", "BlockedReal"]
