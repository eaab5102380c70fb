"""Of an image, only what the target does not hold is sent."""

import random
from collections.abc import Iterator

import pytest

import utvm
from tests.device.conftest import ENTRIES, PROGRAM
from utvm.boards import load_board
from utvm.device import DebugLink, Session, build_image
from utvm.device.contents import Piece
from utvm.device.holdings import Holdings
from utvm.errors import UtvmError
from utvm.toolchain import Image, Source

BOARD = "qemu-cortex-m7"
TABLE_BYTES = 60_000
STACK_BYTES = 4096


def image_with_table(changed: dict[int, int]) -> Image:
    """The test program with a large table, some of its bytes changed, and a large zeroed variable."""
    table = bytearray(random.Random(7).randbytes(TABLE_BYTES))
    for position, value in changed.items():
        table[position] = value
    text = (
        f"{PROGRAM}\nconst uint8_t table[{TABLE_BYTES}] = {{{','.join(map(str, table))}}};\nuint8_t room[50000];\n"
        "ENTRY(uint32_t, sum, void) { uint32_t s = 0; for (uint32_t i = 0; i < sizeof table; i++) s += table[i]; "
        "for (uint32_t i = 0; i < sizeof room; i++) s += room[i]; return s; }\n"
        "ENTRY(void, scribble, void) { for (uint32_t i = 0; i < sizeof room; i++) room[i] = 1; }\n"
    )
    entries = [*ENTRIES, "sum", "scribble"]
    return build_image(load_board(BOARD), [Source(name="program.c", text=text)], entries=entries, optimize="-O1")


def expected_sum(changed: dict[int, int]) -> int:
    table = bytearray(random.Random(7).randbytes(TABLE_BYTES))
    for position, value in changed.items():
        table[position] = value
    return sum(table)


@pytest.fixture
def session() -> Iterator[Session]:
    with utvm.connect(BOARD) as opened:
        yield opened


@pytest.fixture
def sent(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each write from here on."""
    sizes: list[int] = []
    link: type[DebugLink] = type(session._live)
    write = link.write_memory

    def counting(self: DebugLink, address: int, data: bytes) -> None:
        sizes.append(len(data))
        write(self, address, data)

    monkeypatch.setattr(link, "write_memory", counting)
    return sizes


def test_a_second_image_costs_its_difference(session: Session, sent: list[int]) -> None:
    session.load(image_with_table({}))
    first = sum(sent)
    assert first > TABLE_BYTES
    assert session.call("sum").value == expected_sum({})
    session.call("scribble")
    sent.clear()
    changed = {10: 1, 30_000: 2, 59_999: 3}
    session.load(image_with_table(changed))
    assert sum(sent) <= 2 * STACK_BYTES + len(changed) * 128
    assert session.call("sum").value == expected_sum(changed)
    sent.clear()
    session.load(image_with_table(changed))
    assert sum(sent) <= 2 * STACK_BYTES


def test_after_trouble_nothing_is_taken_for_granted(session: Session, sent: list[int]) -> None:
    session.load(image_with_table({}))
    table = session.image.symbol("table").address
    session._live.write_memory(table + 100, b"\x00\x01\x02\x03")  # as a program gone wild would
    sent.clear()
    with pytest.raises(UtvmError):
        session.call("undefined")
    assert sum(sent) > TABLE_BYTES
    assert session.call("sum").value == expected_sum({})


def test_damage_behind_our_back_is_found_by_the_next_load(session: Session) -> None:
    session.load(image_with_table({}))
    session._live.write_memory(session.image.symbol("table").address + 100, b"\x00\x01\x02\x03")
    with pytest.raises(UtvmError, match=r"\.rodata .* does not hold what was written"):
        session.load(image_with_table({}))
    assert session.call("sum").value == expected_sum({})


def piece(address: int, data: bytes) -> Piece:
    return Piece(name=".text", address=address, data=data)


def test_what_is_sent_makes_the_old_the_new() -> None:
    draw = random.Random(3)
    for _ in range(300):
        memory = bytearray(draw.randbytes(4096))
        holdings = Holdings()
        old = draw.randbytes(draw.randrange(1, 2000))
        for part in holdings.replace([piece(64, old)]):
            memory[part.address : part.address + len(part.data)] = part.data
        new = bytearray(old[: draw.randrange(len(old) + 1)] + draw.randbytes(draw.randrange(1, 500)))
        for _ in range(draw.randrange(4)):
            new[draw.randrange(len(new))] ^= 0xFF
        at = 64 + draw.choice((0, 0, 16, len(old) // 2))
        for part in holdings.replace([piece(at, bytes(new))]):
            memory[part.address : part.address + len(part.data)] = part.data
        assert memory[at : at + len(new)] == new
