"""Graphs on emulated boards, without passes: what is drawn is what runs."""

from collections.abc import Sequence

from numpy.typing import NDArray

from utvm import api
from utvm.codegen import RUN_SYMBOL
from utvm.device import Session, build_image
from utvm.graph import Graph
from utvm.lowering import Program, lower


def run_on_target(session: Session, graph: Graph, inputs: Sequence[NDArray]) -> list[NDArray]:
    """Lower a graph for the session's board, load it, run it once and return its outputs."""
    return run_program(session, lower(graph, session.board.core), inputs)


def run_program(session: Session, program: Program, inputs: Sequence[NDArray]) -> list[NDArray]:
    """Load a program into the session's board, run it once and return its outputs."""
    files = program.render()
    image = build_image(session.board, api.image_sources(program.name, files), entries=[RUN_SYMBOL])
    compiled = api.Compiled(board=session.board, program=program, files=files, image=image, seconds={})
    return list(api.Model(session, compiled).run(list(inputs)).outputs.values())
