"""Firmware that boots on emulated boards by itself and answers on its UART; no debug link is attached."""

import re
import subprocess
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.exports import EVERYWHERE, exported, model_path
from tests.support.oracle import Oracle
from tests.support.shared import shared
from utvm.boards import Board, BoardError, load_board
from utvm.cli import main
from utvm.deploy import Firmware, FirmwareError, flash, mlperf_firmware, shell_firmware
from utvm.deploy.firmware import build_firmware
from utvm.emulators import BootedBoard, EmulatorError
from utvm.frontends import load
from utvm.graph.reference import evaluate
from utvm.toolchain import Source

BOARDS = (
    "qemu-cortex-m0",
    "qemu-cortex-m3",
    "qemu-cortex-m4",
    "qemu-cortex-m7",
    "qemu-cortex-m33",
    "qemu-cortex-m55",
    "qemu-riscv32",
)
KWS = "kws_dscnn_int8"


def ask(board: BootedBoard, line: str) -> list[str]:
    """Send a line and return the lines of the answer, without its "ok"."""
    board.send(line + "\n")
    said = ""
    while not re.search(r"(^|\n)(ok|error: [^\r\n]*)\r\n$", said):
        said += board.hear("\r\n")
    *lines, last = said.split("\r\n")[:-1]
    return lines if last == "ok" else [last]


def inputs_of(name: str, count: int = 2) -> list[np.ndarray]:
    shape = load(model_path(name)).inputs[0].shape
    generator = np.random.default_rng(3)
    return [generator.integers(-128, 128, shape).astype(np.int8) for _ in range(count)]


def expected(name: str, x: np.ndarray) -> list[int]:
    (value,) = evaluate(load(model_path(name)), [x]).values()
    return [int(v) for v in value.reshape(-1)]


def inferred(board: BootedBoard, x: np.ndarray) -> list[int]:
    raw = x.tobytes()
    for start in range(0, len(raw), 500):
        assert ask(board, f"input 0 {start} {raw[start : start + 500].hex()}") == []
    (line,) = ask(board, "infer")
    assert line.startswith("output output ")
    return [int(value) for value in line.split()[2:]]


@pytest.mark.parametrize("board", BOARDS)
def test_boots_by_itself_and_answers(board: str) -> None:
    made = exported(KWS, board)
    with BootedBoard(made.board, shell_firmware([made]).image.path) as booted:
        assert booted.hear("ready\r\n") == f"utvm {KWS} ready\r\n"
        info = ask(booted, "info")
        assert f"arena {made.program.arena_bytes}" in info
        assert f"stack {made.manifest.stack_bytes}" in info
        assert "input input 490 bytes" in info
        for x in inputs_of(KWS):
            assert inferred(booted, x) == expected(KWS, x)
        assert ask(booted, f"infer {inputs_of(KWS)[0].tobytes().hex()}")[0].startswith("output output ")
        runs, ticks, _ = ask(booted, "bench 2")
        assert runs == "runs 2"
        assert int(ticks.split()[1]) > 0


def test_a_console_of_the_user_s_own_is_three_functions(tmp_path: Path) -> None:
    driver = (files("utvm.deploy") / "runtime" / "uart_cmsdk.c").read_text(encoding="utf-8")
    described = (files("utvm.boards") / "qemu-cortex-m4.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(re.sub(r'kind = "cmsdk"', 'kind = "file"\nfile = "mine.c"', described))
    with pytest.raises(BoardError, match=r"'file' of \[console\] is 'mine.c': there is no such .c file"):
        load_board(tmp_path / "mine.toml")
    (tmp_path / "mine.c").write_text(driver)
    board = load_board(tmp_path / "mine.toml")
    made = replace(exported(KWS), board=board)
    with BootedBoard(board, shell_firmware([made]).image.path) as booted:
        assert booted.hear("ready\r\n") == f"utvm {KWS} ready\r\n"
        assert ask(booted, "models") == [KWS]


def test_what_it_does_not_understand_it_says() -> None:
    made = exported(KWS)
    with BootedBoard(made.board, shell_firmware([made]).image.path) as booted:
        booted.hear("ready\r\n")
        for line, answer in (
            ("nonsense", "error: commands: info"),
            ("infer 0", "error: not an even number"),
            ("infer " + "00" * 491, "error: more bytes than the input has"),
            ("input 1 0 00", "error: say: input"),
            ("input 0 491 00", "error: the offset is beyond"),
            ("use that", "error: no such model"),
            ("bench", "error: say: bench RUNS"),
            ("infer " + "00" * 700, "error: commands"),
        ):
            assert ask(booted, line)[0].startswith(answer), line
        assert ask(booted, "models") == [KWS]


def test_two_models_in_one_firmware() -> None:
    made = [exported(KWS), exported("cifar10_cnn")]
    with BootedBoard(made[0].board, shell_firmware(made).image.path) as booted:
        booted.hear("ready\r\n")
        assert ask(booted, "models") == [KWS, "cifar10_cnn"]
        for name in ("cifar10_cnn", KWS, "cifar10_cnn"):
            assert ask(booted, f"use {name}") == []
            x = inputs_of(name, 1)[0]
            assert inferred(booted, x) == expected(name, x)
    with pytest.raises(FirmwareError, match="named alike"):
        shell_firmware([made[0], made[0]])


TWO_CONTEXTS = """\
#include "kws_dscnn_int8.h"
#include "utvm_console.h"

_Alignas(16) static uint8_t main_arena[KWS_DSCNN_INT8_ARENA_BYTES], tick_arena[KWS_DSCNN_INT8_ARENA_BYTES];
static int8_t main_x[KWS_DSCNN_INT8_INPUT_BYTES], tick_x[KWS_DSCNN_INT8_INPUT_BYTES];
static int8_t main_y[KWS_DSCNN_INT8_OUTPUT_BYTES], tick_y[KWS_DSCNN_INT8_OUTPUT_BYTES];
static volatile int32_t ticks, inside, interrupted, wrong;
static int8_t want_main[sizeof main_y], want_tick[sizeof tick_y];

int main(void);
static _Alignas(128) void (*table[16])(void);

static int32_t differ(const int8_t *one, const int8_t *other) {
  int32_t count = 0;
  for (uint32_t i = 0; i < sizeof main_y; i++) {
    count += one[i] != other[i];
  }
  return count;
}

/* One tick, some time from now. */
static void arm_tick(void) {
  *(volatile uint32_t *)0xE000E018u = 0u;
  *(volatile uint32_t *)0xE000E010u = 7u;
}

/* The next tick is armed when this one's work is done: the program that it interrupts always gets on. */
static void tick(void) {
  *(volatile uint32_t *)0xE000E010u = 0u;
  ticks++;
  interrupted += inside;
  kws_dscnn_int8_run(tick_x, tick_y, tick_arena, sizeof tick_arena);
  wrong += differ(tick_y, want_tick);
  arm_tick();
}

int main(void) {
  for (uint32_t i = 0; i < sizeof main_x; i++) {
    main_x[i] = (int8_t)(i * 7u);
    tick_x[i] = (int8_t)(i * 31u + 5u);
  }
  kws_dscnn_int8_run(main_x, want_main, main_arena, sizeof main_arena);
  kws_dscnn_int8_run(tick_x, want_tick, tick_arena, sizeof tick_arena);
  void (*const *const vectors)(void) = *(void (*const *volatile *)(void))0xE000ED08u;
  for (int32_t i = 0; i < 16; i++) {
    table[i] = vectors[i];
  }
  table[15] = tick;
  *(volatile uint32_t *)0xE000ED08u = (uint32_t)table;
  *(volatile uint32_t *)0xE000E014u = 10000u; /* SysTick's period */
  arm_tick();
  while (ticks < 40) {
    inside = 1;
    kws_dscnn_int8_run(main_x, main_y, main_arena, sizeof main_arena);
    inside = 0;
    wrong += differ(main_y, want_main);
  }
  *(volatile uint32_t *)0xE000E010u = 0u;
  console_text("interrupted ");
  console_signed(interrupted);
  console_text(" wrong ");
  console_signed(wrong);
  console_text("\\r\\n");
  for (;;) {
  }
}
"""


def counting_instructions(board: Board) -> Board:
    """The board with a clock of 32 ns an instruction, so that ticks come alike on every host."""
    assert board.emulator is not None
    arguments = (*board.emulator.arguments, "-icount", "shift=5")
    return replace(board, emulator=replace(board.emulator, arguments=arguments))


@pytest.mark.parametrize("board", ["qemu-cortex-m4", "qemu-cortex-m55"])
def test_the_same_model_in_two_arenas_from_two_contexts(board: str) -> None:
    """On the Cortex-M55, interrupts inside of vector code run vector code: registers and predicates are kept."""
    made = exported(KWS, board)
    main_file = Source(name="main.c", text=TWO_CONTEXTS)
    firmware = build_firmware([made], [main_file], name="two")
    with BootedBoard(counting_instructions(made.board), firmware.image.path) as booted:
        said = booted.hear("\r\n")
    found = re.fullmatch(r"interrupted (\d+) wrong (\d+)\r\n", said)
    assert found is not None
    assert int(found[1]) > 0, "no run was interrupted by another"
    assert int(found[2]) == 0


def test_elf_hex_and_bin_hold_the_same_bytes(tmp_path: Path) -> None:
    firmware = shell_firmware([exported(KWS)])
    paths = {path.suffix: path for path in firmware.write(tmp_path)}
    assert sorted(paths) == [".bin", ".elf", ".hex"]
    for kind, options in (("ihex", []), ("binary", [])):
        target = tmp_path / f"objcopy.{kind}"
        subprocess.run(["arm-none-eabi-objcopy", "-O", kind, *options, paths[".elf"], target], check=True)
    back = tmp_path / "back.bin"
    command = ["arm-none-eabi-objcopy", "-I", "ihex", "-O", "binary", "--gap-fill", "0xff", paths[".hex"], back]
    subprocess.run(command, check=True)
    assert back.read_bytes() == paths[".bin"].read_bytes()
    plain = (tmp_path / "objcopy.binary").read_bytes()
    assert len(plain) == len(back.read_bytes())
    (segment,) = firmware.segments
    assert segment.data == paths[".bin"].read_bytes()


def test_flash_programs_reads_back_and_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(
        ["export", str(model_path(KWS)), "--board", "qemu-cortex-m4", "--format", "firmware", "-o", str(tmp_path)]
    )
    assert status == 0
    elf = tmp_path / f"{KWS}.elf"
    assert str(elf) in capsys.readouterr().out
    done = flash(elf, "qemu-cortex-m4")
    assert done.nbytes == sum(len(s.data) for s in shell_firmware([exported(KWS)]).segments)
    assert main(["flash", str(elf), "--board", "qemu-cortex-m4"]) == 0
    assert "programmed, read back, started" in capsys.readouterr().out
    assert main(["flash", str(elf), "--board", "qemu-riscv32"]) == 2
    assert "has code that the rv32imc of board 'qemu-riscv32' can't execute" in capsys.readouterr().err
    assert main(["flash", str(tmp_path / "manifest.json"), "--board", "qemu-cortex-m4"]) == 2


def test_a_program_that_says_nothing_is_not_waited_for_forever() -> None:
    made = exported(KWS)
    with BootedBoard(made.board, shell_firmware([made]).image.path) as booted:
        booted.hear("ready\r\n")
        with pytest.raises(EmulatorError, match="did not say 'more'"):
            booted.hear("more", timeout=0.2)


class Runner:
    """The side of MLPerf Tiny's runner: commands end with %, an answer with m-ready."""

    def __init__(self, board: BootedBoard) -> None:
        self._board = board
        assert "m-init-done" in board.hear("m-ready\r\n")

    def say(self, command: str) -> list[str]:
        self._board.send(command + "%")
        return self._board.hear("m-ready\r\n").split("\r\n")[:-2]

    def infer(self, raw: bytes, runs: int = 1, warmups: int = 0) -> tuple[list[float], list[str]]:
        assert self.say(f"db load {len(raw)}") == [f"m-[Expecting {len(raw)} bytes]"]
        for start in range(0, len(raw), 500):
            done = self.say(f"db {raw[start : start + 500].hex()}")
        assert done == ["m-load-done"]
        lines = self.say(f"infer {runs} {warmups}")
        results = next(line for line in lines if line.startswith("m-results-["))
        return [float(value) for value in results.removeprefix("m-results-[").removesuffix("]").split(",")], lines


def mlperf(name: str, task: str) -> Firmware:
    return mlperf_firmware(exported(name), task)


def test_mlperf_session_of_keyword_spotting_with_a_hundred_inputs() -> None:
    data = np.load(shared("data/kws/test_500.npz"))
    features, labels = data["features"][:100], data["labels"][:100]
    oracle = Oracle(model_path(KWS).read_bytes())
    right = theirs = 0
    with BootedBoard(exported(KWS).board, mlperf(KWS, "kws").image.path) as booted:
        runner = Runner(booted)
        assert runner.say("name") == ["m-name-dut-[utvm qemu-cortex-m4]"]
        assert runner.say("profile") == ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[kws01]"]
        assert re.fullmatch(r"m-lap-us-\d+", runner.say("timestamp")[0])
        for x, label in zip(features, labels, strict=True):
            values, _ = runner.infer(x.astype(np.int8).tobytes())
            wanted = oracle.run(x.astype(np.int8)[None])[0].reshape(-1)
            np.testing.assert_allclose(values, (wanted.astype(np.float64) + 128) / 256, atol=1e-6)
            right += int(np.argmax(values)) == label
            theirs += int(np.argmax(wanted)) == label
        values, lines = runner.infer(features[0].astype(np.int8).tobytes(), runs=3, warmups=1)
        assert lines[:3] == ["m-warmup-start-1", "m-warmup-done", "m-infer-start-3"]
        first, second = (int(line.removeprefix("m-lap-us-")) for line in lines if line.startswith("m-lap-us-"))
        assert second > first
        assert runner.say("results")[0].startswith("m-results-[")
        assert runner.say("db print")[0].startswith("m-buffer-")
        assert runner.say("infer 0") == ["e-[Inference iterations must be >0]"]
        assert runner.say("nonsense")[0].startswith("e-[")
    assert right == theirs > 80


OTHER_TASKS = (
    ("ad_autoencoder_int8", "ad"),
    ("ic_resnet8_int8", "ic"),
    ("vww_mobilenetv1_025_96_int8", "vww"),
    ("sww_conv1d_int8", "sww"),
)


@pytest.mark.parametrize(("name", "task"), OTHER_TASKS if EVERYWHERE else OTHER_TASKS[:1])
def test_mlperf_inputs_and_results_of_the_other_tasks(name: str, task: str) -> None:
    graph = load(model_path(name))
    (x,) = graph.inputs
    generator = np.random.default_rng(1)
    if task == "ad":
        reals = generator.normal(-20, 10, x.elements).astype(np.float32)
        raw = reals.tobytes()
        quotient = (reals / np.float32(x.scale)).astype(np.float64)
        levels = np.where(quotient < 0, np.ceil(quotient - 0.5), np.floor(quotient + 0.5)) + x.zero_point
        value = np.clip(levels, -128, 127).astype(np.int8)
    else:
        value = generator.integers(-128, 128, x.elements).astype(np.int8)
        raw = (value.astype(np.int16) + 128).astype(np.uint8).tobytes() if task in ("ic", "vww") else value.tobytes()
    (y,) = evaluate(graph, [value.reshape(x.shape)]).values()
    out = graph.outputs[0]
    wanted = out.scale * (y.reshape(-1).astype(np.float64) - out.zero_point)
    if task == "ad":
        wanted = np.array([np.mean((reals - wanted) ** 2)])
    with BootedBoard(exported(name).board, mlperf(name, task).image.path) as booted:
        values, _ = Runner(booted).infer(raw)
    np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-6)


def test_formats_that_do_not_go_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["export", str(model_path(KWS)), "--board", "qemu-cortex-m4", "-o", str(tmp_path)]
    assert main([*base, "--task", "kws"]) == 2
    assert main([*base, "--with", "other.tflite"]) == 2
    assert main([*base, "--format", "mlperf"]) == 2
    assert capsys.readouterr().err.count("utvm: ") == 3
