"""Boards that come with the package, and what is said of a wrong description."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.boards import EMULATED
from utvm.boards import (
    BoardError,
    GdbSettings,
    LinkSettings,
    OpenOcdSettings,
    PyOcdSettings,
    load_board,
    parse_board,
)

GOOD = """\
description = "a board"
core = "cortex-m4"
clock_hz = 100000000

[link]
kind = "gdb"

[link.gdb]
endpoint = "127.0.0.1:3333"

[image]
code = "sram"
constants = "sram"
data = "sram"

[[memory]]
name = "sram"
kind = "ram"
origin = 0x20000000
length = 0x10000
"""

LINKED = GOOD.replace('kind = "gdb"\n\n[link.gdb]\nendpoint = "127.0.0.1:3333"\n', "{}\n", 1)


def problems(text):
    with pytest.raises(BoardError) as caught:
        parse_board("mine", text)
    return str(caught.value)


def test_the_emulated_boards_are_there():
    cores = {name: board.core.name for name, board in EMULATED.items()}
    assert cores == {
        "qemu-cortex-m0": "cortex-m0",
        "qemu-cortex-m3": "cortex-m3",
        "qemu-cortex-m33": "cortex-m33",
        "qemu-cortex-m4": "cortex-m4",
        "qemu-cortex-m55": "cortex-m55",
        "qemu-cortex-m7": "cortex-m7",
        "qemu-riscv32": "rv32imc",
        "qemu-riscv32v": "rv32imc-zve32x",
        "qemu-xtensa": "lx106",
    }


@pytest.mark.parametrize("name", EMULATED)
def test_a_board_loads_by_name_and_by_path(name, tmp_path):
    from importlib.resources import files

    copy = tmp_path / f"{name}.toml"
    copy.write_text((files("utvm.boards") / f"{name}.toml").read_text())
    for board in (load_board(name), load_board(copy), load_board(str(copy))):
        assert (board.name, board.memories, board.stack_bytes) == (
            name,
            EMULATED[name].memories,
            EMULATED[name].stack_bytes,
        )


@pytest.mark.parametrize("name", EMULATED)
def test_memories_are_those_of_the_emulated_machine(name):
    board = EMULATED[name]
    if shutil.which(board.emulator.binary) is None:
        pytest.skip(f"{board.emulator.binary} is not installed")
    command = [
        board.emulator.binary, "-M", board.emulator.machine, *board.emulator.arguments,
        "-S", "-display", "none", "-serial", "null", "-monitor", "stdio",
    ]  # fmt: skip
    answer = subprocess.run(
        command, input="info mtree -f\nquit\n", capture_output=True, text=True, timeout=60, check=True
    )
    ranges = sorted(
        {
            (int(start, 16), int(end, 16) + 1)
            for start, end in re.findall(
                r"([0-9a-f]{16})-([0-9a-f]{16}) \(prio [-\d]+, "
                r"(?:ram|romd|i/o)\): \S*(?:ram|tcm|mpc-upstream|RAM|flash)",
                answer.stdout,
            )
        }
    )
    for memory in board.memories:
        reached = memory.origin
        for start, end in ranges:
            if start <= reached < end:
                reached = end
        assert reached >= memory.origin + memory.length, f"{memory} is not all there"


def test_the_micro_bit_has_16_kb_for_everything():
    board = EMULATED["qemu-cortex-m0"]
    assert board.code is board.constants is board.data
    assert board.data.length == 16 * 1024


def test_others_hold_a_model_of_400_kb_and_an_arena_of_200_kb():
    for name, board in EMULATED.items():
        if name != "qemu-cortex-m0":
            assert board.constants.length >= 600 * 1024
            assert board.data.length >= 300 * 1024


def test_a_good_description():
    board = parse_board("mine", GOOD)
    assert board.emulator is None
    assert board.cycle_counter is None
    assert board.reached_by == "GDB remote"
    assert board.link == LinkSettings(kind="gdb", gdb=GdbSettings(endpoint="127.0.0.1:3333"))
    assert board.core.name == "cortex-m4"


LINKS = """\
kind = "openocd"
[link.openocd]
config = ["interface/stlink.cfg", "mine.cfg"]
commands = ["adapter speed 4000"]
probe = "066AFF"
[link.pyocd]
target = "stm32f746zg"
[link.gdb]
endpoint = "/run/server"
"""


def test_links_and_the_choice_among_them(tmp_path):
    (tmp_path / "mine.cfg").touch()
    path = tmp_path / "mine.toml"
    path.write_text(LINKED.format(LINKS))
    board = load_board(path)
    assert board.link.openocd == OpenOcdSettings(
        config=("interface/stlink.cfg", str(tmp_path / "mine.cfg")), commands=("adapter speed 4000",), probe="066AFF"
    )
    assert board.link.pyocd == PyOcdSettings(target="stm32f746zg")
    assert board.link.described == ("openocd", "gdb", "pyocd")
    assert board.reached_by == "OpenOCD or GDB remote or pyOCD"
    assert board.linked_by("pyocd").link.kind == "pyocd"
    with pytest.raises(BoardError, match=r"'mine' has no \[link.pyocd\]; it describes: gdb"):
        parse_board("mine", GOOD).linked_by("pyocd")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ('kind = "gdb"', "'gdb', but there is no table [link.gdb]"),
        ('kind = "pyocd"\n[link.pyocd]\nprobe = "1"', "[link.pyocd] lacks 'target'"),
        ('kind = "pyocd"\n[link.pyocd]\ntarget = 5', "'target' of [link.pyocd] is 5, not text"),
        ('kind = "gdb"\ngdb = 3', "[link.gdb] is not a table"),
        ('kind = "gdb"\n[link.gdb]\nendpoint = "here"', "'here', not host:port"),
        ('kind = "openocd"\n[link.openocd]\nendpoint = "/run/x"', "'/run/x', not host:port"),
        ('kind = "openocd"\n[link.openocd]\nconfig = "a.cfg"', "must be a list of texts"),
        ('kind = "openocd"\n[link.openocd]\nspeed = 1', "unknown key 'speed'"),
        ('kind = "openocd"\n[link.openocd]\nprobe = "1"', "neither 'config' files nor the 'endpoint'"),
    ],
)
def test_one_problem_of_a_link(link, expected):
    assert expected in problems(LINKED.format(link))


def test_flags_replace_those_of_the_core():
    flags = ("-mcpu=cortex-m4+nofp", "-mthumb", "-mfloat-abi=soft")
    board = parse_board("mine", f"cflags = {list(flags)}\n{GOOD}")
    assert board.core.cflags == flags
    assert board.core.dsp
    assert "'cflags' must be a list" in problems('cflags = ["-O9"]\n' + GOOD)


def test_all_problems_are_told_at_once():
    text = """\
core = "cortex-m99"
clock_hz = 0
colour = "red"
[link]
kind = "telepathy"
speed = 3
[image]
code = "nowhere"
constants = "rom"
[[memory]]
name = "rom"
kind = "flash"
origin = 0
length = 100
[[memory]]
name = "sram"
kind = "ram"
origin = 50
length = 100
[[memory]]
name = "odd"
kind = "tape"
origin = 0x1000
length = -4
"""
    message = problems(text)
    for expected in (
        "unknown key 'colour'",
        "lacks 'description'",
        "'clock_hz' of the file is 0",
        "no core is named 'cortex-m99'",
        "'telepathy'",
        "[link] has the unknown key 'speed'",
        "'nowhere', which is not described",
        "'rom', which is not RAM",
        "lacks 'data'",
        "'rom' and 'sram' overlap",
        "'length' of memory 2 is -4",
    ):
        assert expected in message, expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[[memory]]", "[memory]", "'memory' of the file"),
        ('kind = "ram"', 'kind = "rom"', "not ram or flash"),
        ("length = 0x10000", "length = 0xf0000000", "ends beyond 4 GB"),
        ('name = "sram"', 'name = "s ram"', "not an identifier"),
        ("clock_hz = 100000000", "clock_hz = 1.5", "is 1.5, not int"),
        ('description = "a board"', 'description = "a\\u001bboard"', "has characters that do not print"),
        ("clock_hz = 100000000", "clock_hz = 1\nemulator = { kind = [] }", "'kind' of [emulator] is []"),
        ("clock_hz = 100000000", 'clock_hz = 1\ncflags = ["-mx=$(shell id)"]', "'cflags' must be a list"),
        ("clock_hz = 100000000", "clock_hz = true", "is True, not int"),
        ("clock_hz = 100000000", "clock_hz = 1\nstack_bytes = 0x10000", "has only 65536 bytes"),
        ("clock_hz = 100000000", "clock_hz = 1\nstack_bytes = 1001", "multiple of 16"),
        ('description = "a board"', "description = ", "not a TOML file"),
    ],
)
def test_one_problem(old, new, expected):
    assert old in GOOD
    assert expected in problems(GOOD.replace(old, new))


def test_a_board_that_is_not_there_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(BoardError, match=r"'lunar'.*qemu-cortex-m7"):
        load_board("lunar")
    with pytest.raises(BoardError, match="can't be read"):
        load_board(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'description = "\xff"')
    with pytest.raises(BoardError, match="not UTF-8"):
        load_board(tmp_path / "latin.toml")


LINES = GOOD.splitlines()
VALUES = st.sampled_from(["true", "-1", "[]", "{}", '""', "1e300", '"sram"', "[[1]]", "1979-05-27", "0x100000000"])


@given(line=st.sampled_from([i for i, line in enumerate(LINES) if "=" in line]), value=VALUES)
def test_any_value_anywhere_gives_a_board_or_our_error(line, value):
    key = LINES[line].split(" =")[0]
    text = "\n".join([*LINES[:line], f"{key} = {value}", *LINES[line + 1 :]])
    try:
        board = parse_board("mine", text)
    except BoardError:
        return
    assert board.data.kind == "ram"


@given(cut=st.integers(0, len(GOOD) - 1))
def test_any_beginning_of_a_file_gives_our_error(cut):
    try:
        parse_board("mine", GOOD[:cut])
    except BoardError:
        return
    assert GOOD[cut:].strip().removeprefix("x").isalnum() or not GOOD[cut:].strip()
