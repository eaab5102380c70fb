"""A model file of any format → Graph. Only the frontend of its format is imported."""

from __future__ import annotations

from pathlib import Path

from utvm import frontends
from utvm.errors import UtvmError
from utvm.frontends.errors import FrontendError
from utvm.frontends.foreign import is_tflite, refuse_foreign
from utvm.frontends.reading import Chosen, model_file
from utvm.graph import Graph

_SHOWN = 60


def load(path: str | Path) -> Graph:
    """Import a model file by its suffix: .tflite, .onnx, .pt2, or .npz for a q7 archive.

    Args:
        path: the file; of several networks in a .tflite file one by its signature, as in "model.tflite#encode", and
            with a batch that the file leaves open, as in "model.tflite#batch=4" or "model.tflite#encode&batch=4".

    Returns:
        The network as the file has it, before any pass; `print` shows its operators.

    Raises:
        UtvmError: it is no path.
        FrontendError: the file is missing, unknown, damaged, or can't be represented.

    Example:
        graph = utvm.load("model.tflite")
        print(graph.inputs[0].shape, graph.inputs[0].dtype)
    """
    if not isinstance(path, str | Path):
        raise UtvmError(f"a {type(path).__name__} is no model file: give its path")
    path = Path(path)
    try:
        path, chosen = model_file(path)
        refuse_foreign(path)
    except OSError as error:
        raise FrontendError(path.name[:_SHOWN], [f"the file can't be read: {error.strerror}"]) from error
    if chosen != Chosen():
        if not is_tflite(path):
            what = "open batch" if chosen.signature is None else f"signature '{chosen.signature}'"
            raise FrontendError(path.name, [f"it has no {what}: it is no .tflite file"])
        name = path.stem if chosen.signature is None else f"{path.stem}_{chosen.signature}"
        return frontends.load_tflite(path, name=name, signature=chosen.signature, batch=chosen.batch)
    if path.suffix.lower() == ".npz":
        return frontends.load_q7(path)
    if path.suffix.lower() == ".onnx" and not is_tflite(path):
        return frontends.load_onnx(path)
    if path.suffix.lower() == ".pt2" and not is_tflite(path):
        return frontends.load_pt2(path)
    return frontends.load_tflite(path)
