"""Thumb-2 instructions as timing and scheduling see them."""

from utvm.cores.instruction import Instruction, Kind, UnknownInstructionError
from utvm.cores.thumb.instruction import parse

__all__ = ["Instruction", "Kind", "UnknownInstructionError", "parse"]
