"""Drawn schedules of drawn operators: what is accepted computes what the reference says, and nothing else runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

import utvm
from tests.support.cases import drawn
from tests.support.draw import case_with
from tests.support.encoded import encoded
from tests.support.host import run_on_host, run_sanitized
from tests.support.target import run_programs
from utvm.codegen import SIZES, CFunction, CParameter, CWriter
from utvm.compute import Apply, Buffer, Compute, Const, Load, Reduced, axis, evaluate
from utvm.compute.collapse import collapsed
from utvm.cores import Core, get_core
from utvm.cores.instructions import ANYWHERE, EVERY
from utvm.frontends import load_tflite
from utvm.graph import DType, Graph, Operator
from utvm.graph.definitions import definition
from utvm.graph.definitions.weighted_operators import weighted_compute
from utvm.graph.reference import evaluate as reference
from utvm.kernels import BY_HAND, Config, Kernel, KernelFamily, plain_schedule
from utvm.kernels.scheduled_constants import bound_constants
from utvm.loops import (
    IllegalScheduleError,
    Schedule,
    box_elements,
    render,
    window_bytes,
)
from utvm.lowering import Options, Program, lower

KINDS = ["Conv2D", "DepthwiseConv2D", "FullyConnected"]
DEFINED = [
    *("MAXIMUM", "SQUARED_DIFFERENCE", "LESS", "SELECT_V2", "ADD_N", "SUM", "REDUCE_MAX", "ARG_MIN", "CUMSUM"),
    *("BATCH_MATMUL", "GATHER", "HARD_SWISH"),
]
"""Operators that are a definition alone, by TFLite's names."""
_MOST_UNROLLED = 64
PLAIN = get_core("cortex-m3")


class Scheduled(KernelFamily):
    """A kernel of one schedule."""

    name = "scheduled"
    kinds = (Operator,)
    dtypes = tuple(DType)

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        s, w = self.schedule, CWriter()
        defined = definition(op)
        assert defined is not None
        helpers = render(w, s)
        bound, constants = bound_constants(s)
        parameters, scratch = list(bound), 0
        for name, copied in s.copies.items():
            if copied.at is not None:
                scratch = copied.buffer.elements * SIZES[copied.buffer.c_type] + window_bytes(s, name)
                kind = copied.buffer.c_type
                parameters.append(CParameter(name=f"{name}_staged", c_type=kind, role="scratch"))
        for name in s.boxes:
            scratch = box_elements(s, name)
            parameters.append(CParameter(name=f"{name}_staged", c_type="int8_t", role="scratch"))
        given = [(name, t) for name, t in defined.inputs.items() if not t.is_constant]
        read = {buffer.name for buffer in s.compute.buffers}
        for name in {name for name, _ in given} - read:
            w(f"(void){name};")
        inputs = [CParameter(name=name, c_type=t.dtype.c_type, role="input") for name, t in given]
        output = CParameter(name="y", c_type=op.outputs[0].dtype.c_type, role="output")
        every = (*inputs, *parameters, output)
        function = CFunction(stem="scheduled", comment="", parameters=every, body=w.text, helpers=helpers)
        return Kernel(family=self.name, config=config, function=function, constants=constants, scratch_bytes=scratch)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A case, the schedule that came out, and how many steps were refused; `own` is whether users could make it."""

    graph: Graph
    inputs: list[np.ndarray]
    schedule: Schedule
    refused: int
    own: bool = False

    def program(self, core: Core) -> Program:
        (op,) = self.graph.operators
        choice = (BY_HAND, {"steps": self.schedule.text}) if self.own else (Scheduled(self.schedule), {})
        return lower(self.graph, core, Options(choices={op.name: choice}))


def verb(draw: st.DrawFn, s: Schedule) -> Callable[[], Schedule]:
    """A step, legal or not: any verb; names are any that exist or did, or one that never did, sizes anything."""
    names = [loop.axis for loop in s.loops]
    buffers = [*(b.name for b in s.compute.buffers), "nothing"]
    if not names:
        return s.fold_zero_point
    known = [*names, *names, *s.extents, "nothing"]
    pick = lambda: draw(st.sampled_from(known))  # noqa: E731
    some = lambda: draw(st.permutations(sorted(s.extents)))[: draw(st.integers(1, 4))]  # noqa: E731
    match draw(st.integers(0, 12)):
        case 0 | 1:
            name, size, pad = pick(), draw(st.integers(0, 5)), draw(st.booleans())
            return lambda: s.split(name, size, pad=pad)
        case 2:
            order = draw(st.permutations(names))
            return lambda: s.reorder(*order[: draw(st.sampled_from([len(order), len(order), 1]))])
        case 3:
            space = [n for n in names if not s.is_reduced(n)]
            sums = [n for n in names if s.is_reduced(n)]
            return lambda: s.reorder(*space, *sums)
        case 4 | 5:
            name = pick()
            unrolled = prod(loop.extent for loop in s.loops if loop.unroll) * s.extents.get(name, 1)
            return lambda: s.unroll(name) if unrolled <= _MOST_UNROLLED else s
        case 6:
            name = pick()
            return lambda: s.peel(name)
        case 7:
            return s.fold_zero_point
        case 8:
            start, count = draw(st.integers(0, len(names) - 1)), draw(st.integers(0, 3))
            name = draw(st.sampled_from([f"m{len(s.extents)}", "m", names[0]]))
            return lambda: s.merge(names[start : start + count], name)
        case 9:
            every = [n for n in names if n not in ("n", "oy", "ox", "p")] if draw(st.booleans()) else some()
            name = draw(st.sampled_from([*s.constants, *s.constants, *buffers]))
            return lambda: s.pack(name, *every)
        case 10:
            at, name = pick(), draw(st.sampled_from(buffers))
            inner = names[names.index(at) + 1 :] if at in names else names
            layout = inner if draw(st.booleans()) else some()
            return lambda: s.stage(name, at, *layout)
        case 11:
            at, name = pick(), draw(st.sampled_from(buffers))
            return lambda: s.stage_box(name, at)
        case _:
            lanes, instruction = pick(), draw(st.sampled_from(EVERY))
            return lambda: s.replace(instruction, lanes)


def template(draw: st.DrawFn, s: Schedule) -> Callable[[], Schedule]:
    """The steps of a product by an instruction, in sizes that may not fit."""
    m, n, unroll = (draw(st.integers(1, 4)) for _ in range(3))
    instruction = draw(st.sampled_from(ANYWHERE))

    def made() -> Schedule:
        t = s.fold_zero_point()
        if "ky" in t.extents:
            t = t.merge(("n", "oy", "ox"), "p").merge(("ky", "kx", "ic"), "k")
        t = t.split("p", m).split("oc", n).split("k", instruction.lanes, pad=True).split("k_o", unroll)
        group = ("g",) if "g" in t.extents else ()
        t = t.reorder("p_o", *group, "oc_o", "k_o_o", "k_o_i", "p_i", "oc_i", "k_i").unroll("p_i", "oc_i", "k_o_i")
        t = t.pack("weights", *group, "oc_o", "k_o", "oc_i", "k_i").stage("x", (*group, "p_o")[0], "k_o", "p_i", "k_i")
        return t.replace(instruction, "k_i")

    return made


@st.composite
def weighted_cases(draw: st.DrawFn) -> Drawn:
    kind = draw(st.sampled_from(KINDS))
    graph, inputs = draw(case_with(kind))
    s = plain_schedule(graph.operators[0])
    by_template = kind != "DepthwiseConv2D" and draw(st.booleans())
    steps = [template] if by_template else [verb] * draw(st.integers(1, 9))
    return scheduled(draw, graph, inputs, s, steps, own=True)


@st.composite
def defined_cases(draw: st.DrawFn) -> Drawn:
    case = encoded(draw(st.sampled_from(DEFINED)), draw(st.integers(0, 30)), largest=7)
    graph = load_tflite(case.model)
    assume(len(graph.operators) == 1)
    (op,) = graph.operators
    found = definition(op)
    assume(found is not None and found.only is not None)
    if draw(st.booleans()):
        return scheduled(draw, graph, case.inputs, plain_schedule(op), [verb] * draw(st.integers(1, 7)), own=True)
    compute = collapsed(found.only)
    held = {b.name: b.shape for b in compute.buffers}
    constants = dict(found.constants)
    for name, tensor in found.inputs.items():
        if tensor.is_constant and name in held:
            constants[name] = tensor.values.astype(np.uint8 if tensor.dtype is DType.BOOL else tensor.values.dtype)
    return scheduled(draw, graph, case.inputs, Schedule.of(compute, constants), [verb] * draw(st.integers(1, 7)))


def scheduled(
    draw: st.DrawFn,
    graph: Graph,
    inputs: list[np.ndarray],
    plain: Schedule,
    steps: list[Callable[[st.DrawFn, Schedule], Callable[[], Schedule]]],
    *,
    own: bool = False,
) -> Drawn:
    s, refused = plain, 0
    for step in steps:
        try:
            changed = step(draw, s)()
        except IllegalScheduleError:
            refused += 1
            continue
        # A kernel has one scratch.
        staged = len(changed.boxes) + sum(copied.at is not None for copied in changed.copies.values())
        s = changed if staged < 2 else s
    try:
        render(CWriter(), s)
    except IllegalScheduleError:
        s, refused = plain, refused + 1
    # An instruction that this core lacks has no place in a record for it.
    known = s.instruction is None or s.instruction in ANYWHERE
    return Drawn(graph, inputs, s, refused, own and known)


@pytest.fixture(scope="module")
def every() -> list[Drawn]:
    found = [*drawn(weighted_cases(), 7), *drawn(defined_cases(), 5)]
    assert any(case.refused for case in found)
    assert any(case.schedule.instruction is not None for case in found)
    assert any(case.schedule.copies for case in found)
    assert any(case.schedule.boxes for case in found)
    return found


def check(case: Drawn, got: list[np.ndarray]) -> None:
    wanted = reference(case.graph, case.inputs)
    for tensor, value in zip(case.graph.outputs, got, strict=True):
        np.testing.assert_array_equal(value, wanted[tensor.name], err_msg=f"{case.graph}\n{case.schedule.loops}")


def test_what_is_accepted_is_exact_here(every: list[Drawn]) -> None:
    outputs = run_on_host([case.program(PLAIN) for case in every], [case.inputs for case in every])
    for case, got in zip(every, outputs, strict=True):
        check(case, got)


@pytest.mark.parametrize("board", ["qemu-cortex-m3", "qemu-cortex-m0", "qemu-riscv32"])
def test_what_is_accepted_is_exact_on_a_core(every: list[Drawn], board: str) -> None:
    with utvm.connect(board) as session:
        some = every[::4]
        programs = [case.program(session.board.core) for case in some]
        for case, got in zip(some, run_programs(session, programs, [c.inputs for c in some]), strict=True):
            if got is not None:
                check(case, got)


def test_blocks_that_are_filled_up_read_nothing_beyond_the_ends() -> None:
    """Packed or not: the address sanitizer sees what is read."""
    every = drawn(case_with("FullyConnected"), 1 / 4)
    programs = []
    for graph, inputs in every:
        schedule = Schedule.of(*weighted_compute(graph.operators[0]))
        padded = schedule.split("k", schedule.extents["k"] // 2 + 2, pad=True)
        programs.append(Drawn(graph, inputs, padded, 0).program(PLAIN))
    for (graph, inputs), got in zip(every, run_sanitized(programs, [i for _, i in every], "gcc"), strict=True):
        check(Drawn(graph, inputs, Schedule.of(*weighted_compute(graph.operators[0])), 0), got)


def test_a_computation_means_what_the_reference_says() -> None:
    for kind in KINDS:
        for graph, inputs in drawn(case_with(kind), 1 / 2):
            (op,) = graph.operators
            compute, constants = weighted_compute(op)
            values = {**constants, "x": inputs[0].reshape(compute.buffers[0].shape)}
            values = {b.name: values[b.name] if b.name != "x" else inputs[0].reshape(b.shape) for b in compute.buffers}
            wanted = reference(graph, inputs)[graph.outputs[0].name]
            np.testing.assert_array_equal(evaluate(compute, values).reshape(wanted.shape), wanted, err_msg=str(op))


def plain_sum(rows: int, columns: int) -> Schedule:
    """y[r] = sum of (x[r, c] - 3) * w[c]."""
    x = Load(buffer=Buffer(name="x", c_type="int8_t", shape=(rows, columns)), index=(axis("r"), axis("c")))
    w = Load(buffer=Buffer(name="w", c_type="int8_t", shape=(columns,)), index=(axis("c"),))
    compute = Compute(
        space={"r": rows},
        reduce={"c": columns},
        init=Const(value=0),
        term=Apply(operation="*", left=Apply(operation="-", left=x, right=Const(value=3)), right=w),
        epilogue=Reduced(),
        output=Buffer(name="y", c_type="int32_t", shape=(rows,)),
        index=(axis("r"),),
    )
    return Schedule.of(compute, {"w": np.full(columns, 127, np.int8)})


def wide_input(s: Schedule) -> Schedule:
    """The same sum of int32."""
    x, w, _ = s.product() or pytest.fail("it is a product")
    wide = replace(x, buffer=replace(x.buffer, c_type="int32_t"))
    return replace(s, compute=replace(s.compute, term=Apply(operation="*", left=wide, right=w)))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda s: s.split("q", 2), "no loop is named 'q'"),
        (lambda s: s.split("r", 9), "blocks of 9"),
        (lambda s: s.split("r", 3, pad=True), "no factor of the term is 0"),
        (lambda s: s.merge(("r", "c"), "p"), "can't be one loop"),
        (lambda s: s.reorder("r"), "names each of them once"),
        (lambda s: s.peel("c"), "only loops over the output"),
        (lambda s: s.split("r", 2).split("r_o", 2), "shorter last block"),
        (lambda s: s.fold_zero_point(), "starts from a constant"),
        (lambda s: s.pack("x", "r"), "not known when compiling"),
        (lambda s: s.pack("w", "r"), "depends on c"),
        (lambda s: s.stage("w", "r", "c"), "is a constant"),
        (lambda s: s.stage("x", "c", "r"), "part of the sum"),
        (lambda s: wide_input(s).stage("x", "r", "c"), "only int8 is copied"),
        (lambda s: wide_input(s).stage_box("x", "r"), "only int8 is copied"),
        (lambda s: s.stage("x", "r", "c").reorder("c", "r"), "reorder before"),
        (lambda s: s.stage("x", "r", "c").split("c", 2), "change the loop before"),
        (lambda s: s.split("r", 5).stage("x", "r_i", "c").unroll("r_o"), "has something staged in it"),
        (lambda s: s.pack("w", "c").split("c", 4, pad=True), "packed in the order of 'c'"),
        (lambda s: s.replace(ANYWHERE[0], "c"), "fold the zero point first"),
        (lambda s: render(CWriter(), s.reorder("c", "r")), "inside of the sum"),
    ],
)
def test_a_step_says_why_it_is_not_legal(step: Callable[[Schedule], object], reason: str) -> None:
    with pytest.raises(IllegalScheduleError, match=reason):
        step(plain_sum(5, 6))


def test_an_instruction_is_refused_where_weights_are_too_large() -> None:
    """Four products of 127 and 128 do not fit 16 bits; two do."""
    s = plain_sum(4, 8)
    x, w, _ = s.product() or pytest.fail("it is a product")
    compute = s.compute
    s = Schedule.of(
        Compute(
            space=compute.space,
            reduce=compute.reduce,
            init=compute.init,
            term=Apply(operation="*", left=x, right=w),
            epilogue=compute.epilogue,
            output=compute.output,
            index=compute.index,
        ),
        s.constants,
    )
    for instruction in ANYWHERE:
        t = s.split("c", instruction.lanes).pack("w", "c_o", "c_i").stage("x", "r", "c_o", "c_i")
        if instruction.lanes == 2:
            t.replace(instruction, "c_i")
        else:
            with pytest.raises(IllegalScheduleError, match="exact up to 32767"):
                t.replace(instruction, "c_i")
