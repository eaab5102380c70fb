"""Running a graph of one sample on many: in batches where that gives the same, one by one elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.graph import Graph, GraphError, Tensor
from utvm.graph.reference import evaluate
from utvm.quantization.quantizer import QuantizationError

Arrays = dict[str, NDArray[Any]]
_BATCH_BYTES = 64 << 20
"""Of all activations of a batch."""
_MOST = 64


def sample_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of an input's sample: without a batch of 1; other inputs are one sample as they are."""
    return tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape


class Runner:
    """A graph ready to run on samples, whose arrays have the samples along their first dimension."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._batched: dict[int, Graph] = {}
        self._size: int | None = None

    def run(self, data: Mapping[str, NDArray[Any]], *, keep: bool = False) -> Iterator[tuple[int, Arrays]]:
        """Yield, of batch after batch, the number of samples and outputs by name, or with `keep` all activations.

        Args:
            data: input name → array [samples, *sample_shape(input)].

        Raises:
            QuantizationError: a value is not finite.
        """
        count = len(next(iter(data.values())))
        size = self._batch_size(data)
        for start in range(0, count, size):
            part = {name: array[start : start + size] for name, array in data.items()}
            some = min(size, count - start)
            yield some, self._one(part, some, keep)

    def joined(self, data: Mapping[str, NDArray[Any]], *, keep: bool = False) -> Arrays:
        """Return outputs, or with `keep` all activations, with all samples along the first dimension."""
        parts = [part for _, part in self.run(data, keep=keep)]
        return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}

    def _one(self, part: Mapping[str, NDArray[Any]], count: int, keep: bool) -> Arrays:
        graph = self._graph if count == 1 else self._with_batch(count)
        given = {t.name: np.ascontiguousarray(part[t.name]).reshape(t.shape) for t in graph.inputs}
        with np.errstate(all="ignore"):
            values = evaluate(graph, given, keep=keep, rough=True)
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise QuantizationError(
                    f"{graph.name}: '{name}' has values that are not finite on a sample: scale weights or samples so "
                    "that float32 holds them"
                )
        return values

    def _with_batch(self, count: int) -> Graph:
        if count not in self._batched:
            self._batched[count] = _with_batch(self._graph, count)
        return self._batched[count]

    def _batch_size(self, data: Mapping[str, NDArray[Any]]) -> int:
        """Return how many samples to run at once: one where batches give other results."""
        if self._size is None:
            self._size = self._fitting() if self._agrees(data) else 1
        return self._size

    def _fitting(self) -> int:
        nbytes = sum(4 * t.elements for t in self._graph.tensors if not t.is_constant)
        return max(2, min(_MOST, _BATCH_BYTES // max(nbytes, 1)))

    def _agrees(self, data: Mapping[str, NDArray[Any]]) -> bool:
        """Whether two samples at once give what each gives alone, in every activation."""
        if len(next(iter(data.values()))) < 2:
            return False
        try:
            together = self._one({name: array[:2] for name, array in data.items()}, 2, True)
        except (UtvmError, ValueError, IndexError):
            return False
        for index in range(2):
            alone = self._one({name: array[index : index + 1] for name, array in data.items()}, 1, True)
            for name, value in alone.items():
                if together[name].shape[1:] != value.shape[1:] or len(together[name]) != 2 * len(value):
                    return False
                both = together[name][index : index + 1], value
                if value.dtype.kind == "f":
                    tolerance = 1e-3 * float(np.abs(value).max(initial=1e-6))
                    if not np.allclose(*both, rtol=1e-3, atol=tolerance):
                        return False
                elif not np.array_equal(*both):
                    return False
        return True


def _with_batch(graph: Graph, count: int) -> Graph:
    """Return the graph with `count` for 1 in the first dimension of each activation."""
    changed = {
        t: dataclasses.replace(t, shape=(count, *t.shape[1:]))
        for t in graph.tensors
        if not t.is_constant and t.shape and t.shape[0] == 1
    }
    if len(changed) != sum(not t.is_constant for t in graph.tensors):
        raise GraphError("a tensor has no batch of 1")
    return graph.rewrite(tensors=changed)
