"""A model file is read by the frontend of its format alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from utvm.frontends import FrontendError, load

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"


def test_a_tflite_file_imports_no_other_frontend() -> None:
    code = f"""if True:
        import sys, utvm
        from utvm import api
        utvm.load({str(EXAMPLE)!r})
        api.compile
        others = {{"onnx", "qdq", "torch", "q7"}}
        print(sorted(others & {{name.removeprefix("utvm.frontends.") for name in sys.modules}}))
        print("importlib.metadata" in sys.modules)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nFalse\n"


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", "#main.tflite", ".keras"])
def test_a_name_that_no_file_can_have(suffix: str) -> None:
    with pytest.raises(FrontendError, match="can't be read"):
        load("a" * 5000 + suffix)
