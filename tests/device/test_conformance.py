"""What `DebugLink` promises, run unchanged on every link before every target."""

import random
from collections.abc import Iterator

import pytest

from tests.device.rigs import RIGS, Rig
from utvm.device import DebugLink, LinkRefusedError

pytestmark = pytest.mark.parametrize("rig", RIGS, ids=str, indirect=True, scope="module")

PROTOCOL_BYTES = b'#$*}{][\\"; \x00\x03\x1a\x0a\xff'


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Rig:
    return request.param


@pytest.fixture(scope="module")
def link(rig: Rig) -> Iterator[DebugLink]:
    target = rig.make_target()
    opened = rig.open_link(target.start())
    try:
        opened.reset()
        yield opened
    finally:
        opened.close()
        target.stop()


@pytest.fixture
def program(rig: Rig, link: DebugLink) -> Iterator[int]:
    """The address of `nop`, `nop`, `count`, `nop`, `count`, and a loop; the link is halted there and afterwards.

    Nothing promises that code which changes is seen without ceremony: each program has a place of its own.
    """
    link.reset()
    nop, count, loop = rig.machine.nop, rig.machine.count, rig.machine.loop
    address = rig.board.code.origin + rig.board.code.length // 2
    link.write_memory(address, nop * 2 + count + nop + count + loop * 2)
    start(rig, link, address)
    yield address
    link.halt()


def start(rig: Rig, link: DebugLink, address: int) -> None:
    memory, convention = rig.board.data, rig.board.core.isa.convention
    stack = {convention.stack_pointer: memory.origin + memory.length - 64}
    link.write_registers({**convention.state, convention.result: 0, **stack, "pc": address})


def counted(rig: Rig, link: DebugLink) -> int:
    return link.read_register(rig.board.core.isa.convention.result)


def test_memory_of_all_sizes_and_alignments(rig: Rig, link: DebugLink) -> None:
    random_bytes = random.Random(1)
    origin = rig.board.data.origin + 0x100
    # Every byte through the pins of a core in RTL takes thousands of its simulated cycles.
    most = 4_200 if rig.board.emulator is not None and rig.board.emulator.kind == "rtl" else 20_000
    span = min(most, rig.board.data.length // 2)
    held = bytearray(random_bytes.randbytes(span))
    link.write_memory(origin, bytes(held))
    sizes = [*range(1, 10), 63, 64, 65, 1023, 1024, 1025, 4093, 4095, 4097, span - 8]
    for position, size in enumerate(size for size in sizes if size <= span - 8):
        offset = position % 8
        data = random_bytes.randbytes(size)
        held[offset : offset + size] = data
        link.write_memory(origin + offset, data)
        before, after = max(offset - 5, 0), min(offset + size + 5, span)
        assert link.read_memory(origin + before, after - before) == held[before:after], (offset, size)
        if size < 1000:
            assert link.read_memory(origin + offset, size) == data, (offset, size)
    assert link.read_memory(origin, span) == held


def test_short_accesses_at_every_alignment(rig: Rig, link: DebugLink) -> None:
    origin = rig.board.data.origin
    for offset in range(4):
        for size in range(8):
            link.write_memory(origin, bytes(16))
            data = bytes(range(0xA0, 0xA0 + size))
            link.write_memory(origin + offset, data)
            assert link.read_memory(origin, 16) == (bytes(offset) + data).ljust(16, b"\0")


def test_bytes_that_mean_something_to_protocols(rig: Rig, link: DebugLink) -> None:
    origin = rig.board.data.origin
    for data in (PROTOCOL_BYTES, PROTOCOL_BYTES[1:], bytes(range(256)), b"}" * 700, b"\0" * 700, b"#" * 701):
        link.write_memory(origin, data)
        assert link.read_memory(origin, len(data)) == data


def test_edges_of_the_memories(rig: Rig, link: DebugLink) -> None:
    for memory in rig.board.memories:
        if memory.kind != "ram":
            continue
        for size in (1, 2, 3, 4, 5, 64, 1001):
            data = random.Random(size).randbytes(size)
            for address in (memory.origin, memory.origin + memory.length - size):
                link.write_memory(address, data)
                assert link.read_memory(address, size) == data


def test_nothing_is_no_access(rig: Rig, link: DebugLink) -> None:
    assert link.read_memory(rig.board.data.origin, 0) == b""
    link.write_memory(rig.board.data.origin, b"")


def test_addresses_that_are_not_there_are_refused(rig: Rig, link: DebugLink) -> None:
    origin = rig.board.data.origin
    link.write_memory(origin, b"kept")
    for address, length in ((0xFFFFFFFE, 4), (1 << 32, 1), (-4, 4)):
        with pytest.raises(LinkRefusedError, match="32-bit addresses"):
            link.read_memory(address, length)
        with pytest.raises(LinkRefusedError, match="32-bit addresses"):
            link.write_memory(address, bytes(length))
    for size in (1, 4, 6, 300):
        if rig.tells_bad_accesses:
            with pytest.raises(LinkRefusedError, match="can't be read"):
                link.read_memory(rig.machine.nowhere, size)
        if rig.tells_bad_accesses:
            with pytest.raises(LinkRefusedError, match="can't be written"):
                link.write_memory(rig.machine.nowhere, bytes(size))
        assert link.read_memory(origin, 4) == b"kept"


def test_registers(rig: Rig, link: DebugLink, program: int) -> None:
    names = rig.machine.registers
    for turn in range(2):
        values = {name: 0x01020304 * (position + 1) ^ -turn & 0xFFFFFFFF for position, name in enumerate(names)}
        link.write_registers(values)
        assert link.read_registers(names) == tuple(values.values())
    top = rig.board.data.origin + rig.board.data.length
    convention = rig.board.core.isa.convention
    stack, linked, returns = convention.stack_pointer, convention.link_register, convention.code_address(program)
    link.write_registers({stack: top - 16, linked: returns, "pc": program + 4})
    assert link.read_registers((stack, linked, "pc")) == (top - 16, returns, program + 4)
    link.write_register(stack, top - 32)
    assert link.read_register(stack) == top - 32


def test_registers_that_are_not_there_are_refused(rig: Rig, link: DebugLink) -> None:
    with pytest.raises(LinkRefusedError):
        link.read_register("accumulator")
    with pytest.raises(LinkRefusedError):
        link.write_register("accumulator", 1)
    assert len(link.read_registers(("pc", rig.board.core.isa.convention.stack_pointer))) == 2


def test_breakpoints(rig: Rig, link: DebugLink, program: int) -> None:
    first, second = program + 4, program + 8
    link.set_breakpoint(first)
    link.set_breakpoint(second)
    link.resume()
    assert link.wait(10)
    assert (link.read_register("pc"), counted(rig, link)) == (first, 0)
    link.clear_breakpoint(first)
    link.resume()
    assert link.wait(10)
    assert (link.read_register("pc"), counted(rig, link)) == (second, 1)
    link.clear_breakpoint(second)
    link.clear_breakpoint(second)
    link.resume()
    assert not link.wait(0.1)
    link.halt()
    assert (link.read_register("pc") - program, counted(rig, link)) in ((10, 2), (12, 2))


def test_breakpoints_outlive_a_reset(rig: Rig, link: DebugLink, program: int) -> None:
    link.set_breakpoint(program + 6)
    try:
        for _ in range(2):
            link.reset()
            start(rig, link, program)
            link.resume()
            assert link.wait(10)
            assert (link.read_register("pc"), counted(rig, link)) == (program + 6, 1)
    finally:
        link.clear_breakpoint(program + 6)


def test_run_wait_and_interrupt(rig: Rig, link: DebugLink, program: int) -> None:
    for _ in range(3):
        start(rig, link, program)
        link.resume()
        assert not link.wait(0)
        assert not link.wait(0.05)
        for refused in (
            lambda: link.read_memory(program, 4),
            lambda: link.write_memory(program, b"1234"),
            lambda: link.read_register("pc"),
            lambda: link.write_register("pc", program),
            link.resume,
        ):
            with pytest.raises(LinkRefusedError, match="halt it first"):
                refused()
        link.halt()
        assert link.wait(0)
        assert (link.read_register("pc") - program, counted(rig, link)) in ((10, 2), (12, 2))


def test_halting_twice_is_halting(link: DebugLink, program: int) -> None:
    link.halt()
    link.halt()
    assert link.wait(1)
    assert link.read_register("pc") == program


def test_reset_halts_a_running_core(rig: Rig, link: DebugLink, program: int) -> None:
    link.resume()
    link.reset()
    assert link.wait(0)
    assert not program <= link.read_register("pc") < program + 14
    start(rig, link, program)
    link.resume()
    assert not link.wait(0.05)
    link.halt()
    assert counted(rig, link) == 2
