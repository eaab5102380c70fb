"""tflite-micro's interpreter as the oracle."""

import numpy as np
from numpy.typing import NDArray
from tflite_micro import runtime

ARENA_BYTES = 4 * 1024 * 1024


class Oracle:
    """A model in tflite-micro's interpreter."""

    def __init__(self, model: bytes, arena_size: int = ARENA_BYTES) -> None:
        self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_size)

    def run(self, *inputs: NDArray) -> list[NDArray]:
        """Return all outputs for these inputs, in the model's order."""
        for index, value in enumerate(inputs):
            self._interpreter.set_input(value, index)
        self._interpreter.invoke()
        outputs = []
        while True:
            try:
                outputs.append(np.array(self._interpreter.get_output(len(outputs))))
            except (IndexError, RuntimeError, ValueError):
                return outputs
