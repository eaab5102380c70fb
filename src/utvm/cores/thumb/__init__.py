"""Thumb-2 instructions as timing and scheduling see them."""

from utvm.cores.thumb.instruction import Instruction, Kind, UnknownInstructionError, parse

__all__ = ["Instruction", "Kind", "UnknownInstructionError", "parse"]
