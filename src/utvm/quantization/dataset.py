"""Samples to calibrate with and to judge by: .npz and .npy files, and folders of pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.frontends.archives import ArchiveError, read_archive, read_array
from utvm.frontends.inputs import PICTURES, read_inputs
from utvm.graph import DType, Tensor
from utvm.graph.arithmetic import integer_range
from utvm.graph.names import printable
from utvm.quantization.batches import sample_shape

_LABELS_ALONE = ("labels", "label")
_LABELS = (*_LABELS_ALONE, "y", "targets")
"""Names of arrays of classes; the latter two may hold something else."""
_SHOWN = 8
"""Arrays of a file that an error names."""
MAX_BYTES = 1 << 30
"""Of all samples of a folder, as float32."""


class DatasetError(UtvmError):
    """Samples that can't be read or do not fit the network."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Samples of each input.

    Attributes:
        inputs: input name → [samples, *sample_shape(input)] of the input's type, float32 or int32, in the order of the
            graph's dimensions.
        labels: class of each sample, None where nobody says.
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def sample(self, count: int, seed: int = 0) -> Dataset:
        """Return at most `count` samples, drawn with a seed."""
        if count >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False))
        return Dataset(
            inputs={name: array[chosen] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What a network expects of pixels 0 … 255: (pixel - mean) / std, one value or one a channel."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.mean or not self.std or not np.isfinite((*self.mean, *self.std)).all() or min(self.std) <= 0:
            raise DatasetError("means are finite numbers and standard deviations are above 0, in pixels of 0 to 255")

    def of(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the network's values for pixels [..., C].

        Raises:
            DatasetError: there are means or standard deviations of another number of channels.
        """
        for values in (self.mean, self.std):
            if len(values) not in (1, *pixels.shape[-1:]):
                raise DatasetError(f"{len(values)} means or standard deviations do not fit pixels {list(pixels.shape)}")
        result: NDArray[np.float32] = ((pixels - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return result


def read_dataset(
    path: Path,
    inputs: Sequence[Tensor],
    orders: Mapping[str, tuple[int, ...]],
    *,
    pixels: Pixels | None = None,
    labels: Path | None = None,
) -> Dataset:
    """Read samples.

    Args:
        path: an .npz with an array [samples, ...] for each input (or for the only one) and perhaps one of labels; an
            .npy; or a folder of pictures, which may lie in one folder a class.
        inputs: the graph's inputs.
        orders: for inputs that the model's file has in another order of dimensions, the permutation to the graph's.
        pixels: how bytes and pictures become the network's values; None is bytes as they are, and pictures over 255.
        labels: a file with the class of each sample: .npy, .npz, or text with one number a line.

    Raises:
        DatasetError: nothing fits; the message says what is expected.
    """
    if path.is_dir():
        found = _folder(path, inputs, orders, pixels)
    elif path.suffix.lower() in (".npz", ".npy"):
        found = _arrays(path, inputs, orders, pixels)
    else:
        raise DatasetError(f"{path}: samples are an .npz or .npy file, or a folder of pictures")
    if labels is not None:
        found = Dataset(inputs=found.inputs, labels=_read_labels(labels, len(found)))
    return found


def dataset_of(
    arrays: Mapping[str, NDArray[Any]],
    inputs: Sequence[Tensor],
    orders: Mapping[str, tuple[int, ...]],
    *,
    pixels: Pixels | None = None,
    source: str = "the data",
    left_out: Sequence[str] = (),
) -> Dataset:
    """Return samples from arrays by name; see `read_dataset`. `left_out` tells of what was there besides numbers."""
    chosen: dict[str, NDArray[Any]] = {}
    used: set[str] = set()
    for tensor in inputs:
        name = tensor.name if tensor.name in arrays else _only_fitting(arrays, tensor, orders, inputs, source, left_out)
        used.add(name)
        chosen[tensor.name] = _fitted(arrays[name], tensor, orders.get(tensor.name), pixels, source, name)
    counts = {name: len(array) for name, array in chosen.items()}
    count = min(counts.values())
    if count == 0 or count != max(counts.values()):
        there = ", ".join(f"{number} of '{name}'" for name, number in counts.items())
        raise DatasetError(f"{source}: there are samples {there}; as many of each are expected, at least one")
    for name in _LABELS:
        if name in arrays and name not in used:
            labels = _classes(arrays[name], count)
            if labels is None and name in _LABELS_ALONE:
                what = f"{arrays[name].dtype}{list(arrays[name].shape)}"
                raise DatasetError(
                    f"{source}: '{name}' is {what}; one whole number for each of {count} samples is expected, or a row "
                    "with one 1"
                )
            if labels is not None:
                return Dataset(inputs=chosen, labels=labels)
    return Dataset(inputs=chosen)


def _classes(array: NDArray[Any], count: int) -> NDArray[np.int64] | None:
    """Return the class of each sample, from numbers or rows with one 1; None for what says none."""
    rows = array.reshape(len(array), -1) if array.ndim else np.zeros((0, 0))
    if len(rows) != count or array.dtype.kind not in "biuf" or not np.isfinite(rows).all():
        return None
    if rows.shape[1] > 1:
        one_hot = ((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all()
        return rows.argmax(axis=1).astype(np.int64) if one_hot else None
    whole = rows.shape[1] == 1 and (rows == np.rint(rows)).all()
    return rows[:, 0].astype(np.int64) if whole else None


def _arrays(
    path: Path, inputs: Sequence[Tensor], orders: Mapping[str, tuple[int, ...]], pixels: Pixels | None
) -> Dataset:
    try:
        left_out: list[str] = []
        is_archive = path.suffix.lower() == ".npz"
        arrays = read_archive(path, left_out=left_out) if is_archive else {"samples": read_array(path)}
    except ArchiveError as error:
        raise DatasetError(f"{path} can't be read: {error}") from error
    return dataset_of(arrays, inputs, orders, pixels=pixels, source=str(path), left_out=left_out)


def _shapes(tensor: Tensor, order: tuple[int, ...] | None) -> list[tuple[int, ...]]:
    """Return the shapes of a sample that are taken: the model's own first."""
    shape = sample_shape(tensor)
    if order is None:
        return [shape]
    source = dataclasses.replace(tensor, shape=tuple(tensor.shape[order.index(d)] for d in range(len(order))))
    return [sample_shape(source), shape]


def _only_fitting(
    arrays: Mapping[str, NDArray[Any]],
    tensor: Tensor,
    orders: Mapping[str, tuple[int, ...]],
    inputs: Sequence[Tensor],
    source: str,
    left_out: Sequence[str],
) -> str:
    shapes = _shapes(tensor, orders.get(tensor.name))
    fitting = [name for name, array in arrays.items() if any(_fits(array, shape) for shape in shapes)]
    if len(inputs) == 1 and len(fitting) == 1:
        return fitting[0]
    there = [*(f"{printable(name)} {list(array.shape)}" for name, array in arrays.items()), *map(printable, left_out)]
    shown = ", ".join(there[:_SHOWN]) + (", ..." if len(there) > _SHOWN else "")
    raise DatasetError(f"{source} has {shown or 'nothing'}; {_wanted(inputs, orders)}")


def _wanted(inputs: Sequence[Tensor], orders: Mapping[str, tuple[int, ...]]) -> str:
    """Return what is expected of data for all inputs."""
    each = [f"'{t.name}' of shape {_shown(_shapes(t, orders.get(t.name))[0])}" for t in inputs]
    return f"an array {each[0]} is expected" if len(each) == 1 else f"arrays {' and '.join(each)} are expected"


def _shown(sample: tuple[int, ...]) -> str:
    return f"[{', '.join(('samples', *map(str, sample)))}]"


def _fits(array: NDArray[Any], shape: tuple[int, ...]) -> bool:
    return array.ndim > 0 and [d for d in array.shape[1:] if d != 1] == [d for d in shape if d != 1]


def _fitted(
    array: NDArray[Any],
    tensor: Tensor,
    order: tuple[int, ...] | None,
    pixels: Pixels | None,
    source: str,
    name: str,
) -> NDArray[Any]:
    shape = next((shape for shape in _shapes(tensor, order) if _fits(array, shape)), None)
    if shape is None or array.dtype.kind not in "biuf":
        there, expected = f"{array.dtype}{list(array.shape)}", _shown(_shapes(tensor, order)[0])
        raise DatasetError(f"{source}: '{printable(name)}' is {there}, numbers of shape {expected} are expected")
    if tensor.dtype is DType.INT32:
        return _identifiers(array, tensor, source, name)
    if array.dtype == np.int8:
        raise DatasetError(
            f"{source}: '{printable(name)}' is int8, whose scale is not known here: give real values as float32"
        )
    values = array.reshape(len(array), *shape)
    if order is not None and shape == _shapes(tensor, order)[0]:
        lead = values.ndim - len(order)
        values = values.transpose(*range(lead), *(lead + d for d in order))
    bytes_given = array.dtype == np.uint8 and pixels is not None
    result = pixels.of(values) if bytes_given and pixels is not None else values.astype(np.float32)
    if not np.isfinite(result).all():
        raise DatasetError(f"{source}: '{printable(name)}' has values that are not finite")
    return np.ascontiguousarray(result).reshape(len(array), *sample_shape(tensor))


def _identifiers(array: NDArray[Any], tensor: Tensor, source: str, name: str) -> NDArray[np.int32]:
    """Return whole numbers as int32."""
    low, high = integer_range(DType.INT32)
    whole = array.dtype.kind in "iu" or bool((array == np.rint(array)).all())
    if not whole or (array.size and (array.min() < low or array.max() > high)):
        raise DatasetError(
            f"{source}: '{printable(name)}' is {array.dtype} with values that are no whole numbers of int32; the "
            "network takes identifiers"
        )
    return np.ascontiguousarray(array.astype(np.int32)).reshape(len(array), *sample_shape(tensor))


def _folder(
    path: Path, inputs: Sequence[Tensor], orders: Mapping[str, tuple[int, ...]], pixels: Pixels | None
) -> Dataset:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES)
    if not files:
        raise DatasetError(f"{path} has no pictures ({', '.join(PICTURES)})")
    if len(inputs) != 1:
        raise DatasetError(f"{path} has pictures for one input; give an .npz: {_wanted(inputs, orders)}")
    tensor = inputs[0]
    if len(files) * tensor.nbytes > MAX_BYTES:
        raise DatasetError(f"{path} has {len(files):,} pictures, more than fit into memory: give fewer")
    values = np.concatenate([read_inputs(file, inputs)[tensor.name] for file in files])
    if pixels is not None:
        values = pixels.of(values * np.float32(255))
    folders = sorted({file.parent.name for file in files if file.parent != path})
    labels = None
    if len(folders) > 1 and all(file.parent != path for file in files):
        labels = np.array([folders.index(file.parent.name) for file in files], np.int64)
    return Dataset(inputs={tensor.name: values}, labels=labels)


def _read_labels(path: Path, count: int) -> NDArray[np.int64]:
    try:
        if path.suffix.lower() == ".npz":
            arrays = read_archive(path, left_out=[])
            array = next((arrays[name] for name in _LABELS if name in arrays), np.array([]))
        elif path.suffix.lower() == ".npy":
            array = read_array(path)
        else:
            array = np.array([int(line) for line in path.read_text(encoding="utf-8").split()])
    except (ArchiveError, OSError, ValueError) as error:
        raise DatasetError(f"{path} can't be read as labels: {error}") from error
    labels = _classes(array, count)
    if labels is None:
        raise DatasetError(f"{path} has {array.dtype}{list(array.shape)}; one whole number for each of {count} samples")
    return labels
