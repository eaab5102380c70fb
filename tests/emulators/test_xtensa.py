"""A third instruction set: an Xtensa LX106 in QEMU, whose server does not describe its registers."""

import math
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import utvm
from utvm import api
from utvm.api.assembling import prepared
from utvm.boards import load_board
from utvm.device import Session, TargetFaultError, build_image
from utvm.device.calls import FrameCalls
from utvm.graph.reference import evaluate
from utvm.toolchain import Source

BOARD = "qemu-xtensa"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
PROGRAM = """\
#include <stdint.h>
int32_t divided(int32_t a, int32_t b);
int32_t remaining(int32_t a, int32_t b);
uint32_t remaining_unsigned(uint32_t a, uint32_t b);
uint32_t long_divided(uint32_t high, uint32_t low, uint32_t by);
int32_t peek(const int32_t *from);
uint32_t floats(uint32_t a, uint32_t b, uint32_t kind);
int32_t eight(int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f, int32_t g, int32_t h);
static int32_t product_high;
int32_t high_product(int32_t a, int32_t b);
int32_t high_product(int32_t a, int32_t b) {
  volatile int64_t left = a, right = b;
  product_high = (int32_t)((left * right) >> 32);
  return product_high;
}
int32_t divided(int32_t a, int32_t b) { return a / b; }
int32_t remaining(int32_t a, int32_t b) { return a % b; }
uint32_t remaining_unsigned(uint32_t a, uint32_t b) { return a % b; }
uint32_t long_divided(uint32_t high, uint32_t low, uint32_t by) {
  return (uint32_t)(((uint64_t)high << 32 | low) / by);
}
uint32_t floats(uint32_t a, uint32_t b, uint32_t kind) {
  union { uint32_t bits; float value; } x = {a}, y = {b}, z;
  z.value = kind == 0 ? x.value * y.value : kind == 1 ? x.value + y.value : kind == 2 ? x.value - y.value
          : kind == 3 ? (float)(int32_t)a : (float)a;
  return z.bits;
}
int32_t peek(const int32_t *from) { return *from; }
int32_t eight(int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f, int32_t g, int32_t h) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}
"""
ENTRIES = ["high_product", "divided", "remaining", "remaining_unsigned", "long_divided", "peek", "eight", "floats"]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    board = load_board(BOARD)
    with api.connect(board) as opened:
        opened.load(build_image(board, [Source(name="program.c", text=PROGRAM)], entries=ENTRIES))
        yield opened


def test_products_and_divisions_that_its_library_lacks(session: Session) -> None:
    rng = np.random.default_rng(3)
    for a, b in (*rng.integers(-(2**31), 2**31, (6, 2)).tolist(), (-(2**31), 1), (-(2**31), -(2**31)), (7, 2**31 - 1)):
        assert session.call("high_product", a, b).value == (a * b >> 32) & 0xFFFFFFFF
        assert session.call("divided", a, b).value == int(a / b) & 0xFFFFFFFF
        assert session.call("remaining", a, b).value == int(math.fmod(a, b)) & 0xFFFFFFFF
        assert session.call("remaining_unsigned", a, b).value == (a & 0xFFFFFFFF) % (b & 0xFFFFFFFF)
        top = abs(b) // 2
        assert session.call("long_divided", top, a & 0xFFFFFFFF, abs(b)).value == (top << 32 | a & 0xFFFFFFFF) // abs(b)


def test_floats_that_its_library_lacks(session: Session) -> None:
    rng = np.random.default_rng(4)
    near = (rng.normal(0, 1, (30, 2)) * 10.0 ** rng.integers(-3, 4, (30, 2))).astype(np.float32).view(np.uint32)
    any_bits = rng.integers(0, 2**32, (60, 2), dtype=np.uint32)
    special = np.array([0, 1 << 31, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x3F800000], np.uint32)
    pairs = np.concatenate([near, any_bits, near[:, [0, 0]] ^ np.uint32([0, 1 << 31]), rng.choice(special, (40, 2))])
    x, y = pairs[:, 0].view(np.float32), pairs[:, 1].view(np.float32)
    with np.errstate(all="ignore"):
        wanted = [x * y, x + y, x - y, pairs[:, 0].view(np.int32).astype(np.float32), pairs[:, 0].astype(np.float32)]
    for kind, values in enumerate(wanted):
        got = [session.call("floats", int(a), int(b), kind).value for a, b in pairs]
        got_floats = np.array(got, np.uint32).view(np.float32)
        unknown = np.isnan(values)
        np.testing.assert_array_equal(np.isnan(got_floats), unknown)
        np.testing.assert_array_equal(got_floats.view(np.uint32)[~unknown], values.view(np.uint32)[~unknown])


def test_arguments_beyond_the_registers_and_instructions(session: Session) -> None:
    done = session.call("eight", *range(1, 9))
    assert done.value == sum(n * n for n in range(1, 9))
    assert 8 < (done.instructions or 0) < 60
    assert done.cycles is None


def test_a_fault_is_decoded_and_survived(session: Session) -> None:
    with pytest.raises(TargetFaultError, match=r"unaligned load or store.*in peek at program.c.*0x60000001"):
        session.call("peek", 0x60000001)
    assert session.call("divided", 84, 2).value == 42


def test_calls_through_memory_as_on_a_wired_board(session: Session) -> None:
    board = session.board
    image = build_image(
        board,
        [Source(name="program.c", text=PROGRAM), _call_source()],
        entries=[*ENTRIES, "utvm_invoke", "utvm_frame"],
    )
    session.load(image)
    calls, link = FrameCalls(board.core.isa.convention), session._live
    calls.prepare(link, image, image.symbol("eight").address, range(1, 9))
    link.resume()
    assert link.wait(10)
    assert calls.result(link, image, "eight") == sum(n * n for n in range(1, 9))
    assert link.read_register("pc") == image.symbol("utvm_return").address


def _call_source() -> Source:
    text = (files("utvm.device") / "runtime" / "call.c").read_text(encoding="utf-8")
    return Source(name="utvm_call.c", text=text)


def test_the_whole_example_is_equal_bit_by_bit() -> None:
    graph = prepared(EXAMPLE)
    compiled = utvm.compile(EXAMPLE, BOARD)
    rng = np.random.default_rng(5)
    inputs = {t.name: rng.integers(-128, 128, t.shape, np.int8) for t in graph.inputs}
    with api.connect(BOARD) as opened:
        result = api.Model(opened, compiled).run(inputs)
    wanted = evaluate(graph, list(inputs.values()))
    assert list(result.outputs) == [tensor.name for tensor in graph.outputs]
    for name, value in result.outputs.items():
        np.testing.assert_array_equal(value, wanted[name])
    assert result.measurement.cycles is None
    assert (result.measurement.instructions or 0) > 1_000_000
    assert "blocked" in {call.kernel.family for call in compiled.program.calls}
