"""Small tasks, made-up records, and programs that are broken on purpose."""

import dataclasses
from pathlib import Path

from tests.support.chip.process import ChipProcess, board_file
from utvm import api
from utvm.bench import layer_graph
from utvm.boards import Board, load_board
from utvm.codegen import RUN_SYMBOL, entry_source
from utvm.device import Count, DebugLink, Session, build_image, link_opener
from utvm.device.cycle_counter import CycleCounter
from utvm.graph import Graph
from utvm.lowering import lower
from utvm.toolchain import Image, Source
from utvm.tuning import BuiltCandidate, Conditions, Outcome, Record, Task, tasks_of
from utvm.tuning.space import single

CONDITIONS = Conditions(board="qemu-cortex-m7", core="cortex-m7", assume="", compiler="gcc 12")


def layer(name: str = "conv_6x6x4_4_k3") -> Graph:
    """A graph of one operator by the name of a benchmark's layer."""
    graph = layer_graph(name)
    assert graph is not None
    return graph


def task(board: Board, name: str = "conv_6x6x4_4_k3") -> Task:
    (found,) = tasks_of(layer(name), board.core)
    return found


def record(**changes: object) -> Record:
    values = {
        "workload": "Conv2D(x)", "family": "direct", "config": {"m": 2, "n": 3}, "code": "c0de",
        "conditions": CONDITIONS, "generator": "0", "outcome": Outcome.OK, "cycles": 1000, "instructions": 900,
        "cycles_source": "model: cortex-m7", "time": 1.5,
    }  # fmt: skip
    return Record(**{**values, **changes})  # type: ignore[arg-type]


def broken(board: Board, of: Task, body: str) -> BuiltCandidate:
    """A program for a task whose run function has another body (C)."""
    program = lower(single(of.op), board.core)
    name = program.name
    run = f'#include "{name}.h"\nint32_t {name}_run(uint8_t *arena) {{\n{body}\n}}\n'
    files = {f"{name}.h": program.render()[f"{name}.h"], f"{name}.c": run, f"{name}_entry.c": entry_source(name)}
    sources = [Source(name=file, text=text) for file, text in files.items()]
    model = program.c_model()
    image = build_image(board, sources, entries=[RUN_SYMBOL])
    good = BuiltCandidate(outcome=Outcome.OK, content=body, image=image)
    return dataclasses.replace(good, inputs=model.inputs, outputs=model.outputs)


class CountedChip(ChipProcess):
    """A simulated Cortex-M behind JTAG pins whose cycle counter is read as that of a physical board.

    What it counts are instructions.
    """

    def __init__(self, board: Board) -> None:
        super().__init__(board.core.name)
        self._counter = CycleCounter(board)

    def begin_count(self, image: Image, link: DebugLink) -> None:
        self._counter.begin(image, link)

    def count(self, image: Image, link: DebugLink) -> Count:
        return self._counter.count(image, link)


def chip_board(core: str) -> Board:
    """The simulated chip with a core as a board with DWT_CYCCNT, behind stock OpenOCD."""
    slow = 1_000_000  # so that the counter does not turn by the host's clock
    return dataclasses.replace(load_board(board_file(core), trust=True), cycle_counter="dwt", clock_hz=slow)


def chip_session(board: Board) -> Session:
    return Session(board, CountedChip(board), link_opener(board))


M7 = api.as_board("qemu-cortex-m7")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
