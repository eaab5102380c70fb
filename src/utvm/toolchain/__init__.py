"""The cross-compiler, linker scripts, and linked images."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.cache import Cache, CacheError, default_cache_directory, digest
    from utvm.toolchain.formats import Segment, intel_hex, load_segments, uf2
    from utvm.toolchain.image import Image, Location, Section, Symbol
    from utvm.toolchain.linker import RESET_SYMBOL, STACK_LIMIT_SYMBOL, STACK_SYMBOL, linker_script
    from utvm.toolchain.listing import instruction_listing
    from utvm.toolchain.source import LinkLayout, MemoryOverflowError, Region, Source, ToolchainError
    from utvm.toolchain.stack import CallGraph, Frame, StackBound
    from utvm.toolchain.toolchain import Toolchain, compiler_major, compiler_version
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = [
    "RESET_SYMBOL",
    "STACK_LIMIT_SYMBOL",
    "STACK_SYMBOL",
    "Cache",
    "CacheError",
    "CallGraph",
    "Frame",
    "Image",
    "LinkLayout",
    "Location",
    "MemoryOverflowError",
    "Region",
    "Section",
    "Segment",
    "Source",
    "StackBound",
    "Symbol",
    "Toolchain",
    "ToolchainError",
    "compiler_major",
    "compiler_version",
    "default_cache_directory",
    "digest",
    "instruction_listing",
    "intel_hex",
    "linker_script",
    "load_segments",
    "uf2",
]
