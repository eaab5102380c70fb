"""Builds: images, caching, the same bytes every time, and what is said when one fails."""

import shutil
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.support.boards import EMULATED
from tests.toolchain.conftest import ARM, PROGRAM
from utvm.cache import Cache
from utvm.device.firmware import board_layout, build_image
from utvm.toolchain import Image, LinkLayout, MemoryOverflowError, Source, Toolchain, ToolchainError, toolchain


@pytest.fixture
def compiled(monkeypatch):
    """What the toolchain does: one text for each command that it runs."""
    done = []
    run = toolchain._run

    def recording(command, directory, purpose):
        done.append(purpose)
        return run(command, directory, purpose)

    monkeypatch.setattr(toolchain, "_run", recording)
    return done


def test_an_image_says_what_is_where(arm, layout):
    image = arm.build(PROGRAM, layout, entries=["nothing"])
    assert image.entry == image.symbol("utvm_start").address
    assert image.symbol("utvm_start").address % 2 == 0
    assert image.symbol("arena").size == 1000
    assert image.symbol("table").size == 300
    sections = {section.name: section for section in image.sections}
    table, rodata = image.symbol("table"), sections[".rodata"]
    start = table.address - rodata.address
    assert rodata.data[start : start + 4] == bytes([1, 2, 3, 0])
    counter = image.symbol("counter").address - sections[".data"].address
    assert int.from_bytes(sections[".data"].data[counter : counter + 4], "little") == 5
    assert sections[".bss"].data is None
    assert sections[".stack"].size == 1024
    assert sections[".text"].executable
    assert not sections[".rodata"].writable
    assert image.flash_bytes == sum(
        section.size for name, section in sections.items() if name in (".text", ".rodata", ".data")
    )
    assert image.zero_bytes == sections[".bss"].size
    assert "main.c.o" in image.link_map
    with pytest.raises(ToolchainError, match="no symbol 'unused'"):
        image.symbol("unused")


def test_every_address_of_a_function_is_located(arm, layout):
    image = arm.build(PROGRAM, layout)
    symbol = image.symbol("sum")
    for pc in range(symbol.address, symbol.address + symbol.size, 2):
        where = image.locate(pc)
        assert (where.function, where.file) == ("sum", "sum.c")
        assert 3 <= where.line <= 7
    assert image.locate(0x20000000) is None
    assert image.locate(0xDEADBEEE) is None


def test_the_same_bytes_every_time(tmp_path, layout):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    elves = [
        Toolchain(prefix="arm-none-eabi-", machine_flags=ARM, cache_directory=tmp_path / name)
        .build(PROGRAM, layout, entries=["nothing"])
        .path.read_bytes()
        for name in ("one", "two_with_a_longer_name", "3")
    ]
    assert elves[0] == elves[1] == elves[2]
    assert str(tmp_path).encode() not in elves[0]


def test_only_what_changed_is_compiled(arm, layout, compiled):
    arm.build(PROGRAM, layout)
    assert sorted(compiled) == ["compile asm.S", "compile main.c", "compile sum.c", "link"]
    compiled.clear()
    arm.build(PROGRAM, layout)
    assert compiled == []
    header, main, total, assembler = PROGRAM
    changed = replace(total, text=total.text.replace("{1, 2, 3}", "{1, 2, 4}"))
    arm.build((header, main, changed, assembler), layout)
    assert compiled == ["compile sum.c", "link"]
    compiled.clear()
    arm.build((replace(header, text=header.text + "\n"), main, total, assembler), layout)
    assert sorted(compiled) == ["compile main.c", "compile sum.c", "link"]
    compiled.clear()
    arm.build((*PROGRAM, Source(name="other.h", text="#error unused")), layout)
    assert compiled == ["link"]
    compiled.clear()
    arm.build(PROGRAM, replace(layout, stack_bytes=2048))
    assert compiled == ["link"]
    compiled.clear()
    replace(arm, optimize="-O1").build(PROGRAM, layout)
    assert len(compiled) == 4


def test_a_header_included_by_a_header_counts(arm, layout, compiled):
    def program(value):
        return (
            Source(name="main.c", text='#include "a.h"\nvoid utvm_start(void) {}\nint value = VALUE;\n'),
            Source(name="a.h", text='  #  include "b.h"\nvoid utvm_start(void);\n'),
            Source(name="b.h", text=f'#include "a.h"\n#define VALUE {value}\n'.replace('#include "a.h"\n', "")),
        )

    def value(image):
        (data,) = (section for section in image.sections if section.name == ".data")
        return data.data[0]

    assert value(arm.build(program(7), layout, entries=["value"])) == 7
    assert value(arm.build(program(8), layout, entries=["value"])) == 8


def test_bytes_that_an_assembler_includes_count(arm, layout):
    text = '.section .text.utvm_start\n.globl utvm_start\nutvm_start:\n  .incbin "four.bin", 2, 2\n'
    for data in (b"\0\0\x01\x02", b"\0\0\x03\x04"):
        image = arm.build((Source(name="main.S", text=text), Source(name="four.bin", data=data)), layout)
        assert next(section.data for section in image.sections if section.executable)[:2] == data[2:]


@pytest.mark.parametrize("suffix", [".elf", ".o", ".calls", ".ci", ".map"])
@pytest.mark.parametrize("damage", [b"", b"\x7fELF nonsense"])
def test_a_damaged_cache_mends_itself(arm, layout, suffix, damage):
    before = arm.build(PROGRAM, layout)
    content = before.path.read_bytes()
    damaged = [path for path in arm.cache_directory.glob("??/*") if path.suffix in (suffix, ".elf")]
    assert len(damaged) >= 1
    for path in damaged:
        path.write_bytes(damage)
    after = arm.build(PROGRAM, layout)
    assert after.path.read_bytes() == content
    assert after.call_graph == before.call_graph
    assert after.link_map == before.link_map


def test_a_build_leaves_no_scratch(arm, layout):
    arm.build(PROGRAM, layout)
    assert not list(arm.cache_directory.glob("build-*"))


def test_an_error_of_the_compiler_is_shown(arm, layout):
    with pytest.raises(ToolchainError, match=r"could not compile bad\.c.*\n.*bad\.c:1:\d+: error: .*undeclared"):
        arm.build([Source(name="bad.c", text="int f(void) { return missing; }\n")], layout)


def test_a_warning_is_an_error(arm, layout):
    with pytest.raises(ToolchainError, match="unused variable"):
        arm.build([Source(name="bad.c", text="int f(void);\nint f(void) { int x; return 1; }\n")], layout)


def test_an_undefined_function_is_named(arm, layout):
    text = "void utvm_start(void);\nvoid absent(void);\nvoid utvm_start(void) { absent(); }\n"
    with pytest.raises(ToolchainError, match=r"could not link.*\n.*undefined reference to [`']absent'"):
        arm.build([Source(name="main.c", text=text)], layout)


@pytest.mark.parametrize("prefix", ["arm-none-eabi-", "riscv64-unknown-elf-", "mips-"])
def test_a_missing_compiler_is_named_with_its_package(monkeypatch, tmp_path, layout, prefix):
    monkeypatch.setenv("PATH", str(tmp_path))
    toolchain.compiler_version.cache_clear()
    expected = {"arm-none-eabi-": "gcc-arm-none-eabi", "riscv64-unknown-elf-": "gcc-riscv64-unknown-elf"}
    with pytest.raises(ToolchainError, match=rf"{prefix}gcc is not installed.*{expected.get(prefix, 'PATH')}"):
        Toolchain(prefix=prefix, cache_directory=tmp_path / "cache").build(PROGRAM, layout)


@pytest.mark.parametrize("names", [("a.c", "a.c"), ("../a.c",), ("a.txt",), ("",)])
def test_names_that_can_not_be_built_are_refused(arm, layout, names):
    with pytest.raises(ToolchainError, match=r"same name|plain name"):
        arm.build([Source(name=name, text="") for name in names], layout)


def needs(arm, layout, memory):
    """The least bytes of `memory` that the program fits in, to the 16 that sections are aligned to."""
    image = arm.build(PROGRAM, layout)
    used = [s for s in image.sections if memory.origin <= s.address < memory.origin + memory.length]
    return max(s.address + s.size for s in used) - memory.origin


@pytest.mark.parametrize("memory", ["code", "data"])
def test_what_does_not_fit_says_by_how_many_bytes(arm, layout, memory):
    region = getattr(layout, memory)
    needed = needs(arm, layout, region)

    def shrunk(length):
        smaller = replace(region, length=length)
        changes = {field: smaller for field in ("code", "constants", "data") if getattr(layout, field) == region}
        return replace(layout, **changes)

    arm.build(PROGRAM, shrunk(needed))
    for missing in (1, 16, needed // 2):
        with pytest.raises(MemoryOverflowError) as caught:
            arm.build(PROGRAM, shrunk(needed - missing))
        error = caught.value
        assert (error.region, error.available) == (memory, needed - missing)
        assert error.needed - error.available == missing
        assert f"it is {missing:,} bytes too small" in str(error)


def test_the_message_of_a_model_that_is_too_large_for_the_micro_bit():
    text = "#include <stdint.h>\nuint8_t arena[20000];\nint32_t run(void);\nint32_t run(void) { return arena[3]; }\n"
    with pytest.raises(MemoryOverflowError, match=r"region ram needs 2\d,\d{3} bytes and has 16,384; it is \d,\d{3}"):
        build_image(EMULATED["qemu-cortex-m0"], [Source(name="big.c", text=text)], entries=["run"])


@pytest.mark.parametrize("board", EMULATED.values(), ids=EMULATED)
def test_a_program_builds_for_every_board(board, tmp_path):
    text = (
        "#include <stdint.h>\n#include <string.h>\n"
        "int64_t run(int64_t a, int32_t b, float c);\n"
        "int64_t run(int64_t a, int32_t b, float c) {\n"
        "  uint8_t room[64];\n"
        "  memset(room, (int)c, sizeof room);\n"
        "  return a * b / 7 + room[b & 63] % 5;\n"
        "}\n"
    )
    image = build_image(board, [Source(name="run.c", text=text)], entries=["run"])
    assert image.worst_stack("run").bytes >= 64
    where = image.locate(image.symbol("run").address)
    assert (where.function, where.file) == ("run", "run.c")
    assert 4 <= where.line <= 8
    inside = board_layout(board, board.placements[0]).regions
    for section in image.sections:
        assert any(
            r.origin <= section.address and section.address + section.size <= r.origin + r.length for r in inside
        )


def test_a_file_that_is_no_elf_is_our_error(tmp_path):
    for content in (b"", b"hello", b"\x7fELF", b"\x7fELF\x01\x01\x01" + bytes(60)):
        (tmp_path / "a.elf").write_bytes(content)
        with pytest.raises(ToolchainError, match="can't be read as an ELF file"):
            Image.read(tmp_path / "a.elf", tool_prefix="")


def test_any_processor_that_gcc_knows(tmp_path, layout):
    for flags in (
        ("-mcpu=cortex-m23",),
        ("-mcpu=cortex-m35p", "-mfloat-abi=hard", "-mfpu=auto"),
        ("-mcpu=cortex-m0plus",),
    ):
        arm = Toolchain(prefix="arm-none-eabi-", machine_flags=("-mthumb", *flags), cache_directory=tmp_path)
        assert arm.build(PROGRAM, layout).symbol("sum").size > 0


def test_regions_may_be_one(arm, layout):
    one = LinkLayout(code=layout.data, constants=layout.data, data=layout.data, stack_bytes=512)
    image = arm.build(PROGRAM, one)
    spans = sorted((s.address, s.address + s.size) for s in image.sections)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("suffix", [".elf", ".map", ".calls", ".o", ".ci"])
def test_a_build_survives_what_another_process_deletes(arm, layout, monkeypatch, suffix):
    """Files go right after they were found: everything of that kind is built again, and nothing is read from there."""
    before = arm.build(PROGRAM, layout)
    find = Cache.find

    def found_and_gone(self, key, wanted):
        path = find(self, key, wanted)
        if path is not None and wanted == suffix:
            path.unlink()
        return path

    monkeypatch.setattr(Cache, "find", found_and_gone)
    if suffix in (".o", ".ci"):
        layout = replace(layout, stack_bytes=layout.stack_bytes + 64)
        assert arm.build(PROGRAM, layout).symbol("arena").size == 1000
    else:
        after = arm.build(PROGRAM, layout)
        assert after.path.is_file()
        assert (after.sections, after.link_map) == (before.sections, before.link_map)
