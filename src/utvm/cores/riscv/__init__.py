"""RV32IMC instructions as timing sees them."""

from utvm.cores.riscv.instruction import parse

__all__ = ["parse"]
