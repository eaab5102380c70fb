"""The micro-kernel back end: a scheduled block computes what the written order does, on the emulated core."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import utvm
from utvm.codegen import CSupport
from utvm.cores import get_core
from utvm.cores.measured import MEASURED
from utvm.cores.microkernel import Block, ScheduleError, schedule
from utvm.cores.microkernel.walk import Strategy, Walker
from utvm.cores.thumb import parse
from utvm.cores.timing import Timing
from utvm.device import Session, build_image
from utvm.kernels.dsp.assembly import assembler_function
from utvm.toolchain import Source

POOL = ("r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr")
FIXED = {"%in": "r0", "%out": "r1", "%acc": "r2"}
WORDS = 16


def random_block(seed: int, length: int) -> Block:
    """Loads, arithmetic on what is there, stores; a running sum in a fixed register that is live throughout."""
    generator = random.Random(seed)
    block = Block()
    live: list[str] = []
    for step in range(length):
        kind = generator.choice(["load", "load", "alu", "simd", "mac", "accumulate", "chain", "store", "flags"])
        name = f"%v{step}"
        if kind == "load" or len(live) < 2:
            block(f"ldr {name}, [%in, #{4 * generator.randrange(WORDS)}]")
            live.append(name)
        elif kind == "store":
            block(f"str {generator.choice(live)}, [%out, #{4 * generator.randrange(WORDS)}]")
        elif kind == "accumulate":
            a, b = generator.choice(live), generator.choice(live)
            block(f"smlad %acc, {a}, {b}, %acc")
        elif kind == "chain":
            target = generator.choice(live)
            block(f"add {target}, {target}, {generator.choice(live)}, asr #3")
        elif kind == "flags":
            a, b = generator.choice(live), generator.choice(live)
            block(f"ssub8 %u{step}, {a}, {b}", f"sel {name}, {a}, {b}")
            live.append(name)
        else:
            a, b = generator.choice(live), generator.choice(live)
            form = {"alu": "add {0}, {1}, {2}", "simd": "sxtb16 {0}, {1}, ror #8", "mac": "smmulr {0}, {1}, {2}"}[kind]
            block(form.format(name, a, b))
            live.append(name)
        live = live[-6:]
    return block


def as_function(name: str, lines: tuple[str, ...] | list[str]) -> CSupport:
    return assembler_function(
        name,
        f"int {name}(const int *in, int *out, int acc)",
        ["push {r4-r11, lr}", *lines, "mov r0, r2", "pop {r4-r11, pc}"],
        "a drawn block",
    )


@pytest.fixture(scope="module", params=["qemu-cortex-m4", "qemu-cortex-m7"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    with utvm.connect(request.param) as opened:
        yield opened


def written_order(block: Block) -> list[str]:
    """Return the block in its written order with registers given one by one: what it is compared with."""
    places: dict[str, str] = dict(FIXED)
    free = list(POOL)
    last = {}
    for position, instruction in enumerate(block.code):
        for word in set(instruction.uses) | set(instruction.writes):
            last[word] = position
    lines = []
    for position, instruction in enumerate(block.code):
        text = instruction.text
        names = sorted(
            {w for w in (*instruction.uses, *instruction.writes) if w.startswith("%")}, key=len, reverse=True
        )
        for name in names:
            if name not in places:
                places[name] = free.pop()
        for name in names:
            text = text.replace(name, places[name])
        lines.append(text)
        free += [places.pop(name) for name in names if last[name] == position and name not in FIXED]
    return lines


def run(session: Session, lines: tuple[str, ...] | list[str], seed: int) -> tuple[int, bytes]:
    support = as_function("drawn", lines)
    keep = (
        "int words_in[16], words_out[16];\nint call(int acc);\n"
        "int call(int acc) { return drawn(words_in, words_out, acc); }\n"
    )
    image = build_image(session.board, [Source(name="drawn.c", text=support.text + keep)], entries=["call"])
    session.load(image)
    session.write("words_in", random.Random(seed).randbytes(4 * WORDS))
    value = session.call("call", seed).value
    return value, session.read("words_out", 4 * WORDS)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=(HealthCheck.function_scoped_fixture, HealthCheck.too_slow),
)
@given(seed=st.integers(0, 10**6), length=st.integers(3, 80))
def test_a_scheduled_block_computes_what_the_written_one_does(session: Session, seed: int, length: int) -> None:
    block = random_block(seed, length)
    core = session.board.core
    assert core.timing is not None
    expected = run(session, written_order(block), seed)
    for timing in (core.timing, MEASURED[core.name]):
        scheduled = schedule(block, timing, pool=POOL, fixed=FIXED)
        assert len(scheduled.lines) == len(block)
        assert run(session, scheduled.lines, seed) == expected


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m33"])
def test_too_few_registers_are_told(core: str) -> None:
    block = Block(["ldr %a, [%in, #0]", "ldr %b, [%in, #4]", "add %c, %a, %b", "str %c, [%out, #0]"])
    timing = get_core(core).timing
    assert timing is not None
    with pytest.raises(ScheduleError, match="do not fit 1 registers"):
        schedule(block, timing, pool=POOL[:1], fixed=FIXED)
    assert len(schedule(block, timing, pool=POOL[:2], fixed=FIXED).lines) == 4


def test_dual_issue_reaches_the_wall_of_direct_convolution() -> None:
    """Four pixels by two channels: a load or extension beside every multiplication, one multiplication a cycle."""
    block = Block()
    for pair in range(40):
        for m in range(4):
            block(f"ldr %a{pair}_{m}, [%out, #{64 * m + 4 * pair}]")
            for n in range(2):
                if m == 0:
                    block(f"sxtb16 %w{pair}_1, %w{pair}_0" if n else f"ldr %w{pair}_0, [%in, #{4 * pair}]")
                block(f"smlad %c{m}_{n}, %a{pair}_{m}, %w{pair}_{n}, %c{m}_{n}")
    timing: Timing | None = get_core("cortex-m7").timing
    assert timing is not None
    live = [f"%c{m}_{n}" for m in range(4) for n in range(2)]
    pool = ("r2", *POOL)
    scheduled = schedule(block, timing, pool=pool, fixed={"%in": "r0", "%out": "r1"}, live_in=live)
    assert scheduled.cycles <= 1.02 * 40 * 8


@pytest.mark.parametrize(
    ("text", "writes", "uses"),
    [
        ("smlad r0, r1, r2, r3", {"r0"}, {"r1", "r2", "r3"}),
        ("ldr r0, [r1, r2, lsl #2]", {"r0"}, {"r1", "r2"}),
        ("ldr r0, [r1], #4", {"r0", "r1"}, {"r1"}),
        ("strb r0, [r1, #3]", set(), {"r0", "r1"}),
        ("ldmia r0!, {r4-r6, lr}", {"r0", "r4", "r5", "r6", "lr"}, {"r0"}),
        ("subs r3, #1", {"r3", "flags"}, {"r3"}),
        ("bne.w 1b", set(), {"flags"}),
        ("smull r0, r1, r2, r3", {"r0", "r1"}, {"r2", "r3"}),
        ("sel r0, r1, r2", {"r0"}, {"r1", "r2", "ge"}),
        ("movt r0, #1", {"r0"}, {"r0"}),
        ("addne r0, r1, r2", {"r0"}, {"r0", "r1", "r2", "flags"}),
    ],
)
def test_what_an_instruction_reads_and_writes(text: str, writes: set[str], uses: set[str]) -> None:
    instruction = parse(text)
    assert set(instruction.writes) == writes
    assert set(instruction.uses) == uses


@given(seed=st.integers(0, 10**9), length=st.integers(1, 120))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize(
    "timing", [*(get_core(core).timing for core in ("cortex-m4", "cortex-m7")), *MEASURED.values()]
)
def test_cycles_of_a_schedule_are_those_of_the_core_s_timing(timing: Timing, seed: int, length: int) -> None:
    block = random_block(seed, length)
    walker = Walker(block, timing, pool=POOL, fixed=FIXED, live_in=())
    for strategy in (
        Strategy(priority="pair", window=12, reserve=1),
        Strategy(priority="critical", window=40, reserve=0),
        Strategy(priority="order", window=1, reserve=0),
    ):
        walked = walker.walk(strategy)
        if walked is not None:
            code = [parse(line) for line in walker.lines(walked)]
            assert sorted(walked.order) == list(range(len(block)))
            assert walked.cycles == timing.cost(code, code)


def test_an_interrupted_search_leaves_nothing_and_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timing, block = get_core("cortex-m7").timing, random_block(5, 60)
    assert timing is not None
    monkeypatch.setenv("UTVM_CACHE", str(tmp_path / "undisturbed"))
    wanted = schedule(block, timing, pool=POOL, fixed=FIXED)
    monkeypatch.setenv("UTVM_CACHE", str(tmp_path / "cache"))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for owner, name in ((Walker, "walk"), (Path, "replace")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                schedule(block, timing, pool=POOL, fixed=FIXED)
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert schedule(block, timing, pool=POOL, fixed=FIXED) == wanted


def test_a_walk_ends_early_only_where_it_takes_longer() -> None:
    timing = get_core("cortex-m7").timing
    assert timing is not None
    for seed in range(6):
        walker = Walker(random_block(seed, 100), timing, pool=POOL, fixed=FIXED, live_in=())
        for strategy in (
            Strategy(priority="pair", window=12, reserve=1),
            Strategy(priority="order", window=1, reserve=0),
        ):
            whole = walker.walk(strategy)
            if whole is not None:
                assert walker.walk(strategy, below=whole.cycles + 0.5) == whole
                assert walker.walk(strategy, below=whole.cycles / 2) is None


def test_what_can_t_be_scheduled_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = get_core("cortex-m7").timing
    assert timing is not None
    pool = POOL[:2]
    tangled = Block(["ldr %a, [%in, #0]", "ldr %b, [%in, #4]", "ldr %c, [%in, #8]", "smlad %d, %a, %b, %c"])
    with pytest.raises(ScheduleError, match="4 instructions do not fit 2 registers"):
        schedule(tangled, timing, pool=pool, fixed=FIXED)
    monkeypatch.setattr(Walker, "walk", lambda *_: pytest.fail("the search was repeated"))
    with pytest.raises(ScheduleError, match="4 instructions do not fit 2 registers"):
        schedule(tangled, timing, pool=pool, fixed=FIXED)
