"""What the bridge to TVM does; run by `test_bridge.py` in an environment with TVM."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tvm import relax, te, tirx
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir import meta_schedule

import utvm
import utvm.tvm
from tests.fleet.support import FleetProcesses
from utvm.codegen import CFunction
from utvm.fleet import Fleet
from utvm.tuning import measure, rack
from utvm.tvm.candidate import build, build_code, expected
from utvm.tvm.code import TirCode, operands_of, tir_code
from utvm.tvm.module import tir_module

BOARD = "qemu-cortex-m7"


def product(dtype: str, *, rows: int = 4, twice: bool = False) -> object:
    """Return x @ w of 4x12 by 12x6 in TIR, or twice that."""
    total = "int32" if dtype == "int8" else dtype
    x, w = te.placeholder((rows, 12), dtype, "x"), te.placeholder((12, 6), dtype, "w")
    k = te.reduce_axis((0, 12), "k")

    def term(i: object, j: object) -> object:
        value = x[i, k].astype(total) * w[k, j].astype(total)
        return value * te.const(2, total) if twice else value

    return te.create_prim_func([x, w, te.compute((rows, 6), lambda i, j: te.sum(term(i, j), k), "y")])


def by_hand(schedule: object) -> None:
    """Unroll a tile of outputs whose size is sampled."""
    block = schedule.get_sblock("y")
    i, j, k = schedule.get_loops(block)
    outer, inner = schedule.split(j, schedule.sample_perfect_tile(j, 2, max_innermost_factor=6))
    schedule.reorder(i, outer, k, inner)
    schedule.unroll(inner)
    schedule.decompose_reduction(block, k)


@pytest.mark.parametrize(("dtype", "space"), [("int8", None), ("float32", by_hand)])
def test_candidates_are_measured_and_checked(dtype: str, space: object) -> None:
    with utvm.tvm.Boards(BOARD) as boards:
        tuned = utvm.tvm.tune(product(dtype), boards, trials=4, space=space)
    assert tuned.trials
    assert {trial.outcome for trial in tuned.trials} == {"ok"}
    assert tuned.gain >= 1
    assert len(repr(tuned)) < 200
    loggers = [name for name in logging.root.manager.loggerDict if name.startswith("tvm.s_tir.meta_schedule")]
    assert loggers
    assert not [logging.getLogger(name).handlers for name in loggers if logging.getLogger(name).handlers]
    assert boards._folder is None


def test_failures_are_told_as_metaschedule_wants_them() -> None:
    """A candidate of another function is wrong; one that is too large is not built."""
    builder_input = meta_schedule.builder.BuilderInput
    runner_input = meta_schedule.runner.RunnerInput
    module = utvm.tvm.as_module
    with utvm.tvm.Boards(BOARD) as boards:
        builder, runner = boards.builder(product("int8")), boards.runner()
        candidates = product("int8", twice=True), product("int8", rows=5), product("int8")
        wrong, other, right = builder.build([builder_input(module(f), utvm.tvm.c_target()) for f in candidates])
        assert "other operands" in str(other.error_msg)
        assert all(Path(each.artifact_path).is_file() for each in (wrong, right))
        futures = runner.run([runner_input(each.artifact_path, "cpu", []) for each in (wrong, right)])
        answers = [future.result() for future in futures]
        large = product("float32", rows=1 << 19)
        (big,) = boards.builder(large).build([builder_input(module(large), utvm.tvm.c_target())])
    assert "values differ from the reference" in str(answers[0].error_msg)
    assert answers[1].error_msg is None
    assert answers[1].run_secs[0] > 0
    assert "does not fit" in str(big.error_msg)


def test_a_fleet_makes_the_trials() -> None:
    """With one host that has just died, too."""
    with FleetProcesses() as processes:
        dead = processes.worker([BOARD])
        processes.worker([BOARD])
        dead.kill()
        with utvm.tvm.Boards(BOARD, fleet=processes.fleet) as boards:
            tuned = utvm.tvm.tune(product("int8"), boards, trials=2, space=by_hand)
    assert {trial.outcome for trial in tuned.trials} == {"ok"}


def test_a_candidate_that_hangs_or_faults_leaves_the_board_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_LEAST_SECONDS", 3.0)
    function = product("int8")
    code = tir_code(function, stem="kernel", comment="")

    def broken(body: str) -> TirCode:
        kernel = CFunction(stem="kernel", comment="", parameters=code.function.parameters, body=body)
        return TirCode(operands=operands_of(function), function=kernel, scratch_bytes=0)

    with utvm.tvm.Boards(BOARD) as boards:
        programs = [
            build(function, boards.board),
            build_code(broken("  while (x == x) *(volatile int32_t *)y = *x * *w;"), boards.board, 0.0),
            build_code(broken("  *y = *x * *w;\n  *(volatile int32_t *)0xfffffff0u = 1;"), boards.board, 0.0),
            build(function, boards.board),
        ]
        outcomes = [boards.submit(expected(function), each).result().outcome for each in programs]
    assert outcomes == ["ok", "hung", "crashed", "ok"]


def test_boards_that_vanish_cost_only_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of tuning the best trial so far counts; before any, tuning fails with what the board said."""
    works, seen = measure.Measurer.measure, list[int]()

    def gone(measurer: object, *work: object) -> object:
        seen.append(1)
        if len(seen) > last:
            raise measure.BoardLostError("the cable is out")
        return works(measurer, *work)

    monkeypatch.setattr(measure.Measurer, "measure", gone)
    monkeypatch.setattr(rack, "_RETRY_SECONDS", 0.1)
    last = 4
    with utvm.tvm.Boards(BOARD) as boards, pytest.warns(utvm.UtvmWarning, match="best of 3 trials .* cable is out"):
        tuned = utvm.tvm.tune(product("int8"), boards, trials=8, space=by_hand)
    assert len(tuned.trials) == 3
    assert tuned.best.cycles == min(tuned.untuned.cycles, *(trial.cycles for trial in tuned.trials))
    last = len(seen) + 1
    with utvm.tvm.Boards(BOARD) as boards, pytest.raises(utvm.UtvmError, match="cable is out"):
        utvm.tvm.tune(product("int8"), boards, trials=2, space=by_hand)


NAMES = ["int", "INT32_MIN", "scratch", "x", "x_2", "X", "linux", "expf", "uint8_t", "*/", "utvm_arena", "main"]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "float32", "bool"])
def test_any_name_and_type_is_c(dtype: str) -> None:
    """Each operator of each type, floor division and remainders of negative numbers, shifts into the sign."""
    places = [te.placeholder((3, 4), "bool" if dtype == "bool" else "int8", name) for name in NAMES]
    used = "int32" if dtype == "bool" else dtype

    def term(i: object, j: object) -> object:
        a, b, c, d, *others = (p[i, j].astype(used) for p in places)
        two, three = tirx.const(2, used), tirx.const(3, used)
        value = tirx.if_then_else(
            a < b, tirx.min(a * b, c) - d, tirx.Select(tirx.all(c > d, a != b), two - c, d + i.astype(used))
        )
        if used == "float32":
            return value + tirx.exp(a / tirx.const(200.0, used)) + tirx.round(b / two) + sum(others, three)
        rest = tirx.floordiv(c, three) * two + tirx.floormod(d, three) + (a << two) + (b >> two) + (~c & (d | a) ^ b)
        total = value + rest + tirx.floordiv(d, two) + sum(others, three)
        return total > three if dtype == "bool" else total

    function = te.create_prim_func([*places, te.compute((3, 4), term, "for")])
    with utvm.tvm.Boards(BOARD) as boards:
        trial = boards.submit(expected(function), build(function, boards.board)).result()
    assert (trial.outcome, trial.message) == ("ok", "")


def test_a_chain_of_bounds_is_short() -> None:
    x = te.placeholder((4, 8), "int32", "x")

    def chain(i: object, j: object) -> object:
        value = x[i, j]
        for step in range(30):
            value = tirx.max(tirx.min(value * 3 + step, 100 - step), step - 100)
        return value

    code = tir_code(te.create_prim_func([x, te.compute((4, 8), chain, "y")]), stem="f", comment="")
    assert len(code.function.body) < 5000


def test_code_is_plain_c_with_scratch_that_is_known() -> None:
    x = te.placeholder((8, 64), "float32", "x")
    doubled = te.compute((8, 64), lambda i, j: x[i, j] * te.const(2.0, "float32"), "doubled")
    turned = te.compute((64, 8), lambda i, j: te.exp(doubled[j, i]), "turned")
    code = tir_code(te.create_prim_func([x, turned]), stem="turn", comment="")
    assert code.scratch_bytes in (0, 8 * 64 * 4)
    assert "TVM" not in code.function.body
    text = f"#include <math.h>\n#include <stdint.h>\n{code.function.render('turn')}".replace("static ", "")
    image = utvm.build_c(BOARD, {"turn.c": text}, entry="turn", flags=["-Wall", "-Wextra", "-Werror"])
    value = np.linspace(-1, 1, 512, dtype=np.float32).reshape(8, 64)
    scratch = [np.zeros(code.scratch_bytes, np.uint8)] if code.scratch_bytes else []
    with utvm.connect(BOARD) as session:
        session.load(image)
        run = session.measure("turn", [value, np.zeros((64, 8), np.float32), *scratch])
    assert np.allclose(run.outputs[1], np.exp(2 * value).T, rtol=1e-5)


def network() -> tuple[object, object]:
    """Return a convolution, an activation, a pooling and a matrix product in Relax, and the same in numpy."""
    rng = np.random.default_rng(2)
    weights, units = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 2, 3, 3), (64, 5)))
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 2, 8, 8), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(x, relax.const(weights), padding=1)))
            y = builder.emit(relax.op.reshape(relax.op.nn.max_pool2d(y, 2, 2), (1, 64)))
            y = builder.emit_output(relax.op.nn.softmax(relax.op.matmul(y, relax.const(units))))
        builder.emit_func_output(y)

    def run(image: np.ndarray) -> np.ndarray:
        padded = np.pad(image[0], ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        made = np.maximum(np.einsum("chwij,ocij->ohw", windows, weights), 0)
        pooled = made.reshape(4, 4, 2, 4, 2).max((2, 4)).reshape(1, 64) @ units
        return np.exp(pooled - pooled.max()) / np.exp(pooled - pooled.max()).sum()

    return builder.get(), run


def test_a_relax_module_is_compiled_and_tuned() -> None:
    module, run = network()
    image = np.random.default_rng(3).normal(size=(1, 2, 8, 8)).astype(np.float32)
    with utvm.tvm.Boards(BOARD) as boards:
        tuned, gains = utvm.tvm.tune_module(module, boards, trials=1, space=lambda schedule: None)
    assert gains
    cycles = []
    for each in (module, tuned):
        compiled = utvm.tvm.compile(each, BOARD, name="small")
        assert compiled.program.arena_bytes < 4096
        with utvm.connect(BOARD) as session:
            result = utvm.Model(session, compiled).run(image)
        (output,) = result.outputs.values()
        assert np.allclose(output, run(image), rtol=1e-4, atol=1e-6)
        cycles.append(result.measurement.cycles)
    assert cycles[1] <= cycles[0]


def test_operands_that_are_places_are_drawn_within_what_they_read() -> None:
    table, places = te.placeholder((5, 3), "float32", "table"), te.placeholder((4,), "int64", "places")
    y = te.compute((4, 3), lambda i, j: table[places[i], j] * te.const(2.0, "float32"), "y")
    function = te.create_prim_func([table, places, y])
    drawn = expected(function).inputs["places"]
    assert 0 <= drawn.min() <= drawn.max() < 5
    with utvm.tvm.Boards(BOARD) as boards:
        assert boards.submit(expected(function), build(function, boards.board)).result().outcome == "ok"


def test_a_relax_module_is_exported_built_and_run() -> None:
    module, run = network()
    image = np.random.default_rng(4).normal(size=(1, 2, 8, 8)).astype(np.float32)
    files = utvm.tvm.export(module, BOARD, name="small")
    strict = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    program = utvm.build_c(BOARD, files, entry="small_run", flags=strict)
    size = utvm.tvm.compile(module, BOARD, name="small").program.arena_bytes
    with utvm.connect(BOARD) as session:
        session.load(program)
        done = session.measure("small_run", [image, np.zeros((1, 5), np.float32), np.zeros(size, np.uint8), size])
    assert done.value == 0
    assert np.allclose(done.outputs[1], run(image), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("offload", [False, True])
def test_a_module_may_have_tuples_bounds_and_constants_that_are_made(offload: bool) -> None:
    """Items of a split are taken late, results are nested, `full` is no constant of the file, ReLU6 is a clip."""
    weights = np.random.default_rng(7).normal(size=(3, 2, 1, 1)).astype(np.float32)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 4, 5, 5), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            halves = builder.emit(relax.op.split(x, 2, axis=1))
            y = builder.emit(relax.op.nn.conv2d(builder.emit(relax.TupleGetItem(halves, 0)), relax.const(weights)))
            y = builder.emit(relax.op.clip(y, 0, 6))
            twos = builder.emit(relax.op.full((1, 1, 5, 5), relax.const(2.0, "float32"), "float32"))
            z = builder.emit(relax.op.multiply(builder.emit(relax.TupleGetItem(halves, 1)), twos))
            both = builder.emit_output(relax.Tuple([y, relax.Tuple([z])]))
        builder.emit_func_output(both)
    compiled = utvm.tvm.compile(builder.get(), BOARD, offload=offload)
    image = np.random.default_rng(8).normal(size=(1, 4, 5, 5)).astype(np.float32)
    with utvm.connect(BOARD) as session:
        first, second = utvm.Model(session, compiled).run(image).outputs.values()
    wanted = np.clip(np.einsum("chw,oc->ohw", image[0, :2], weights[:, :, 0, 0]), 0, 6)
    assert np.allclose(first[0], wanted, rtol=1e-5, atol=1e-6)
    assert np.array_equal(second, 2 * image[:, 2:])
    assert any(call.kernel.family != "tvm" for call in compiled.program.calls) == offload


def quantised() -> object:
    """Return two int8 convolutions between pairs, and a sine, which µTVM has not, between them."""
    rng = np.random.default_rng(5)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 3, 8, 8), "float32"))

    def paired(value: object, scale: float) -> object:
        units = relax.const(np.float32(scale)), relax.const(np.int8(-3))
        stored = builder.emit(relax.op.quantize(value, *units, axis=1, out_dtype="int8"))
        return builder.emit(relax.op.dequantize(stored, *units, axis=1, out_dtype="float32"))

    def weights(*shape: int) -> object:
        values = relax.const(rng.integers(-127, 128, shape).astype(np.int8))
        units = relax.const(np.full(shape[0], 2**-8, np.float32)), relax.const(np.zeros(shape[0], np.int8))
        return builder.emit(relax.op.dequantize(values, *units, axis=0, out_dtype="float32"))

    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.conv2d(paired(x, 2**-5), weights(4, 3, 3, 3), padding=1))
            bias = relax.const(rng.normal(size=(1, 4, 1, 1)).astype(np.float32).round(1))
            y = paired(builder.emit(relax.op.nn.relu(builder.emit(relax.op.add(y, bias)))), 0.037)
            y = builder.emit(relax.op.sin(y))
            y = builder.emit(relax.op.nn.conv2d(paired(y, 2**-6), weights(5, 4, 3, 3), strides=2))
            y = builder.emit(relax.op.nn.max_pool2d(paired(y, 0.041), 2, 1))
            y = builder.emit_output(relax.op.reshape(y, (1, 20)))
        builder.emit_func_output(y)
    return builder.get()


def test_operators_that_we_have_are_taken_over() -> None:
    """In int8 with equal outputs; TVM keeps the rest, and says why; each layer's gain is told; exported, built, run."""
    module, image = quantised(), np.random.default_rng(6).normal(size=(1, 3, 8, 8)).astype(np.float32)
    outputs, cycles = [], []
    for offload in (False, True):
        compiled = utvm.tvm.compile(module, BOARD, name="mixed", offload=offload)
        with utvm.connect(BOARD) as session:
            result = utvm.Model(session, compiled).run(image)
        outputs += result.outputs.values()
        cycles.append(result.measurement.cycles)
    families = [call.kernel.family for call in compiled.program.calls]
    assert families.count("tvm") == 1
    assert np.array_equal(*outputs)
    assert cycles[1] < cycles[0] / 2
    gains = utvm.tvm.gains(module, BOARD)
    assert [part.operators[0] for part in gains.parts if part.own is None] == ["sin"]
    assert "no operators of µTVM" in repr(gains)
    assert sum(part.tvm if part.own is None else part.own for part in gains.parts) < cycles[1]
    assert all(part.own < part.tvm for part in gains.parts if "nn.conv2d" in part.operators)
    assert "<table>" in gains._repr_html_()
    files = utvm.tvm.export(module, BOARD, name="mixed", offload=True)
    program = utvm.build_c(BOARD, files, entry="mixed_run", flags=["-std=c11", "-Wall", "-Wextra", "-Werror"])
    size = compiled.program.arena_bytes
    with utvm.connect(BOARD) as session:
        session.load(program)
        done = session.measure("mixed_run", [image, np.zeros((1, 20), np.float32), np.zeros(size, np.uint8), size])
    assert np.array_equal(done.outputs[1], outputs[0])


def pairs(kind: type) -> onnx.ModelProto:
    """Return Pad, a depthwise convolution with ReLU6 and a pointwise one between pairs, as quantisers write them."""
    rng, nodes, constants = np.random.default_rng(9), list[onnx.NodeProto](), list[onnx.TensorProto]()

    def constant(value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(constants)}"))
        return constants[-1].name

    def add(op: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [f"v{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def paired(value: str, scale: float, zero: int) -> str:
        units = constant(np.float32(scale)), constant(kind(zero + (128 if kind is np.uint8 else 0)))
        return add("DequantizeLinear", add("QuantizeLinear", value, *units), *units)

    def weights(*shape: int) -> str:
        units = constant(np.full(shape[0], 2**-8, np.float32)), constant(np.zeros(shape[0], np.int8))
        return add("DequantizeLinear", constant(rng.integers(-127, 128, shape).astype(np.int8)), *units, axis=0)

    x = add("Pad", paired("x", 2**-5, 0), constant(np.array([0, 0, 1, 0, 0, 0, 1, 2])))
    y = add("Conv", x, weights(4, 1, 3, 3), group=4)
    y = paired(add("Clip", y, constant(np.float32(0)), constant(np.float32(6))), 6 / 255, -128)
    nodes.append(helper.make_node("Identity", [paired(add("Conv", y, weights(3, 4, 1, 1)), 2**-3, 5)], ["y"]))
    ends = [helper.make_tensor_value_info(*end) for end in (("x", 1, [1, 4, 6, 6]), ("y", 1, [1, 3, 6, 6]))]
    graph = helper.make_graph(nodes, "pairs", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    return made


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_what_the_onnx_frontend_writes_as_tir_is_taken_over_too(kind: type) -> None:
    """Clip and Pad come as TIR functions; signs of stored integers may differ; a step is what rounding may change."""
    module, image = from_onnx(pairs(kind)), np.random.default_rng(10).normal(size=(1, 4, 6, 6)).astype(np.float32)
    outputs = []
    for offload in (False, True):
        compiled = utvm.tvm.compile(module, BOARD, offload=offload)
        with utvm.connect(BOARD) as session:
            outputs += utvm.Model(session, compiled).run(image).outputs.values()
    assert all(call.kernel.family != "tvm" for call in compiled.program.calls)
    assert np.abs(outputs[0] - outputs[1]).max() <= 2**-3
    assert np.mean(outputs[0] == outputs[1]) > 0.9


def test_nothing_to_take_over_is_said() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 8), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.nn.relu(relax.op.sin(x)))
        builder.emit_func_output(y)
    with pytest.warns(utvm.UtvmWarning, match="nothing is offloaded: no operators of µTVM; there are no sums"):
        utvm.tvm.compile(builder.get(), BOARD, offload=True)
    with pytest.raises(utvm.UtvmError, match="offload before it is tuned"):
        utvm.tvm.compile(tir_module(builder.get()), BOARD, offload=True)


def odd(schedule: object) -> None:
    schedule.get_sblock("absent")


def tune_once(function: object, *, space: object) -> object:
    with utvm.tvm.Boards(BOARD) as boards:
        return utvm.tvm.tune(function, boards, trials=1, space=space)


def failing(schedule: object) -> None:
    raise KeyError("mine")


def test_what_loses_is_said() -> None:
    lost = utvm.tvm.OffloadedPart(operators=("matmul",), tvm=100, own=150, reason="", source="DWT")
    assert str(lost) == "matmul: TVM's 100, ours 150, 1.5 times more"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: utvm.tvm.tune(3, utvm.tvm.Boards(BOARD), trials=1), "no TIR function"),
        (lambda: utvm.tvm.tune(product("int8"), utvm.tvm.Boards(BOARD), trials=0), "0 trials"),
        (lambda: utvm.tvm.Boards(["qemu-cortex-m7", "qemu-cortex-m4"]), "not of one kind"),
        (lambda: tir_code(product("float64"), stem="f", comment=""), "computes in float64"),
        (lambda: utvm.tvm.Boards(BOARD).builder(3), "no module of TVM"),
        (lambda: utvm.tvm.Boards([BOARD, BOARD], fleet=Fleet(address="tcp://127.0.0.1:1")), "with a fleet, name one"),
        (lambda: utvm.tvm.compile(product("int8"), BOARD), "an IRModule of Relax"),
        (lambda: utvm.tvm.compile(network()[0], BOARD, name=3), "name=3 is of type int"),
        (lambda: utvm.tvm.tune(product("int8"), BOARD, trials=1), "Boards is expected"),
        (lambda: tune_once(product("int8"), space=3), "no design space"),
        (lambda: tune_once(product("int8"), space=odd), "the space does not fit"),
        (lambda: tune_once(product("int8"), space=failing), "the space fails: KeyError 'mine'"),
        (lambda: tune_once(product("int8"), space=lambda schedule: 5), "it returns a int: return a schedule"),
        (lambda: utvm.tvm.as_module(3), "a int is no TIR function"),
        (lambda: utvm.compile(network()[0], BOARD), "give a module of Relax to utvm.tvm.compile"),
        (lambda: utvm.tvm.Boards([]), "is no board"),
        (lambda: utvm.tvm.Boards(BOARD, fleet="tcp://127.0.0.1:1"), "is no fleet"),
    ],
)
def test_wrong_arguments_are_our_errors(call: object, message: str) -> None:
    with pytest.raises(utvm.UtvmError, match=message):
        call()
