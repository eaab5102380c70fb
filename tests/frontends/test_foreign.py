"""Models of other frameworks are refused by one message that says how to get on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from utvm.cli import main
from utvm.demo import EXAMPLE
from utvm.frontends import FrontendError, load


@pytest.mark.parametrize(
    ("name", "what", "tool"),
    [
        ("net.pt", "a PyTorch file", "torch.export.save"),
        ("net.pth", "a PyTorch file", "torch.export.save"),
        ("net.keras", "a Keras model", "from_keras_model"),
        ("net.h5", "a Keras model", "from_keras_model"),
        ("frozen.pb", "a graph of TensorFlow", "from_saved_model"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 anything", bytes(100)])
def test_a_file_of_another_framework(
    name: str, what: str, tool: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["cost", str(tmp_path / name), "--board", "qemu-cortex-m4"]) == 2
    said = capsys.readouterr().err
    assert f"this is {what}; µTVM reads .tflite, .onnx and .pt2 files" in said
    assert tool in said
    assert "Traceback" not in said


def test_directories(tmp_path: Path) -> None:
    with pytest.raises(FrontendError, match="this is a directory"):
        load(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(FrontendError, match=r"a SavedModel of TensorFlow(.|\n)*utvm quantize"):
        load(tmp_path)


def test_the_name_alone_refuses_nothing(tmp_path: Path) -> None:
    assert load(Path(shutil.copy(EXAMPLE, tmp_path / "net.onnx"))).operators
