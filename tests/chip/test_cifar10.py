"""The shipped network, as a user runs it, on the simulated Cortex-M7: bit for bit what tflite-micro says."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.chip import probe as _registers_the_probes  # noqa: F401
from tests.support.chip.bench import plugged
from tests.support.chip.process import PINS_VARIABLE, ChipProcess, board_file
from tests.support.oracle import Oracle
from utvm.cli import main

MODEL = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"


def run(picture: Path, link: str, capsys: pytest.CaptureFixture[str]) -> list[int]:
    """Return the logits that `utvm run` prints."""
    board = str(board_file("cortex-m7"))
    arguments = [
        "run",
        str(MODEL),
        "--trust-board",
        "--board",
        board,
        "--link",
        link,
        "--input",
        str(picture),
        "--json",
    ]
    status = main(arguments)
    said = capsys.readouterr()
    assert status == 0, said.err
    return list(json.loads(said.out)["outputs"]["logits"][0])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.npy"
    np.save(path, np.random.default_rng(11).integers(-128, 128, (1, 32, 32, 3)).astype(np.int8))
    return path


def expected(picture: Path) -> list[int]:
    return list(Oracle(MODEL.read_bytes()).run(np.load(picture))[0][0])


def test_through_stock_openocd(
    picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChipProcess("cortex-m7") as chip:
        monkeypatch.setenv(PINS_VARIABLE, str(chip.pins))
        assert run(picture, "openocd", capsys) == expected(picture)
        assert chip.control()["instructions"] > 5_000_000


def test_through_stock_pyocd(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with plugged("cortex-m7") as bench:
        assert run(picture, "pyocd", capsys) == expected(picture)
        assert bench.chip.core.engine.instructions > 5_000_000
