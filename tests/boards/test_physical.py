"""Boards that people own: what their files claim, against what this machine knows of it. Nothing here is silicon."""

import re
import shutil
import subprocess
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from tests.support.boards import PHYSICAL
from utvm import api
from utvm.boards import Board, Memory, list_parts, parse_board
from utvm.emulators import get_assumption

CNN = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
SCRIPTS = Path("/usr/share/openocd/scripts")
# Names of targets in CMSIS packs. Those of ST's boards are also those of pyOCD's own table of boards.
PACK_TARGETS = {"ae722f80f55d5ls", "nrf5340_xxaa_app", "r7fa8d1bh"}
# Another core sets its clock, and its flash is not ours to program.
STARTED_BY_ANOTHER_CORE = "alif-e7-devkit"

EVERY = pytest.mark.parametrize("board", PHYSICAL.values(), ids=PHYSICAL)


def test_they_are_the_boards_promised() -> None:
    assert {name: (board.core.name, board.clock_hz // 10**6) for name, board in PHYSICAL.items()} == {
        "alif-e7-devkit": ("cortex-m55", 400),
        "ek-ra8d1": ("cortex-m85", 480),
        "nrf52840-dk": ("cortex-m4", 64),
        "nrf5340-dk": ("cortex-m33", 128),
        "nucleo-f746zg": ("cortex-m7", 216),
        "nucleo-h743zi2": ("cortex-m7", 480),
        "nucleo-l4r5zi": ("cortex-m4", 120),
        "nucleo-u575zi-q": ("cortex-m33", 160),
        "raspberry-pi-pico": ("cortex-m0plus", 125),
        "raspberry-pi-pico-2": ("cortex-m33", 150),
        "stm32f746g-disco": ("cortex-m7", 216),
    }
    assert {board.part for board in PHYSICAL.values()} == set(list_parts())


@EVERY
def test_none_claims_silicon_and_each_says_what_it_was_made_from(board: Board) -> None:
    assert board.silicon == "never run"
    assert board.unverified
    assert len(board.sources) >= 2
    assert bool(board.clock) == (board.name != STARTED_BY_ANOTHER_CORE)


@EVERY
def test_memories_do_not_overlap_at_any_of_their_addresses(board: Board) -> None:
    ranges = sorted(span for memory in board.memories for span in memory.ranges)
    assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
    for one, other in combinations(board.memories, 2):
        assert not {one.origin, one.alias} & {other.origin, other.alias} - {None}
    assert all(start % 1024 == 0 and end % 1024 == 0 for start, end in ranges)


@EVERY
def test_images_go_to_ram_first_and_data_never_to_flash(board: Board) -> None:
    first, *others = board.placements
    assert {first.code.kind, first.constants.kind, first.data.kind} == {"ram"}
    assert not first.data.cached
    assert all(place.code.kind == place.data.kind == "ram" for place in others)
    programmable = any(place.constants.kind == "flash" for place in others)
    assert programmable == (not board.name.startswith(("raspberry-pi", STARTED_BY_ANOTHER_CORE)))


@EVERY
def test_code_can_be_executed_where_it_goes(board: Board) -> None:
    """Outside the code and SRAM regions of the address map (Arm DDI 0403, B3.1) nothing may be executed."""
    assert all(placement.code.origin < 0x40000000 for placement in board.placements)


@EVERY
def test_the_cycle_counter_is_one_that_the_core_has(board: Board) -> None:
    assert board.cycle_counter == ("systick" if board.core.architecture == "armv6-m" else "dwt")


@EVERY
def test_the_compiler_knows_the_core(board: Board) -> None:
    command = [f"{board.core.tool_prefix}gcc", *board.core.cflags, "-E", "-x", "c", "/dev/null"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@EVERY
def test_stock_openocd_has_the_files_and_accepts_them(board: Board) -> None:
    settings = board.link.openocd
    if settings is None:
        assert board.link.kind == "pyocd"
        return
    if shutil.which("openocd") is None:
        pytest.skip("OpenOCD is not installed")
    assert all((SCRIPTS / file).is_file() for file in settings.config)
    files = [part for file in settings.config for part in ("-f", file)]
    commands = [part for command in (*settings.commands, "targets", "shutdown") for part in ("-c", command)]
    done = subprocess.run(["openocd", *files, *commands], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"cortex_m|hla_target", done.stdout + done.stderr)


@EVERY
def test_pyocd_knows_the_target(board: Board) -> None:
    pytest.importorskip("pyocd")
    from pyocd.board.board_ids import BOARD_ID_TO_INFO
    from pyocd.target import TARGET

    assert board.link.pyocd is not None
    target = board.link.pyocd.target
    of_packs = {info.target for info in BOARD_ID_TO_INFO.values()} | PACK_TARGETS
    assert target in TARGET or target in of_packs


@EVERY
def test_an_image_of_the_shipped_network_links(board: Board) -> None:
    """In RAM alone, or with constants in flash where RAM is too small."""
    compiled = api.compile(CNN, board)
    used: dict[str, int] = {}
    for section in compiled.image.sections:
        memory = holding(board, section.address, section.size)
        assert memory.kind == "ram" or section.name == ".rodata", f"{section.name} is in {memory.name}"
        used[memory.name] = used.get(memory.name, 0) + section.size
    lengths = {memory.name: memory.length for memory in board.memories}
    assert all(size <= lengths[name] for name, size in used.items())
    in_ram = {name for name in used if name != "flash"}
    assert in_ram == {board.code.name, board.data.name} | (
        {board.constants.name} - {"flash"} if "flash" not in used else set()
    )
    if "flash" in used:
        assert used["flash"] > board.constants.length - used[board.code.name]
    assert used[board.data.name] >= compiled.program.arena_bytes + board.stack_bytes


def holding(board: Board, address: int, size: int) -> Memory:
    found = [memory for memory in board.memories if memory.holds(address) and memory.holds(address + size - 1)]
    assert len(found) == 1, f"0x{address:08x}: {found}"
    return found[0]


@pytest.mark.parametrize("name", ["nucleo-f746zg", "nucleo-h743zi2"])
def test_kernels_are_chosen_for_the_caches_of_the_part(name: str) -> None:
    board = PHYSICAL[name]
    assert board.memory_model is not None
    assert board.core.caches == board.memory_model.caches("ram")
    assumed = get_assumption(board.memory_model.name, board.core.name)
    assert assumed.memory == board.memory_model


def test_boards_of_one_part_differ_only_in_what_is_the_board_s() -> None:
    nucleo, disco = PHYSICAL["nucleo-f746zg"], PHYSICAL["stm32f746g-disco"]
    assert nucleo.part == disco.part == "stm32f746"
    alike = replace(disco, name=nucleo.name, description=nucleo.description, link=nucleo.link, core=nucleo.core)
    assert [getattr(alike, field) for field in ("memories", "placements", "clock", "memory_model")] == [
        getattr(nucleo, field) for field in ("memories", "placements", "clock", "memory_model")
    ]


def test_the_guide_lists_them_as_they_are() -> None:
    guide = (CNN.parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    for board in PHYSICAL.values():
        row = next(line for line in guide.splitlines() if line.startswith(f"| `{board.name}`"))
        assert f"| `{board.part}` |" in row
        assert f"{board.clock_hz // 10**6} MHz" in row
        first = row.split("|")[4].split(",")[0].strip().removesuffix(" (pack)")
        assert first == {"openocd": "OpenOCD", "pyocd": "pyOCD"}[board.link.kind]


def test_the_guide_s_example_is_a_board() -> None:
    guide = (CNN.parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    indented = guide.split("## The file")[1].split("Registers of 8")[0]
    text = "\n".join(line.removeprefix("    ") for line in indented.splitlines())
    dtcm = '\n[[memory]]\nname = "dtcm"\nkind = "ram"\norigin = 0x20000000\nlength = 0x10000\n'
    board = parse_board("example", text + dtcm)
    assert [step.kind for step in board.clock] == ["modify", "wait", "write", "pause"]
    assert board.link.described == ("openocd", "gdb", "pyocd")
