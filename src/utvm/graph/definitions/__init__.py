"""What each operator computes: one definition, which kernels render, the reference evaluates and passes ask."""

from utvm.graph.definitions.definition import Definition
from utvm.graph.definitions.registry import computes_in_float, defined_apart, definition

__all__ = ["Definition", "computes_in_float", "defined_apart", "definition"]
