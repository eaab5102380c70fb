"""Exported libraries: every compiler takes them without a warning, they do what the model does, promises hold."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.exports import EVERYWHERE, MODELS, exported, model_path, written
from utvm import api
from utvm.codegen import RUN_SYMBOL
from utvm.cores import get_core
from utvm.deploy import BudgetError, Manifest, VerifyError, export, verify
from utvm.deploy.build import library_image
from utvm.deploy.harness import board_harness, buffer
from utvm.errors import UtvmError

BOARDS = ("qemu-cortex-m4", "qemu-cortex-m7", "qemu-cortex-m33", "qemu-cortex-m55", "qemu-cortex-m3", "qemu-riscv32")
STRICT = ("-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1")
COMPILERS = {
    **{
        core: (f"{get_core(core).tool_prefix}gcc", *get_core(core).cflags)
        for core in ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc")
    },
    "gcc": ("gcc",),
    "clang": ("clang",),
}
COMPILERS["rv32imc"] = (*COMPILERS["rv32imc"], "--specs=picolibc.specs")


def compile_strictly(folder: Path, compiler: str, *flags: str) -> None:
    command = COMPILERS[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    for unit in sorted(path.name for path in folder.glob("*.c")):
        done = subprocess.run(
            [*command, *STRICT, *flags, "-c", unit, "-o", "/dev/null"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", MODELS if EVERYWHERE else ("cifar10_cnn", "kws_dscnn_int8"))
def test_compiles_without_a_warning(name: str, compiler: str) -> None:
    compile_strictly(written(name), compiler)


@pytest.mark.parametrize("board", BOARDS if EVERYWHERE else BOARDS[:1])
@pytest.mark.parametrize("name", MODELS)
def test_is_the_model_bit_by_bit_here_under_sanitizers_and_on_the_board(name: str, board: str) -> None:
    verification = verify(written(name, board), model_path(name), inputs=16 if EVERYWHERE else 3)
    assert verification.passed, verification
    assert len(verification.checks) == 2
    assert not verification.changed
    assert not verification.other_model


@pytest.mark.parametrize("board", ["qemu-cortex-m3", "qemu-riscv32"])
def test_a_core_without_micro_kernels_needs_no_second_form(board: str) -> None:
    assert not [file for file in exported("cifar10_cnn", board).files if "portable" in file]
    assert verify(written("cifar10_cnn", board), model_path("cifar10_cnn"), inputs=2, host="m3" in board).passed


def test_the_header_is_cpp_and_two_models_link_into_kws_dscnn_int8_program(tmp_path: Path) -> None:
    for made in (
        exported("kws_dscnn_int8"),
        export(model_path("kws_dscnn_int8"), "qemu-cortex-m4", name="two", portable=("all",)),
    ):
        made.write(tmp_path / made.program.name)
        for path in (tmp_path / made.program.name).glob("*.[ch]"):
            path.rename(tmp_path / path.name)
    (tmp_path / "main.cpp").write_text(
        '#include "kws_dscnn_int8.h"\n#include "two.h"\n#include <cstdio>\n#include <vector>\n'
        "alignas(16) static uint8_t a[KWS_DSCNN_INT8_ARENA_BYTES], b[TWO_ARENA_BYTES];\n"
        "int main() {\n"
        "  std::vector<int8_t> x(TWO_INPUT_ELEMENTS), p(TWO_OUTPUT_ELEMENTS), q(TWO_OUTPUT_ELEMENTS);\n"
        "  for (size_t i = 0; i < x.size(); i++) x[i] = kws_dscnn_int8_quantize_input(float(i % 7) - 3);\n"
        "  if (kws_dscnn_int8_run(x.data(), p.data(), a, sizeof a) != KWS_DSCNN_INT8_OK) return 1;\n"
        "  if (two_run(x.data(), q.data(), b, sizeof b) != TWO_OK) return 2;\n"
        "  return p == q ? 0 : 3;\n}\n"
    )
    strict = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-O1")
    for unit in tmp_path.glob("*.c"):
        subprocess.run(["gcc", "-std=c11", *strict, "-c", unit.name], cwd=tmp_path, check=True)
    objects = [path.name for path in tmp_path.glob("*.o")]
    subprocess.run(["g++", "-std=c++11", *strict, "main.cpp", *objects, "-o", "both"], cwd=tmp_path, check=True)
    assert subprocess.run(["./both"], cwd=tmp_path, check=False).returncode == 0


def test_calls_are_refused_by_status_and_buffers_may_lie_in_the_arena(tmp_path: Path) -> None:
    made = exported("cifar10_cnn")
    name = made.program.name
    made.write(tmp_path)
    upper = name.upper()
    (tmp_path / "main.c").write_text(
        f'#include <string.h>\n#include "{name}.h"\n'
        f"_Alignas(16) static uint8_t arena[{upper}_ARENA_BYTES + 16];\n"
        f"static int8_t x[{upper}_INPUT_BYTES], y[{upper}_OUTPUT_BYTES];\n"
        "int main(void) {\n"
        f"  if ({name}_run(x, y, NULL, sizeof arena) != {upper}_NO_ARENA) return 1;\n"
        f"  if ({name}_run(x, y, arena, {upper}_ARENA_BYTES - 1) != {upper}_ARENA_TOO_SMALL) return 2;\n"
        f"  if ({name}_run(x, y, arena + 1, {upper}_ARENA_BYTES) != {upper}_ARENA_MISALIGNED) return 3;\n"
        f"  memset(x, 3, sizeof x);\n  memset({name}_input(arena), 3, sizeof x);\n"
        f"  if ({name}_run(NULL, NULL, arena, {upper}_ARENA_BYTES) != {upper}_OK) return 4;\n"
        f"  memcpy(y, {name}_output(arena), sizeof y);\n"
        f"  static int8_t z[sizeof y];\n"
        f"  if ({name}_run(x, z, arena, {upper}_ARENA_BYTES) != {upper}_OK) return 5;\n"
        "  return memcmp(y, z, sizeof y) == 0 ? 0 : 6;\n}\n"
    )
    units = [path.name for path in tmp_path.glob("*.c")]
    subprocess.run(["gcc", *STRICT, f"-D{upper}_WITHOUT_STRING_H", *units, "-o", "run"], cwd=tmp_path, check=True)
    assert subprocess.run(["./run"], cwd=tmp_path, check=False).returncode == 0


def test_conversions_are_tflites(tmp_path: Path) -> None:
    made = exported("cifar10_cnn")
    made.write(tmp_path)
    name, port = made.program.name, made.manifest.inputs[0]
    (tmp_path / "main.c").write_text(
        f'#include <stdio.h>\n#include "{name}.h"\nint main(void) {{\n  float real;\n'
        "  while (fread(&real, sizeof real, 1, stdin) == 1) {\n"
        f"    const int8_t level = {name}_quantize_input(real);\n"
        "    fwrite(&level, 1, 1, stdout);\n  }\n  return 0;\n}\n"
    )
    subprocess.run(["gcc", *STRICT, "-fsanitize=undefined", "main.c", "-o", "run"], cwd=tmp_path, check=True)
    scale = np.float32(port.scale)
    reals = np.concatenate(
        [
            (np.arange(-300, 300, 0.25, dtype=np.float32) * scale).astype(np.float32),
            np.array([np.inf, -np.inf, 1e30, -1e30], np.float32),
        ]
    )
    done = subprocess.run(["./run"], cwd=tmp_path, input=reals.tobytes(), capture_output=True, check=True)
    quotient = (reals / scale).astype(np.float64)
    rounded = np.where(quotient < 0, np.ceil(quotient - 0.5), np.floor(quotient + 0.5))
    wanted = np.clip(rounded + port.zero_point, -128, 127).astype(np.int8)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.int8), wanted)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert exported("kws_dscnn_int8").files == dict(export(model_path("kws_dscnn_int8"), "qemu-cortex-m4").files)


def test_the_manifest_reads_back_and_adds_up() -> None:
    for name in ("cifar10_cnn", "kws_dscnn_int8"):
        made = exported(name)
        manifest = Manifest.read(written(name))
        assert manifest == made.manifest
        held = json.loads((written(name) / "manifest.json").read_text())
        assert held["flash_bytes"] == manifest.flash_bytes >= manifest.core_form.constant_bytes
        assert sum(entry.macs for entry in manifest.core_form.operators) > 1_000_000
        assert manifest.expected.cycles is not None
        assert manifest.expected.how.startswith("modelled")


def test_the_worst_stack_is_a_bound_and_near_what_painting_finds() -> None:
    for name in ("kws_dscnn_int8", "cifar10_cnn"):
        made = exported(name)
        ports = made.manifest.inputs, made.manifest.outputs
        harness = board_harness(made.program.name, *ports)
        for build in made.manifest.builds:
            image = library_image(made.board, made.files, harness, optimize=build.optimize)
            with api.connect(made.board) as session:
                session.load(image)
                session.write(buffer(ports[0][0]), bytes(ports[0][0].nbytes))
                before = session.stack_used()
                session.call(RUN_SYMBOL)
                painted = session.stack_used()
            bound = image.worst_stack(RUN_SYMBOL).bytes
            assert build.stack_bytes <= bound
            # Painted words that a frame leaves untouched are not seen; a bound is not far above what was.
            assert before < painted <= bound <= painted + 64, (name, build.optimize, painted, bound)


def test_budgets_are_kept_or_refused_with_what_to_change() -> None:
    path = model_path("cifar10_cnn")
    with pytest.raises(
        BudgetError, match=r"stack: a run needs up to [\d,]+ bytes .* 64 are allowed.*--small"
    ) as caught:
        export(path, "qemu-cortex-m4", stack=64)
    assert "cifar10_cnn_run →" in str(caught.value)
    with pytest.raises(UtvmError, match="flash"):
        export(path, "qemu-cortex-m4", flash=50_000)
    with pytest.raises(UtvmError, match="arena does not fit"):
        export(path, "qemu-cortex-m4", ram=8_000)
    made = exported("cifar10_cnn")
    limit = made.manifest.flash_bytes + 2_000
    tight = export(path, "qemu-cortex-m4", flash=limit, stack=made.manifest.stack_bytes)
    assert tight.manifest.flash_bytes <= limit
    assert f"_FLASH_BUDGET_BYTES {limit}" in tight.files["cifar10_cnn.h"]


def test_the_c_asserts_its_budgets(tmp_path: Path) -> None:
    written_to = written("cifar10_cnn")
    manifest = Manifest.read(written_to)
    for budget, value in (
        ("RAM", manifest.core_form.arena_bytes),
        ("FLASH", manifest.flash_bytes),
        ("STACK", manifest.stack_bytes),
    ):
        command = [*COMPILERS["cortex-m4"], *STRICT, "-c", "cifar10_cnn.c", "-o", str(tmp_path / "o")]
        for limit, fits in ((value, True), (value - 1, False)):
            done = subprocess.run(
                [*command, f"-DCIFAR10_CNN_{budget}_BUDGET_BYTES={limit}"],
                cwd=written_to, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (done.returncode == 0) == fits, done.stderr
            assert fits or "is over its budget" in done.stderr


@pytest.mark.parametrize("form", ["", "_portable"])
def test_a_corrupted_weight_is_found_and_located(form: str, tmp_path: Path) -> None:
    made = exported("kws_dscnn_int8")
    made.write(tmp_path)
    weights = tmp_path / f"kws_dscnn_int8{form}_weights.c"
    text = weights.read_text()
    array = next(m for m in re.finditer(r"_6_(stream|weights)\[\d+\] = \{\n", text))
    row = text.index("\n", array.end() + 200) + 1
    number = re.compile(r"-?\d+").search(text, row)
    assert number is not None
    weights.write_text(text[: number.start()] + str(int(number.group()) ^ 64) + text[number.end() :])
    verification = verify(tmp_path, model_path("kws_dscnn_int8"), inputs=4)
    assert verification.changed == (weights.name,)
    bad = [check for check in verification.checks if check.difference is not None]
    assert len(bad) == 1
    assert ("this machine" in bad[0].place) == bool(form)
    assert bad[0].difference is not None
    assert bad[0].difference.operator == "operator 6, Conv2D 'conv_2d_6'"
    assert not verification.passed


def test_another_model_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match=r"the model's inputs are int8\[1, 640\], .* another model was exported"):
        verify(written("kws_dscnn_int8"), model_path("ad_autoencoder_int8"))
    copy = tmp_path / "longer.tflite"
    copy.write_bytes(model_path("kws_dscnn_int8").read_bytes() + bytes(16))
    assert verify(written("kws_dscnn_int8"), copy, inputs=1, host=False).other_model


def test_hooks_stand_around_each_operator(tmp_path: Path) -> None:
    made = exported("kws_dscnn_int8")
    made.write(tmp_path)
    (tmp_path / "hooks.h").write_text(
        '#include <stdio.h>\n#define KWS_DSCNN_INT8_BEFORE(index, arena) printf("<%d", (int)(index))\n'
        '#define KWS_DSCNN_INT8_AFTER(index, arena) printf(">")\n'
    )
    (tmp_path / "main.c").write_text(
        '#include "kws_dscnn_int8.h"\n_Alignas(16) static uint8_t arena[KWS_DSCNN_INT8_ARENA_BYTES];\n'
        "int main(void) {\n  return (int)kws_dscnn_int8_run(NULL, NULL, arena, sizeof arena);\n}\n"
    )
    units = [path.name for path in tmp_path.glob("*.c")]
    hooks = '-DKWS_DSCNN_INT8_HOOKS="hooks.h"'
    subprocess.run(["gcc", *STRICT, hooks, *units, "-o", "run"], cwd=tmp_path, check=True)
    done = subprocess.run(["./run"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"<{index}>" for index in range(len(made.program.calls)))


def test_plain_c_is_chosen_operator_by_operator(tmp_path: Path) -> None:
    path, fast = model_path("kws_dscnn_int8"), exported("kws_dscnn_int8").manifest
    mixed = export(path, "qemu-cortex-m4", portable=("conv_2d_2", "fully_connected_11"))
    families = {entry.name: entry.family for entry in mixed.manifest.core_form.operators}
    assert [name for name in ("conv_2d_2", "fully_connected_11", "conv_2d_4") if families[name] == "portable"] == [
        "conv_2d_2",
        "fully_connected_11",
    ]
    mixed.write(tmp_path)
    assert verify(tmp_path, path, inputs=2).passed
    plain = export(path, "qemu-cortex-m4", portable=("all",)).manifest
    assert plain.portable_form is None
    code = [min(build.code_bytes for build in manifest.builds) for manifest in (plain, fast)]
    assert code[0] < code[1]
    with pytest.raises(UtvmError, match="no operator is named 'conv'; there are: conv_2d_0, "):
        export(path, "qemu-cortex-m4", portable=("conv",))


STACK_KNOWN = tuple(
    f"{level}{frames}" for level in ("-O1", "-O2", "-O3", "-Os", "-Og") for frames in ("", " -fno-omit-frame-pointer")
)
STACK_UNKNOWN = ("-O0", "-Og -fPIC", "-O2 -fno-inline", "-O2 -fstack-protector-all", "-O3 -fsanitize=address")


@pytest.mark.parametrize("options", [*STACK_KNOWN, *STACK_UNKNOWN])
def test_the_stack_is_promised_where_it_is_known(options: str) -> None:
    made, flags = exported("kws_dscnn_int8"), options.split()
    folder = written("kws_dscnn_int8")
    command = [*COMPILERS["cortex-m4"], "-std=c11", *flags, "-DKWS_DSCNN_INT8_STACK_BUDGET_BYTES=100000"]
    unit = [*command, "-c", "kws_dscnn_int8.c", "-o", "/dev/null"]
    done = subprocess.run(unit, cwd=folder, capture_output=True, text=True, check=False)
    if options in STACK_UNKNOWN:
        assert "STACK_BYTES is not known for this compiler or its options" in done.stderr
        unit.append("-DKWS_DSCNN_INT8_STACK_BYTES=5000")
        assert subprocess.run(unit, cwd=folder, check=False).returncode == 0
        return
    assert done.returncode == 0, done.stderr
    harness = board_harness(made.program.name, made.manifest.inputs, made.manifest.outputs)
    image = library_image(made.board, made.files, harness, optimize=flags[0], flags=flags[1:])
    assert image.worst_stack("kws_dscnn_int8_run").bytes <= made.manifest.stack_bytes


def test_another_machine_has_no_promise_of_the_stack_and_none_to_break() -> None:
    command = ["gcc", *STRICT, "-DKWS_DSCNN_INT8_STACK_BUDGET_BYTES=1", "-c", "kws_dscnn_int8_portable.c"]
    subprocess.run([*command, "-o", "/dev/null"], cwd=written("kws_dscnn_int8"), check=True)
