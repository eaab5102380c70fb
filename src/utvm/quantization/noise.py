"""How much noise operators bring to the outputs when they alone are int8, in a bounded number of runs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from utvm.graph import DType, Graph
from utvm.quantization.batches import Runner
from utvm.quantization.dataset import Dataset
from utvm.quantization.judging import quantised_inputs, real_values
from utvm.quantization.together import Together

_SAMPLES = 48
_MOST_RUNS = 64
"""Of the network on the samples. Where there are more choices, neighbours run together first."""


def by_noise(
    graph: Graph,
    make: Callable[[Mapping[str, DType]], Graph],
    choices: Sequence[Together],
    data: Dataset,
    progress: Callable[[str], None],
) -> list[Together]:
    """Return choices in the order of the noise that each brings to the outputs, the noisiest first.

    Up to 64 choices run one by one. More of them run in parts, of which the noisiest is halved again and again.
    Choices of a part that is never halved share its noise.

    Args:
        graph: float.
        make: returns the network with operators in float32.
        choices: operators that change together.
        data: samples; a few of them are taken.
        progress: called with one line of text now and then.
    """
    some = data.sample(_SAMPLES)
    real = Runner(graph).joined(some.inputs)
    runs = 0

    def noise(part: Sequence[Together]) -> float:
        nonlocal runs
        runs += 1
        progress(f"keeping accuracy: noise of operators, run {runs} of {min(_MOST_RUNS, len(choices))}")
        alone = {op.name for each in part for op in each}
        others = (op.name for each in choices for op in each if op.name not in alone)
        made = make(dict.fromkeys(others, DType.FLOAT32))
        stored = Runner(made).joined(quantised_inputs(made, some))
        return sum(float(((real_values(stored[t.name], t) - real[t.name]) ** 2).sum()) for t in made.outputs)

    count = len(choices) if len(choices) <= _MOST_RUNS else _MOST_RUNS // 2
    ends = [len(choices) * i // count for i in range(count + 1)] if choices else []
    parts = [(-noise(choices[a:b]), a, b) for a, b in pairwise(ends)]
    heapq.heapify(parts)
    found: list[tuple[float, int, int]] = []
    while parts:
        loud, a, b = heapq.heappop(parts)
        if b - a == 1 or runs + 2 > _MOST_RUNS:
            found.append((loud / (b - a), a, b))
            continue
        middle = (a + b) // 2
        for start, end in ((a, middle), (middle, b)):
            heapq.heappush(parts, (-noise(choices[start:end]), start, end))
    return [choices[i] for _, a, b in sorted(found) for i in range(a, b)]
