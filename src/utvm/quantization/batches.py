"""Running a graph of one sample on many, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from utvm.graph import Graph, Tensor
from utvm.graph.reference import evaluate
from utvm.quantization.quantizer import QuantizationError
from utvm.quantization.several import SeveralAtOnce

Arrays = dict[str, NDArray[Any]]
_BATCH_BYTES = 64 << 20
"""Of all activations of a batch."""
_MOST = 64


def sample_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of an input's sample: without a batch of 1; other inputs are one sample as they are."""
    return tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape


_several: WeakKeyDictionary[Graph, SeveralAtOnce] = WeakKeyDictionary()
"""Graph → how it runs on several samples, which calibration and judging both ask for."""


class Runner:
    """A graph ready to run on samples, whose arrays have the samples along their first dimension."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def run(self, data: Mapping[str, NDArray[Any]], *, keep: bool = False) -> Iterator[tuple[int, Arrays]]:
        """Yield, of batch after batch, the number of samples and outputs by name, or with `keep` all activations.

        Args:
            data: input name → array [samples, *sample_shape(input)].

        Raises:
            QuantizationError: a value is not finite.
        """
        count = len(next(iter(data.values())))
        several = self._several(data)
        size = 1 if several is None else self._fitting()
        for start in range(0, count, size):
            part = {name: array[start : start + size] for name, array in data.items()}
            some = min(size, count - start)
            yield some, self._alone(part, keep) if several is None or some == 1 else self._batch(several, part, keep)

    def joined(
        self, data: Mapping[str, NDArray[Any]], *, keep: bool = False, progress: Callable[[int], None] | None = None
    ) -> Arrays:
        """Return outputs, or with `keep` all activations, with all samples along the first dimension.

        Args:
            data: as `run` takes them.
            keep: whether all activations are wanted.
            progress: called with the number of samples that are done.
        """
        parts, done = [], 0
        for some, part in self.run(data, keep=keep):
            parts.append(part)
            done += some
            if progress is not None:
                progress(done)
        return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}

    def _alone(self, part: Mapping[str, NDArray[Any]], keep: bool) -> Arrays:
        given = {t.name: np.ascontiguousarray(part[t.name]).reshape(t.shape) for t in self._graph.inputs}
        with np.errstate(all="ignore"):
            return self._checked(evaluate(self._graph, given, keep=keep, rough=True))

    def _batch(self, several: SeveralAtOnce, part: Mapping[str, NDArray[Any]], keep: bool) -> Arrays:
        """Return values with the samples along the first dimension, beside what a tensor has there already."""
        with np.errstate(all="ignore"):
            found = several.evaluate(self._given(part))
        count = len(next(iter(found.values())))
        wanted = found if keep else self._graph.outputs
        values = {t: np.repeat(t.values[None], count, axis=0) if t.is_constant else found[t] for t in wanted}
        return self._checked({t.name: y.reshape(-1, *t.shape[1:]) for t, y in values.items()})

    def _given(self, part: Mapping[str, NDArray[Any]]) -> dict[Tensor, NDArray[Any]]:
        return {t: np.ascontiguousarray(part[t.name]).reshape(-1, *t.shape) for t in self._graph.inputs}

    def _checked(self, values: Arrays) -> Arrays:
        for name, value in values.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise QuantizationError(
                    f"{self._graph.name}: '{name}' has values that are not finite on a sample: scale weights or "
                    "samples so that float32 holds them"
                )
        return values

    def _several(self, data: Mapping[str, NDArray[Any]]) -> SeveralAtOnce | None:
        """Return how to run several samples at once; None for one alone, and where a run leaves something."""
        if len(next(iter(data.values()))) < 2 or self._graph.states:
            return None
        if self._graph not in _several:
            two = self._given({name: array[:2] for name, array in data.items()})
            with np.errstate(all="ignore"):
                _several[self._graph] = SeveralAtOnce(self._graph, two)
        return _several[self._graph]

    def _fitting(self) -> int:
        nbytes = sum(4 * t.elements for t in self._graph.tensors if not t.is_constant)
        return max(2, min(_MOST, _BATCH_BYTES // max(nbytes, 1)))
