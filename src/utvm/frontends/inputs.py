"""Input files → the arrays a model takes: .npy, .npz, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from utvm.errors import UtvmError, warn
from utvm.frontends.archives import ArchiveError, read_archive, read_array
from utvm.graph import DType, Gather, Graph, Reshape, StridedSlice, Tensor, Transpose
from utvm.graph.arithmetic import integer_range

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
MAX_PIXELS = 64_000_000


class InputError(UtvmError):
    """An input file that does not fit the model."""


def read_inputs(path: Path, tensors: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
    """Read one file that holds the model's input or inputs.

    Integers of the input's own type are taken as they are. Floats are quantised with the input's scale and zero point.
    Pictures, and uint8 arrays, are pixels 0..255 for an int8 input with zero point -128: value = pixel - 128; pictures
    are cropped to the input's proportions and resized, which a `UtvmWarning` says. Pixels of 16 bits are scaled. A
    missing batch dimension of 1 is added. Identifiers (int32) may be whole floats.

    Args:
        path: .npy or a picture for a model with one input; .npz holds one array, or one a name.
        tensors: the model's inputs.

    Returns:
        Input name → array of the tensor's shape and type.

    Raises:
        InputError: the file can't be read or does not fit; the message says what is expected.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _from_archive(path, tensors)
    if len(tensors) != 1:
        names = ", ".join(t.name for t in tensors)
        raise InputError(f"the model has {len(tensors)} inputs ({names}): give an .npz with one array for each name")
    tensor = tensors[0]
    if suffix == ".npy":
        return {tensor.name: fit_array(_load(path), tensor)}
    if suffix in PICTURES:
        return {tensor.name: _picture(path, tensor)}
    raise InputError(f"{path}: inputs are .npy, .npz or pictures ({', '.join(PICTURES)})")


def fit_array(array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return `array` in the shape and type of `tensor`; see `read_inputs` for the conversions.

    Raises:
        InputError: shape or type does not fit.
    """
    shaped = _shaped(array, tensor)
    if shaped.dtype == np.dtype(tensor.dtype.value):
        return np.ascontiguousarray(shaped)
    if shaped.dtype.kind == "f" and tensor.dtype is DType.FLOAT32:
        return np.ascontiguousarray(shaped, dtype=np.float32)
    if tensor.dtype is DType.INT32 and (
        shaped.dtype.kind in "iu" or (shaped.dtype.kind == "f" and bool((shaped == np.rint(shaped)).all()))
    ):
        low, high = integer_range(DType.INT32)
        if shaped.size == 0 or (shaped.min() >= low and shaped.max() <= high):
            return np.ascontiguousarray(shaped, dtype=np.int32)
    if tensor.dtype in (DType.INT8, DType.UINT8):
        least, most = integer_range(tensor.dtype)
        if shaped.dtype == np.uint8:
            return _pixels(shaped, tensor)
        if shaped.dtype.kind == "f":
            if not np.isfinite(shaped).all():
                raise InputError(f"input '{tensor.name}': the array has values that are not finite")
            return quantised_values(shaped, tensor)
        if shaped.dtype.kind in "iu" and (shaped.size == 0 or (shaped.min() >= least and shaped.max() <= most)):
            return np.ascontiguousarray(shaped, dtype=tensor.dtype.value)
    raise InputError(f"input '{tensor.name}' is {tensor.dtype}, the array {array.dtype} does not convert to it")


def read_network_inputs(path: Path, graph: Graph) -> dict[str, NDArray[Any]]:
    """Return what `read_inputs` does for the inputs of a network, whose identifiers have rows in their tables.

    Raises:
        InputError: as `read_inputs`, and as `check_identifiers`.
    """
    values = read_inputs(path, graph.inputs)
    check_identifiers(graph, values)
    return values


def check_identifiers(graph: Graph, values: Mapping[str, NDArray[Any]]) -> None:
    """Refuse identifiers that name no row of the table that they are looked up in.

    Args:
        graph: the network.
        values: input name → whole numbers, of one sample or of many.

    Raises:
        InputError: with the range that is expected.
    """
    for tensor in graph.inputs:
        if tensor.dtype is not DType.INT32 or not values[tensor.name].size:
            continue
        low, high = int(values[tensor.name].min()), int(values[tensor.name].max())
        for op in _lookups(graph, tensor):
            rows = op.x.shape[op.axis]
            if low < 0 or high >= rows:
                raise InputError(
                    f"the values of '{tensor.name}' go from {low} to {high}, and its table has {rows} rows: 0 to "
                    f"{rows - 1} are expected"
                )


def _lookups(graph: Graph, tensor: Tensor) -> list[Gather]:
    """Return the tables that identifiers are looked up in as they are."""
    found: list[Gather] = []
    for op in graph.consumers.get(tensor, ()):
        if isinstance(op, Gather) and op.indices is tensor:
            found.append(op)
        elif isinstance(op, Reshape | Transpose | StridedSlice):
            found += _lookups(graph, op.y)
    return found


def _shaped(array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    if array.shape == tensor.shape:
        return array
    squeezed = tuple(d for d in array.shape if d != 1)
    if squeezed == tuple(d for d in tensor.shape if d != 1):
        return array.reshape(tensor.shape)
    turned = ""
    if len(tensor.shape) == 4 and array.shape[-3:] == tuple(tensor.shape[d] for d in (3, 1, 2)):
        turned = ": channels come last here, turn it with numpy.moveaxis(array, -3, -1)"
    raise InputError(f"input '{tensor.name}' has shape {list(tensor.shape)}, the array {list(array.shape)}{turned}")


def quantised_values(array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return finite real values in the units of a tensor of bytes: to nearest, halves away from zero, saturated."""
    scaled = array.astype(np.float64) / tensor.scale
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) + tensor.zero_point
    quantised: NDArray[Any] = np.clip(rounded, *integer_range(tensor.dtype)).astype(tensor.dtype.value)
    return quantised


def _pixels(array: NDArray[Any], tensor: Tensor) -> NDArray[np.int8]:
    if tensor.zero_point != -128:
        raise InputError(
            f"input '{tensor.name}' has zero point {tensor.zero_point}, not -128: pixels 0..255 don't map onto it; "
            "give int8 values or floats in an .npy file"
        )
    return np.ascontiguousarray((array.astype(np.int16) - 128).astype(np.int8))


def _load(path: Path) -> NDArray[Any]:
    try:
        return read_array(path)
    except ArchiveError as error:
        raise InputError(f"{path} can't be read as an .npy file: {error}") from error


def _from_archive(path: Path, tensors: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
    try:
        arrays: Mapping[str, NDArray[Any]] = read_archive(path)
    except ArchiveError as error:
        raise InputError(f"{path} can't be read as an .npz file: {error}") from error
    if len(tensors) == 1 and len(arrays) == 1:
        return {tensors[0].name: fit_array(next(iter(arrays.values())), tensors[0])}
    missing = [t.name for t in tensors if t.name not in arrays]
    if missing:
        raise InputError(f"{path} lacks the inputs {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}")
    return {t.name: fit_array(arrays[t.name], t) for t in tensors}


def _picture(path: Path, tensor: Tensor) -> NDArray[Any]:
    if len(tensor.shape) != 4 or tensor.shape[0] != 1 or tensor.shape[3] not in (1, 3):
        raise InputError(f"input '{tensor.name}' of shape {list(tensor.shape)} is not one picture; give an .npy file")
    _, height, width, channels = tensor.shape
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path} has {image.width}x{image.height} pixels; the most is {MAX_PIXELS:,}")
            notes = [f"'{path.name}' is resized from {image.width}x{image.height} to {width}x{height}"]
            if image.size == (width, height):
                notes = []
            upright = ImageOps.exif_transpose(image)
            if "A" in upright.getbands() or "transparency" in upright.info:
                notes.append(f"the transparency of '{path.name}' is dropped")
            plain = _eight_bits(upright, path).convert("RGB" if channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} can't be read as a picture: {error}") from error
    for note in notes:
        warn(note)
    fitted = ImageOps.fit(plain, (width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(fitted, dtype=np.uint8).reshape(1, height, width, channels)
    if tensor.dtype is DType.FLOAT32:
        return pixels.astype(np.float32) / np.float32(255)
    return fit_array(pixels, tensor)


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """Return a picture whose values are bytes: 16 bits are scaled, what has no fixed range is refused."""
    if image.mode.startswith("I;16"):
        wide = np.asarray(image, dtype=np.uint16).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise InputError(
            f"{path} has pixels of 32 bits (mode {image.mode}), whose range is not known: save it with 8 or 16 bits, "
            "or give the values in an .npy file"
        )
    return image
