"""Convolution and fully connected layers whose products are made four at a time."""

from __future__ import annotations

from utvm.cores import Core
from utvm.kernels.portable import PortableConv2D, PortableFullyConnected
from utvm.kernels.xpulp.products import write_products


class XpulpConv2D(PortableConv2D):
    """The portable loop nest around dot products of words; memory of inputs and weights is the same."""

    name = "xpulp"
    write_products = staticmethod(write_products)

    def lacks(self, core: Core) -> str | None:
        """Return that the core lacks the extension; None where it has it."""
        return None if core.xpulp else f"{core.name} has no Xpulp extension"


class XpulpFullyConnected(PortableFullyConnected):
    """The portable loop nest around dot products of words."""

    name = "xpulp"
    write_products = staticmethod(write_products)

    def lacks(self, core: Core) -> str | None:
        """Return that the core lacks the extension; None where it has it."""
        return None if core.xpulp else f"{core.name} has no Xpulp extension"
