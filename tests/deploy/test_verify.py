"""`utvm verify` says what it ran: what could not be built or run, or was changed, is a failure."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tflite

from tests.deploy.exports import small_model
from utvm import cli
from utvm.deploy import Manifest, ManifestError, Verification, export, verify
from utvm.deploy.directory import RECORD, changed_files
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Quantization, Tensor

BOARD = "qemu-cortex-m4"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    export(model, BOARD).write(tmp_path / "out")
    return tmp_path / "out"


def said(folder: Path, model: Path, *options: str) -> list[str]:
    return ["verify", str(folder), "--against", str(model), "--inputs", "2", *options]


def test_a_board_that_is_not_here_is_verified_on_the_emulated_one_of_its_core(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(model, "nucleo-f746zg").write(tmp_path)
    assert cli.main(said(tmp_path, model)) == 0
    assert "on board qemu-cortex-m7 in place of nucleo-f746zg: 2 inputs" in capsys.readouterr().out


def test_a_core_that_nothing_emulates_is_a_failure(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(model, "ek-ra8d1").write(tmp_path)
    assert cli.main(said(tmp_path, model)) == 1
    assert "NOT RUN: no emulated board has its core, cortex-m85" in capsys.readouterr().out


def test_another_core_takes_no_kernels_that_it_lacks(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(said(folder, model, "--board", "qemu-cortex-m3")) == 1
    assert "the portable form is compiled" in capsys.readouterr().out


def test_a_changed_file_is_a_failure_unless_allowed(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "small.c").open("a") as file:
        file.write("\n/* mine */\n")
    assert cli.main(said(folder, model)) == 1
    assert "changed since the export: small.c" in capsys.readouterr().out
    assert cli.main(said(folder, model, "--allow-changed")) == 0


@pytest.mark.parametrize("kind", ["cmake", "arduino"])
def test_whatever_the_export_wrote_is_watched(kind: str, model: Path, tmp_path: Path) -> None:
    export(model, BOARD).as_project(kind).write(tmp_path)

    def changed() -> tuple[str, ...]:
        return changed_files(tmp_path, "small*.c")

    assert changed() == ()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "small_other.c").write_text("mine")
    assert changed() == ()
    wrote = {path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith((".", "notes"))}
    for path in sorted(wrote - {tmp_path / "build" / "small_other.c"}):
        data, name = path.read_bytes(), path.relative_to(tmp_path).as_posix()
        path.write_bytes(data + b"\n")
        assert changed() == (name,)
        path.write_bytes(data)
    (tmp_path / "CMakeLists.txt").unlink(missing_ok=True)
    (tmp_path / "small_more.c").write_text("int more;\n")
    missing = ["CMakeLists.txt (missing)"] if kind == "cmake" else []
    assert list(changed()) == [*missing, "small_more.c (added)"]
    verification = verify(tmp_path, model, inputs=1, host=False)
    assert verification.changed == changed()
    assert not verification.passed


def test_a_model_among_several_is_watched_by_the_record_above_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, target = small_model(tmp_path, "other"), tmp_path / "both"
    options = ["--board", BOARD, "--format", "firmware", "--with", str(other), "-o", str(target)]
    assert cli.main(["export", str(model), *options]) == 0
    assert cli.main(said(target / "other", other)) == 0
    (target / "other" / "README.md").write_text("mine")
    assert cli.main(said(target / "other", other)) == 1
    assert "changed since the export: README.md" in capsys.readouterr().out
    assert cli.main(said(target / "small", model)) == 0


@pytest.mark.parametrize("damage", ["missing", "no text", "no C"])
@pytest.mark.parametrize("name", ["small.c", "small_portable_weights.c", "small.h"])
def test_what_can_not_be_built_is_a_failure(
    damage: str, name: str, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(b"\xff\xfe" if damage == "no text" else b"int x = ;\n")
    assert cli.main(said(folder, model, "--allow-changed")) == 1
    shown = capsys.readouterr().out
    assert "NOT RUN" in shown
    assert name in shown


@pytest.mark.parametrize("tool", ["gcc", "arm-none-eabi-gcc", "qemu-system-arm"])
def test_without_a_tool_nothing_is_equal(
    tool: str, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("gcc", "as", "ld", "cc", "arm-none-eabi-gcc", "qemu-system-arm", "sh"):
        found = shutil.which(name)
        if found is not None and name != tool:
            (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    verification = verify(folder, model, inputs=1)
    assert not verification.passed
    assert [check.failure for check in verification.checks if check.failure]


def test_an_export_by_an_earlier_version_asks_for_a_new_one(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    del values["stack_bound"]
    path.write_text(json.dumps(values))
    (folder / RECORD).unlink()
    assert cli.main(said(folder, model)) == 2
    shown = capsys.readouterr().err
    assert "written by another version of µTVM (no stack_bound): export the model again with this one" in shown
    assert len(shown.splitlines()) == 1
    again = ["export", str(model), "--board", BOARD, "-o", str(folder)]
    assert cli.main(again) == 2
    assert "has an export by an earlier version of µTVM" in capsys.readouterr().err
    assert cli.main([*again, "--force"]) == 0
    assert cli.main(said(folder, model)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("files"), r"\(no files\)"),
        (lambda m: m["expected"].pop("optimize"), "is damaged"),
        (lambda m: m["builds"][0].pop("code_bytes"), r"\(no code_bytes\)"),
        (lambda m: m["inputs"].append(3), "is damaged"),
        (lambda m: m.update(outputs={"a": 1}), "is damaged"),
        (lambda m: m.update(files=[1]), "is damaged"),
        (lambda m: m.update(name=None), "is damaged"),
        (lambda m: m["inputs"][0].update(dtype="evil"), "is damaged"),
        (lambda m: m["core_form"]["operators"][0]["results"][0].update(dtype="evil"), "is damaged"),
        (lambda m: m["core_form"]["operators"][0]["results"][0].update(offset="0"), "is damaged"),
        (lambda m: m["inputs"][0].update(shape=["1", 2]), "is damaged"),
    ],
)
def test_a_manifest_that_is_not_whole_is_one_message_without_python(
    change: Callable[[dict[str, Any]], object], message: str, folder: Path
) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ManifestError, match=f"{message}.*export the model again") as caught:
        Manifest.read(folder)
    assert "Error(" not in str(caught.value)


def test_no_check_at_all_is_no_success() -> None:
    nothing = Verification(name="x", checks=(), changed=(), other_model=False)
    assert not nothing.passed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"small.c":', '"../../small.c":'),
        ('"small.c":', '"/tmp/small.c":'),
        ('"small.c":', '"small.c\\u0000":'),
        ('"parameter": "input"', '"parameter": "input; int x"'),
        ('"name": "small"', '"name": "small\\n#error"'),
    ],
)
def test_a_manifest_names_no_other_paths_and_no_code(old: str, new: str, folder: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ManifestError, match="which no export has"):
        Manifest.read(folder)


@pytest.mark.parametrize("computes", [True, False])
def test_an_input_may_be_an_output_too(computes: bool, tmp_path: Path) -> None:
    """Also in a network without operators."""
    x, y = (Tensor(name=n, shape=(4,), dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 3)) for n in "xy")
    op = EncodedOperator(code=tflite.BuiltinOperator.ABS, version=2, inputs=(x,), outputs=(y,), options="AbsOptions")
    file = write_encoded("both", [x], [y, x], [op]) if computes else write_encoded("both", [x, y], [y, x, x], [])
    (tmp_path / "both.tflite").write_bytes(file)
    export(tmp_path / "both.tflite", BOARD).write(tmp_path / "out")
    found = verify(tmp_path / "out", tmp_path / "both.tflite", inputs=2)
    assert found.passed, str(found)
