"""Loops over calls that repeat themselves: the same calls in the same order, and no loop where a turn differs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from utvm.codegen import ArenaRef, CArray, CCall, CFunction, CParameter
from utvm.codegen.calls import Symbols, call_lines
from utvm.codegen.rolling import Turns, rolled

Calls = list[tuple[str, list[int]]]
"""The key of each call and its places."""


@st.composite
def turns(draw: st.DrawFn) -> Calls:
    """Turns of a loop: each call has places that move by strides of their own."""
    period, count = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    place = st.tuples(st.integers(0, 99), st.sampled_from([0, 0, 4, 24, -8]))
    body = [(draw(st.sampled_from("abc")), [draw(place), draw(place)]) for _ in range(period)]
    return [(key, [1000 + a + b * t for a, b in where]) for t in range(count) for key, where in body]


@st.composite
def programs(draw: st.DrawFn) -> Calls:
    """Several such loops, in which single keys and places may differ."""
    calls = [call for part in draw(st.lists(turns(), max_size=3)) for call in part]
    for index in draw(st.lists(st.integers(0, max(len(calls) - 1, 0)), max_size=2)) if calls else []:
        key, where = calls[index]
        calls[index] = ("d", where) if draw(st.booleans()) else (key, [where[0] + 4, *where[1:]])
    return calls


def written_out(calls: Calls, stretches: Sequence[Turns]) -> Calls:
    """Return the calls that stretches stand for, told by the first two turns of each."""
    made: Calls = []
    for s in stretches:
        for turn in range(s.turns):
            for index in range(s.first, s.first + s.period):
                key, start = calls[index]
                after = calls[index + s.period][1] if s.turns > 1 else start
                made.append((key, [a + turn * (b - a) for a, b in zip(start, after, strict=True)]))
    return made


def found(calls: Calls) -> list[Turns]:
    return rolled([key for key, _ in calls], [where for _, where in calls])


@given(programs())
def test_loops_stand_for_the_same_calls_in_the_same_order(calls: Calls) -> None:
    stretches = found(calls)
    assert written_out(calls, stretches) == calls
    assert all(s.turns == 1 or (s.turns >= 3 and (s.turns - 1) * s.period >= 8) for s in stretches)


def steps(count: int, *, period: int = 4, stride: int = 8) -> Calls:
    return [(f"k{index}", [100 * index, 1000 + stride * turn]) for turn in range(count) for index in range(period)]


def test_a_turn_with_another_place_or_constant_parts_a_loop() -> None:
    assert found(steps(20)) == [Turns(first=0, period=4, turns=20)]
    moved = steps(20)
    moved[41] = (moved[41][0], [100, 7])
    assert found(moved) == [
        Turns(first=0, period=4, turns=10),
        Turns(first=40, period=2, turns=1),
        Turns(first=42, period=4, turns=9),
        Turns(first=78, period=2, turns=1),
    ]
    other = [*steps(10), *steps(10, stride=12)]
    assert [(s.first, s.turns) for s in found(other) if s.turns > 1] == [(0, 10), (40, 10)]


def test_states_that_alternate_between_two_places_take_turns_of_two_steps() -> None:
    calls = steps(20, stride=0)
    for turn in range(1, 20, 2):
        calls[4 * turn] = ("k0", [64, 1000])
    assert found(calls) == [Turns(first=0, period=8, turns=10)]


def test_few_or_differing_calls_are_left_as_they_are() -> None:
    for calls in ([], steps(2, period=9), steps(4, period=2), [(str(i), [i]) for i in range(50)]):
        assert all(s.turns == 1 for s in found(calls))
    joined = [("concatenation", list(range(0, 4 * n, 4))) for n in (17, 17, 17) * 5]
    assert found(joined) == [Turns(first=0, period=15, turns=1)]


def traced(name: str) -> CFunction:
    parameters = [
        CParameter(name="x", c_type="float", role="input"),
        CParameter(name="w", c_type="int8_t", role="constant"),
        CParameter(name="y", c_type="int8_t", role="output"),
    ]
    body = f'  printf("{name} %d %d %d\\n", (int)((const uint8_t *)x - arena), w[0], (int)((uint8_t *)y - arena));'
    return CFunction(stem=name, comment=name, parameters=tuple(parameters), body=body)


def test_the_c_of_loops_makes_all_calls(tmp_path: Path) -> None:
    kernels = [traced(f"k{index}") for index in range(3)]
    weights = [CArray.of(np.array([index], np.int8)) for index in range(2)]
    calls = [
        CCall(
            label=f"{turn}/{index} */ \\",
            function=kernels[index],
            operands={
                "x": ArenaRef(offset=40_000 - 24 * turn),
                "w": weights[turn == 30],
                "y": ArenaRef(offset=8 * index if turn % 2 else 4),
            },
        )
        for turn in range(40)
        for index in range(3)
    ]
    names = Symbols(
        functions={kernel: kernel.stem for kernel in kernels},
        arrays={array: f"w{index}" for index, array in enumerate(weights)},
    )
    lines = call_lines(calls, names, lambda place: (f"BEFORE({place});", f'printf("%d\\n", (int)-{place});'))
    assert sum("for (" in line for line in lines) == 2
    source = [
        "#include <stdint.h>", "#include <stdio.h>", "static uint8_t arena[65536];",
        "static const int8_t w0[] = {0}, w1[] = {1};", '#define BEFORE(index) printf("%d\\n", 1000 - (int)index)',
        *(kernel.render(kernel.stem) for kernel in kernels), "int main(void) {", *lines, "}",
    ]  # fmt: skip
    (tmp_path / "main.c").write_text("\n".join(source))
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1"]
    subprocess.run(["gcc", *strict, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    said = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = []
    for place, call in enumerate(calls):
        x, y = call.operands["x"], call.operands["y"]
        assert isinstance(x, ArenaRef)
        assert isinstance(y, ArenaRef)
        weight = int(call.operands["w"] is weights[1])
        expected += [str(1000 - place), f"{call.function.stem} {x.offset} {weight} {y.offset}", str(-place)]
    assert said == expected
