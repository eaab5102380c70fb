"""Models of other frameworks: which file that is, and how one is made from it that is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from utvm.frontends.errors import FrontendError

_TFLITE = b"TFL3"

_EXPORT = (
    "Save it as a float .tflite file once, where TensorFlow is installed: `converter = {converter}` and "
    "`open('MODEL.tflite', 'wb').write(converter.convert())`. Then quantise it: `utvm quantize MODEL.tflite --data "
    "SAMPLES.npz -o MODEL.int8.tflite`."
)
_TORCH = (
    "Files of PyTorch are not opened: reading them may run code of theirs. Load the network yourself and give it to "
    "utvm.compile(module, board, data=samples, example_inputs=(example,)), or a program of torch.export likewise. Or "
    "save it as a file that is read, `torch.export.save(torch.export.export(module.eval(), (example,)), 'MODEL.pt2')`, "
    "and quantise that: `utvm quantize MODEL.pt2 --data SAMPLES.npz -o MODEL.int8.tflite`."
)
_KERAS = _EXPORT.format(converter="tf.lite.TFLiteConverter.from_keras_model(tf.keras.models.load_model(FILE))")
_SAVED_MODEL = _EXPORT.format(converter="tf.lite.TFLiteConverter.from_saved_model(DIRECTORY)")

_FORMATS: Mapping[str, tuple[str, str]] = {
    ".pt": ("a PyTorch file", _TORCH),
    ".pth": ("a PyTorch file", _TORCH),
    ".keras": ("a Keras model", _KERAS),
    ".h5": ("a Keras model", _KERAS),
    ".hdf5": ("a Keras model", _KERAS),
    ".pb": ("a graph of TensorFlow", _SAVED_MODEL),
}
"""Suffix → what such a file is, and what to do with it."""


def refuse_foreign(path: Path) -> None:
    """Return if a path may be a model that µTVM reads.

    Raises:
        FrontendError: it is not there, is a directory, or by its suffix is of another framework; the error says what
            to do.
    """
    if path.is_dir():
        if (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists():
            raise _foreign(path, "a SavedModel of TensorFlow", _SAVED_MODEL)
        raise FrontendError(str(path), ["this is a directory: name a file in it"])
    if not path.is_file():
        missing = "this is no ordinary file: copy what it gives into one" if path.exists() else "there is no such file"
        raise FrontendError(str(path), [missing])
    known = _FORMATS.get(path.suffix.lower())
    if known is not None and not is_tflite(path):
        raise _foreign(path, *known)


def _foreign(path: Path, what: str, advice: str) -> FrontendError:
    return FrontendError(str(path), [f"this is {what}; µTVM reads .tflite, .onnx and .pt2 files"], advice=[advice])


def is_tflite(path: Path) -> bool:
    """Tell whether a file is TFLite whatever its name; one that can't be read is not."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == _TFLITE
    except OSError:
        return False
