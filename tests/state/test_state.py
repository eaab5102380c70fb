"""Networks that keep state: sequences against tflite-micro, in the reference, as C here and on boards, as exports."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import utvm
from tests.deploy.test_firmware import ask
from tests.support.oracle import Oracle
from tests.support.streams import CODES, activation, encoded, handle, lstm, real_lstm, real_svdf, svdf, windowed
from utvm.cores import get_core
from utvm.deploy import shell_firmware
from utvm.device import DeviceError, LinkLostError
from utvm.emulators import BootedBoard
from utvm.errors import UtvmError
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs
from utvm.graph import DType, Graph
from utvm.graph.reference import evaluate
from utvm.lowering import Program, lower
from utvm.passes import run_passes
from utvm.toolchain import Image

Array = NDArray[Any]
BOARDS = ("qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32")


def frames(graph: Graph, count: int, seed: int = 0) -> list[list[Array]]:
    """Return random inputs for runs one after another."""
    rng = np.random.default_rng(seed)
    return [[rng.integers(-128, 128, t.shape).astype(t.dtype.value) for t in graph.inputs] for _ in range(count)]


def sequence(graph: Graph, inputs: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """Return what the reference makes of runs one after another."""
    memory: dict[str, Array] = {}
    return [list(evaluate(graph, each, memory=memory).values()) for each in inputs]


def on_host(program: Program, inputs: Sequence[Sequence[Array]], folder: Path) -> list[list[Array]]:
    """Return what the C of a program makes of runs one after another, in an arena of other bytes that is reset."""
    for name, text in program.render().items():
        (folder / name).write_text(text, encoding="utf-8")
    units = sorted(path.name for path in folder.glob("*.c"))
    flags = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-ffp-contract=off")
    subprocess.run(["gcc", *flags, *units, "-o", "model.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "model.so"))
    memory = np.full(program.arena_bytes + 16, 0x5A, np.uint8)
    arena = memory[-memory.ctypes.data % 16 :]
    address = ctypes.c_void_p(arena.ctypes.data)
    places = program.memory
    getattr(library, f"{program.name}_reset")(address)
    found = []
    for each in inputs:
        for tensor, value in zip(program.graph.inputs, each, strict=True):
            start = places.offset_of(tensor)
            arena[start : start + tensor.nbytes] = np.frombuffer(value.tobytes(), np.uint8)
        getattr(library, f"{program.name}_run")(address)
        found.append(
            [
                arena[places.offset_of(t) :][: t.nbytes].view(t.dtype.value).reshape(t.shape).copy()
                for t in program.graph.outputs
            ]
        )
    return found


def equal(got: Sequence[Sequence[Array]], wanted: Sequence[Sequence[Array]]) -> None:
    """See that runs made the same outputs."""
    for number, (outputs, others) in enumerate(zip(got, wanted, strict=True)):
        for one, other in zip(outputs, others, strict=True):
            np.testing.assert_array_equal(one, np.reshape(other, one.shape), err_msg=f"run {number}")


@pytest.mark.parametrize("initial", [True, False])
def test_a_streaming_network_is_tflite_micro_over_100_frames(initial: bool, tmp_path: Path) -> None:
    data = windowed(np.random.default_rng(1), initial=initial, layers=3)
    graph = load_tflite(data)
    inputs = frames(graph, 100)
    oracle = Oracle(data)
    wanted = [oracle.run(*each) for each in inputs]
    equal(sequence(graph, inputs), wanted)
    equal(sequence(run_passes(graph), inputs), wanted)
    program = lower(run_passes(graph), get_core("cortex-m3"))
    equal(sequence(program.graph, inputs), wanted)
    equal(on_host(program, inputs, tmp_path), wanted)
    kept = sum(-(-state.initial.nbytes // 4) * 4 for state in graph.states)
    assert program.memory.state_bytes == kept > 0


def test_states_that_change_places_and_outputs_that_are_states(tmp_path: Path) -> None:
    """Three variables go round, one is an output as it was, and one is never written."""
    x = activation("x", 1, 5)
    names = "abcd"
    handles = {name: handle(name) for name in names}
    reads = {name: activation(f"{name}/read", 1, 5) for name in names}
    y, ops = activation("y", 1, 5), [made for _, made in handles.values()]
    ops += [encoded(CODES.READ_VARIABLE, [handles[n][0]], [reads[n]], "ReadVariableOptions") for n in names]
    ops.append(encoded(CODES.ADD, [reads["b"], reads["d"]], [y], "AddOptions"))
    for target, value in (("a", x), ("b", reads["a"]), ("c", reads["b"])):
        ops.append(encoded(CODES.ASSIGN_VARIABLE, [handles[target][0], value], [], "AssignVariableOptions"))
    # tflite-micro gives a variable memory where something assigns it.
    ops.append(encoded(CODES.ASSIGN_VARIABLE, [handles["d"][0], reads["d"]], [], "AssignVariableOptions"))
    resources = [tensor for tensor, _ in handles.values()]
    data = write_subgraphs(
        [Subgraph(name="m", inputs=[x], outputs=[y, reads["c"]], operators=ops, resources=resources)]
    )
    graph = load_tflite(data)
    assert [state.name for state in graph.states] == ["a/read", "b/read", "c/read"]
    inputs = frames(graph, 6)
    oracle = Oracle(data)
    wanted = [oracle.run(*each) for each in inputs]
    equal(sequence(graph, inputs), wanted)
    program = lower(run_passes(graph), get_core("cortex-m3"))
    equal(on_host(program, inputs, tmp_path), wanted)


@pytest.mark.parametrize("make", [svdf, lstm])
def test_operators_that_keep_state(make: Callable[[np.random.Generator], bytes], tmp_path: Path) -> None:
    """Drawn ones, over sequences: the reference, that after passes, and C here and on boards."""
    cases = []
    for seed in range(24):
        data = make(np.random.default_rng(seed))
        graph = load_tflite(data)
        inputs = frames(graph, 8, seed)
        oracle = Oracle(data)
        wanted = [oracle.run(*each) for each in inputs]
        equal(sequence(graph, inputs), wanted)
        cases.append((graph, inputs, wanted))
    for number, (graph, inputs, wanted) in enumerate(cases[:6]):
        folder = tmp_path / str(number)
        folder.mkdir()
        equal(on_host(lower(run_passes(graph), get_core("cortex-m3")), inputs, folder), wanted)
    for (graph, inputs, wanted), board in zip(
        cases, ("qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"), strict=False
    ):
        with utvm.connect(board) as session:
            model = utvm.Model(session, utvm.compile(graph, board))
            equal([list(model.run(each).outputs.values()) for each in inputs], wanted)


@pytest.mark.parametrize(("make", "bound"), [(real_svdf, 0.0), (real_lstm, 2e-6)])
def test_operators_of_reals_that_keep_state(
    make: Callable[[np.random.Generator], bytes], bound: float, tmp_path: Path
) -> None:
    """Drawn ones, over sequences: the reference near tflite-micro, and its bits in C here and on boards."""
    cases = []
    for seed in range(16):
        data = make(np.random.default_rng(seed))
        graph = load_tflite(data)
        inputs = [[value / np.float32(64) for value in each] for each in frames(graph, 8, seed)]
        oracle = Oracle(data)
        wanted = sequence(graph, inputs)
        for each, values in zip(inputs, wanted, strict=True):
            for got, theirs in zip(values, oracle.run(*each), strict=True):
                np.testing.assert_allclose(got, theirs.reshape(got.shape), rtol=bound, atol=bound)
        assert graph.states
        cases.append((graph, inputs, wanted))
    for number, (graph, inputs, wanted) in enumerate(cases[:4]):
        folder = tmp_path / str(number)
        folder.mkdir()
        equal(on_host(lower(run_passes(graph), get_core("cortex-m3")), inputs, folder), wanted)
    for (graph, inputs, wanted), board in zip(cases[1:], BOARDS, strict=False):
        with utvm.connect(board) as session:
            model = utvm.Model(session, utvm.compile(graph, board))
            equal([list(model.run(each).outputs.values()) for each in inputs], wanted)


def test_a_reset_starts_a_sequence_again(tmp_path: Path) -> None:
    data = windowed(np.random.default_rng(2), initial=True)
    path = tmp_path / "stream.tflite"
    path.write_bytes(data)
    graph = load_tflite(path)
    inputs = frames(graph, 4)
    wanted = sequence(graph, inputs)
    for board in BOARDS:
        with utvm.connect(board) as session:
            model = utvm.Model(session, utvm.compile(path, board))
            for _ in range(2):
                equal([list(model.run(each).outputs.values()) for each in inputs], wanted)
                model.reset()


@pytest.mark.parametrize("broken", [KeyboardInterrupt(), LinkLostError("gone")])
def test_a_run_that_does_not_end_starts_the_sequence_again(
    broken: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state may be half written, and no image brings the first values back."""
    graph = load_tflite(windowed(np.random.default_rng(2), initial=True), name="stream")
    inputs = frames(graph, 3)
    wanted = sequence(graph, inputs)
    with utvm.connect(BOARDS[1]) as session:
        model = utvm.Model(session, utvm.compile(graph, BOARDS[1]))
        equal([list(model.run(each).outputs.values()) for each in inputs], wanted)
        call = session.call

        def breaking(*arguments: Any, **options: Any) -> None:
            monkeypatch.undo()
            call(*arguments, **options)
            raise broken

        monkeypatch.setattr(session, "call", breaking)
        with pytest.raises(type(broken)) as told:
            model.run(inputs[0])
        assert isinstance(broken, KeyboardInterrupt) or "state is lost" in str(told.value)
        equal([list(model.run(each).outputs.values()) for each in inputs], wanted)
        with pytest.raises(UtvmError, match="shape"):
            model.run(np.zeros((3, 3), np.int8))
        (last,) = frames(graph, 1, 9)
        (_, _, _, more) = sequence(graph, [*inputs, last])
        equal([list(model.run(last).outputs.values())], [more])


def test_a_state_that_something_else_overwrote_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a repair, by another model, by one more of the same network, or by a load that failed."""
    graph = load_tflite(windowed(np.random.default_rng(2), initial=True), name="stream")
    inputs = frames(graph, 3)
    wanted = sequence(graph, inputs)
    with utvm.connect(BOARDS[1]) as session:
        compiled = utvm.compile(graph, BOARDS[1])
        model = utvm.Model(session, compiled)

        def repaired() -> None:
            with pytest.raises(DeviceError):
                session.call(0xF0000001)

        def failing(image: Image) -> None:
            monkeypatch.undo()
            raise LinkLostError("gone")

        def not_loaded() -> None:
            utvm.Model(session, utvm.compile(graph, BOARDS[1]))
            monkeypatch.setattr(session, "load", failing)

        disturbances = [repaired, lambda: utvm.Model(session, compiled).run(inputs[2]), not_loaded]
        for disturb in disturbances:
            model.run(inputs[1])
            disturb()
            with pytest.raises(UtvmError, match="state is lost"):
                model.run(inputs[0])
            equal([list(model.run(each).outputs.values()) for each in inputs], wanted)
            model.reset()


def test_an_export_keeps_state_and_its_check_compares_sequences(tmp_path: Path) -> None:
    path = tmp_path / "stream.tflite"
    path.write_bytes(windowed(np.random.default_rng(3), initial=True))
    made = utvm.export(path, "qemu-cortex-m7")
    made.write(tmp_path / "library")
    assert made.manifest.state_bytes > 0
    assert "stream_reset(void *arena, size_t arena_bytes);" in made.files["stream.h"]
    assert utvm.verify(tmp_path / "library", path, inputs=4, layers=True).passed
    (use,) = re.findall(r"^```c\n(.*?)^```", made.files["README.md"], re.MULTILINE | re.DOTALL)
    for text in (use, made.as_project("arduino").files["examples/Run/Run.ino"]):
        assert text.index("stream_reset(arena, sizeof arena)") < text.index("stream_run(")
    (tmp_path / "library" / "use.c").write_text(use, encoding="utf-8")
    flags = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
    subprocess.run(["gcc", *flags, "use.c"], cwd=tmp_path / "library", check=True)


def test_a_variable_of_two_shapes_is_refused() -> None:
    x, y = activation("x", 1, 5), activation("y", 1, 4)
    tensor, made = handle("v")
    ops = [
        made,
        encoded(CODES.READ_VARIABLE, [tensor], [y], "ReadVariableOptions"),
        encoded(CODES.ASSIGN_VARIABLE, [tensor, x], [], "AssignVariableOptions"),
    ]
    data = write_subgraphs([Subgraph(name="m", inputs=[x], outputs=[y], operators=ops, resources=[tensor])])
    with pytest.raises(FrontendError, match=r"read as int8\[1, 4\], written as int8\[1, 5\]"):
        load_tflite(data)


def test_branches_are_refused_with_the_reason() -> None:
    x, y = activation("x", 1, dtype=DType.BOOL, quant=None), activation("y", 1, 4)
    op = encoded(CODES.IF, [x], [y], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=2)
    graphs = [Subgraph(name="m", inputs=[x], outputs=[y], operators=[op])]
    graphs += [Subgraph(name=name, inputs=[y], outputs=[y], operators=[]) for name in ("then", "else")]
    with pytest.raises(FrontendError, match="branches at run time"):
        load_tflite(write_subgraphs(graphs))


def test_one_of_several_networks_is_chosen_by_its_signature(tmp_path: Path) -> None:
    x = activation("x", 1, 4)
    ys = [activation(name, 1, 4) for name in ("up", "down")]
    ops = [
        encoded(code, [x, x], [y], options)
        for y, code, options in zip(ys, (CODES.ADD, CODES.SUB), ("AddOptions", "SubOptions"), strict=True)
    ]
    graphs = [Subgraph(name=y.name, inputs=[x], outputs=[y], operators=[op]) for y, op in zip(ys, ops, strict=True)]
    path = tmp_path / "two.tflite"
    path.write_bytes(write_subgraphs(graphs, {"rise": 0, "fall": 1}))
    with pytest.raises(FrontendError, match=r"2 signatures \(rise, fall\)") as caught:
        utvm.load(path)
    assert "#rise" in caught.value.advice[0]
    graph = utvm.load(f"{path}#fall")
    assert (graph.name, [op.kind for op in graph.operators]) == ("two_fall", ["Sub"])
    utvm.export(f"{path}#rise", "qemu-cortex-m7").write(tmp_path / "library")
    assert utvm.verify(tmp_path / "library", f"{path}#rise", inputs=2).passed
    with pytest.raises(FrontendError, match="no signature 'other'; there are: rise, fall"):
        utvm.load(f"{path}#other")


def test_firmware_keeps_state_beside_another_model_and_resets_it(tmp_path: Path) -> None:
    """Two models on one console: the one that keeps state has its arena for itself."""
    made = []
    for name, seed in (("stream", 4), ("other", 5)):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(windowed(np.random.default_rng(seed), initial=True))
        made.append(utvm.export(path, "qemu-cortex-m4"))
    graph = load_tflite(tmp_path / "stream.tflite")
    inputs = frames(graph, 3)
    wanted = [[int(v) for v in outputs[0].reshape(-1)] for outputs in sequence(graph, inputs)]
    with BootedBoard(made[0].board, shell_firmware(made).image.path) as booted:
        booted.hear("ready\r\n")
        for _ in range(2):
            for each, outputs in zip(inputs, wanted, strict=True):
                (line,) = ask(booted, f"infer {each[0].tobytes().hex()}")
                assert [int(value) for value in line.split()[2:]] == outputs
                assert ask(booted, "use other") == []
                ask(booted, "infer 010203")
                assert ask(booted, "use stream") == []
            assert ask(booted, "reset") == []
