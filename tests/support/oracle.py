"""tflite-micro's interpreter, the oracle of bit-exactness.

The wheel's resolver registers all of its operators (python_ops_resolver.cc), in their reference form: no CMSIS-NN, no
single rounding. Its default arena, ten times the model file, is too small for models of one operator. Misuse that the
C++ checks with TFLITE_CHECK ends the process, so tests draw nothing of that kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite_micro import runtime

_ARENA_SLACK = 256 * 1024


class Oracle:
    """A model in tflite-micro.

    Args:
        model: the bytes of a .tflite file.
        arena_size: bytes; generous if None.
        keep: keep all tensors, so that `tensor` can read any after a run.
    """

    def __init__(self, model: bytes, arena_size: int | None = None, *, keep: bool = False) -> None:
        config = (
            runtime.InterpreterConfig.kPreserveAllTensors if keep else runtime.InterpreterConfig.kAllocationRecording
        )
        size = arena_size or 10 * len(model) + _ARENA_SLACK
        self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=size, intrepreter_config=config)
        self._outputs = _outputs(model)

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run one inference; returns all outputs, in order."""
        for index, array in enumerate(inputs):
            self._interpreter.set_input(array, index)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_output(index)) for index in range(self._outputs)]

    def tensor(self, index: int) -> NDArray[Any]:
        """Return a tensor of the last run by its index in the file; needs `keep`."""
        return np.array(self._interpreter.GetTensor(index, 0)["tensor_data"])


def _outputs(model: bytes) -> int:
    return len(runtime.convert_bytearray_to_object(model).subgraphs[0].outputs)
