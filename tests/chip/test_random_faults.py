"""Calls while things go wrong at random: every result is right, or an error says why; nothing hangs, the link survives.

UTVM_FAULTY_CALLS sets how many calls there are for each link and core; UTVM_FAULTY_SEED what goes wrong in them.
"""

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache

import pytest

from tests.support.chip import probe as _registers_the_probes  # noqa: F401
from tests.support.chip.bench import plugged
from tests.support.chip.damage import KINDS, Plan
from tests.support.chip.process import PINS_VARIABLE, ChipProcess, board_file
from utvm.boards import Board, load_board
from utvm.device import (
    CallTimeoutError,
    LinkGarbledError,
    LinkLostError,
    LinkRefusedError,
    LinkTimeoutError,
    Session,
    TargetFaultError,
    VerificationError,
    build_image,
    open_session,
)
from utvm.toolchain import Image, Source

CALLS = int(os.environ.get("UTVM_FAULTY_CALLS", "10"))
SEED = int(os.environ.get("UTVM_FAULTY_SEED", "1"))
CALL_SECONDS = 5.0
HANG_SECONDS = 200.0  # the call's deadline and those of all attempts to get the board back, on a busy machine
EXPECTED = (
    *(LinkGarbledError, LinkLostError, LinkRefusedError, LinkTimeoutError),
    *(CallTimeoutError, TargetFaultError, VerificationError),
)
RATES = {
    "read_flip": 1 / 150,
    "write_flip": 1 / 100,
    "fault": 1 / 300,
    "wait": 1 / 100,
    "power": 1 / 600,
    "sample_flip": 1 / 10_000,
    "input_flip": 1 / 30_000,
    "stuck": 1 / 30_000,
    "cut": 1 / 40_000,
}
"""So that about every other call is struck. The last four are of pins and rarer than those of words."""

PROGRAM = """\
#include <stdint.h>
uint8_t input[256];
uint8_t output[256];
uint32_t calls;
uint32_t mix(uint32_t count, uint32_t key);

__attribute__((noinline)) uint32_t mix(uint32_t count, uint32_t key) {
  uint32_t sum = key;
  for (uint32_t i = 0; i < count; i++) {
    sum = sum * 1664525u + input[i] + 1013904223u;
    output[i] = (uint8_t)(sum >> 24);
  }
  return sum;
}
"""


def expected(data: bytes, key: int) -> tuple[int, bytes]:
    """What `mix` returns and writes."""
    total, output = key, bytearray()
    for byte in data:
        total = (total * 1664525 + byte + 1013904223) & 0xFFFFFFFF
        output.append(total >> 24)
    return total, bytes(output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A board that can be damaged: `follow` takes a plan, `mend` ends it and undoes what lasts; `done` counts."""

    board: Board
    follow: Callable[[Plan], None]
    mend: Callable[[], None]
    done: Callable[[], Counter[str]]


@contextmanager
def behind_openocd(core: str) -> Iterator[Rig]:
    with ChipProcess(core) as chip, pytest.MonkeyPatch.context() as patch:
        patch.setenv(PINS_VARIABLE, str(chip.pins))
        yield Rig(
            board=load_board(board_file(core), trust=True),
            follow=lambda plan: void(chip.control(plan=asdict(plan))),
            mend=lambda: void(chip.control(plan={}, power=True)),
            done=lambda: Counter(chip.control()["done"]),
        )


@contextmanager
def behind_pyocd(core: str) -> Iterator[Rig]:
    with plugged(core) as bench:

        def mend() -> None:
            bench.follow(Plan())
            bench.plugged = True
            if not bench.chip.powered:
                bench.return_power()

        yield Rig(
            board=load_board(board_file(core), trust=True).linked_by("pyocd"),
            follow=bench.follow,
            mend=mend,
            done=lambda: Counter(bench.done),
        )


def void(_: object) -> None:
    """Forget a value."""


@cache
def image(board: str) -> Image:
    return build_image(
        load_board(board_file(board), trust=True), [Source(name="mix.c", text=PROGRAM)], entries=("mix",)
    )


def random_plan(dice: random.Random) -> Plan:
    """One kind of fault, once or a few times, short or long or for ever."""
    kind = dice.choice(list(KINDS))
    return Plan(
        seed=dice.getrandbits(30),
        rates={kind: RATES[kind]},
        limit=dice.choice((1, 1, 2, 5)),
        wait_accesses=dice.choice((3, 30, 300)),
        power_accesses=dice.choice((5, 50, 500)),
        stuck_samples=dice.choice((50, 2000, 20_000, 0)),
    )


def call(session: Session, dice: random.Random) -> bool:
    """Call once; return whether all of it came back right."""
    data, key = dice.randbytes(dice.randrange(1, 257)), dice.getrandbits(32)
    session.write("input", data)
    value = session.call("mix", len(data), key, timeout=CALL_SECONDS).value
    return (value, session.read("output", len(data))) == expected(data, key)


@pytest.mark.parametrize(
    ("rig", "core"),
    [
        (behind_openocd, "cortex-m7"),
        (behind_openocd, "cortex-m4"),
        (behind_openocd, "cortex-m33"),
        (behind_pyocd, "cortex-m7"),
        (behind_pyocd, "cortex-m33"),
    ],
)
def test_results_are_right_or_errors_say_why(rig: Callable[[str], Iterator[Rig]], core: str) -> None:
    dice, outcomes = random.Random(f"{SEED} {core}"), Counter[str]()
    with rig(core) as damaged, open_session(damaged.board) as session:
        session.load(image(core))
        for number in range(CALLS):
            plan = random_plan(dice)
            damaged.follow(plan)
            started = time.monotonic()
            try:
                assert call(session, dice), f"call {number} returned something wrong: {plan}"
                outcomes["right"] += 1
            except EXPECTED as error:
                outcomes[type(error).__name__] += 1
            assert time.monotonic() - started < HANG_SECONDS, f"call {number} hung: {plan}"
            damaged.mend()
            with contextlib.suppress(*EXPECTED):  # what the fault left behind may show only now
                assert call(session, dice), f"after call {number} something wrong came back: {plan}"
                continue
            assert call(session, dice), f"after call {number} the link does not work: {plan}"
        done = damaged.done()
    print(f"{CALLS} calls, faults {dict(done)}, outcomes {dict(outcomes)}")
    assert done.total() >= CALLS // 4
    assert outcomes["right"] >= CALLS // 4
