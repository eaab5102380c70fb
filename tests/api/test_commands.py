"""The commands as a user types them: what they print, what they write, and how they fail."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
KEYS = {
    *("model", "board", "outputs", "instructions", "cycles"),
    *("arena_bytes", "flash_bytes", "stack_bytes", "records", "seconds"),
}


def utvm(*arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    command = [sys.executable, "-m", "utvm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)).save(path)
    return path


def test_run_prints_one_json_object(picture: Path) -> None:
    done = utvm("run", EXAMPLE, "--board", "qemu-cortex-m7", "--input", picture, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == KEYS
    assert len(report["outputs"]["logits"][0]) == 10
    assert report["cycles"] is None or set(report["cycles"]) == {"value", "source"}
    assert report["instructions"] > 10**6


def test_run_for_people(picture: Path) -> None:
    labels = EXAMPLE.parent / "labels.txt"
    done = utvm("run", EXAMPLE, "--board", "qemu-cortex-m3", "--input", picture, "--labels", labels)
    assert done.returncode == 0, done.stderr
    for word in ("instructions", "(exact)", "arena", "flash", "raw"):
        assert word in done.stdout


def test_compile_writes_the_same_files_twice_and_every_stage(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        dump = tmp_path / "stages"
        done = utvm("compile", EXAMPLE, "--board", "qemu-cortex-m4", "-o", folder, "--plan", "--dump", dump, "--small")
        assert done.returncode == 0, done.stderr
        assert "lower bound" in done.stdout
    contents = [{path.name: path.read_bytes() for path in sorted(folder.iterdir())} for folder in folders]
    assert contents[0] == contents[1]
    assert {"cifar10_cnn.c", "cifar10_cnn.h", "cifar10_cnn_weights.c", "plan.svg"} <= set(contents[0])
    ElementTree.fromstring(contents[0]["plan.svg"].decode())
    stages = {path.name for path in (tmp_path / "stages").iterdir()}
    assert {"program.txt", "plan.txt", "plan.svg", "image.elf", "image.map", "graph_00_imported.txt"} <= stages


def test_boards_are_listed() -> None:
    listed = json.loads(utvm("boards", "--json").stdout)
    assert {"qemu-cortex-m0", "qemu-cortex-m7", "qemu-riscv32"} <= {board["name"] for board in listed}
    assert "mps2-an500" in utvm("boards").stdout


def fails(*arguments: object, message: str, path: str | None = None) -> None:
    """The command exits with 2 and one message, without a traceback."""
    done = utvm(*arguments, path=path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_input_is_one_clear_error(tmp_path: Path, picture: Path) -> None:
    truncated = tmp_path / "truncated.tflite"
    truncated.write_bytes(EXAMPLE.read_bytes()[:5000])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    board = ("--board", "qemu-cortex-m7")
    fails("run", tmp_path / "absent.tflite", *board, "--input", picture, message="no such file")
    fails("run", truncated, *board, "--input", picture, message="truncated")
    fails("run", EXAMPLE, "--board", "nucleo-x", "--input", picture, message="no board is named 'nucleo-x'")
    fails("run", EXAMPLE, *board, "--input", text, message="can't be read as a picture")
    fails("run", EXAMPLE, *board, "--input", tmp_path / "absent.npy", message="there is no file")
    fails("run", EXAMPLE, "--board", "qemu-cortex-m0", "--input", picture, message="bytes too small")
    fails("compile", EXAMPLE, *board, message="-o")
    fails("compile", tmp_path, *board, "-o", tmp_path / "out", message="this is a directory")
    fails("compile", EXAMPLE, *board, "-o", text, message=f"{text} is no directory")
    fails(
        "compile", EXAMPLE, *board, "-o", tmp_path / "out", "--dump", "/dev/null", message="/dev/null is no directory"
    )
    mine = tmp_path / "stages" / "graph_00_imported.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    told = f"{mine} is no file of an earlier dump"
    fails("compile", EXAMPLE, *board, "-o", tmp_path / "out", "--dump", mine.parent, message=told)
    assert mine.read_text() == "mine"


def test_missing_tools_are_named(tmp_path: Path, picture: Path) -> None:
    command = ("run", EXAMPLE, "--board", "qemu-cortex-m7", "--input", picture)
    fails(*command, message="apt-get install", path=str(tmp_path))
