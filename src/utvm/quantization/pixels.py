"""Preprocessing inside the network: a camera's bytes go straight in.

One mean and one deviation for all channels only say what a byte stands for. Others become a layer of one tap, which a
pass folds into the layer behind it where that has no padding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from utvm.graph import Conv2D, DepthwiseConv2D, DType, Graph, Padding, Quantization, Quantize, Tensor
from utvm.graph.names import Names
from utvm.quantization.dataset import Dataset, DatasetError, Pixels
from utvm.quantization.ranges import ValueRange

_MOST = 255.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folded:
    """A float graph of bytes.

    Attributes:
        data: the samples given, in the units of its input.
        fixed: the real values that bytes 0 … 255 stand for, by input.
    """

    graph: Graph
    data: tuple[Dataset, ...]
    fixed: dict[str, ValueRange]


def folded(graph: Graph, data: Sequence[Dataset], pixels: Pixels) -> Folded:
    """Return a graph whose input is pixels 0 … 255.

    Args:
        graph: float32, images [N,H,W,C].
        data: samples in the network's units.
        pixels: how the network's values follow from pixels.

    Raises:
        DatasetError: the network has several inputs, or other values than pixels fit.
    """
    if len(graph.inputs) != 1:
        raise DatasetError(f"{graph.name} has {len(graph.inputs)} inputs: preprocessing is folded into one of pixels")
    (x,) = graph.inputs
    if len({*pixels.mean}) == 1 and len({*pixels.std}) == 1:
        # A byte that stands for 0 has to be there: a mean counts to the nearest.
        middle, width = float(np.rint(pixels.mean[0])), pixels.std[0]
        if not 0 <= middle <= _MOST:
            raise DatasetError(f"a mean of {pixels.mean[0]} is no pixel: 0 to 255 is expected to fold it")
        fixed = {x.name: ValueRange(low=-middle / width, high=(_MOST - middle) / width)}
        return Folded(graph=graph, data=tuple(data), fixed=fixed)
    if len(x.shape) != 4 or len(pixels.mean) not in (1, x.shape[3]) or len(pixels.std) not in (1, x.shape[3]):
        raise DatasetError(f"means or deviations a channel do not fit input '{x.name}' {list(x.shape)}")
    mean, std = (np.broadcast_to(np.array(v, np.float64), (x.shape[3],)) for v in (pixels.mean, pixels.std))
    names = Names(t.name for t in graph.tensors)
    raw = dataclasses.replace(x, name=x.name)
    real = dataclasses.replace(x, name=names.fresh(f"{x.name}/normalised"))
    layer = DepthwiseConv2D(
        name=names.fresh(f"{x.name}/normalise"),
        x=raw,
        weights=_constant(names.fresh(f"{x.name}/factor"), (1 / std).reshape(1, 1, 1, -1)),
        bias=_constant(names.fresh(f"{x.name}/amount"), -mean / std),
        y=real,
        stride=(1, 1),
        dilation=(1, 1),
        padding=Padding(),
    )
    moved = graph.rewrite(tensors={x: real})
    made = Graph(name=graph.name, operators=(layer, *moved.operators), inputs=(raw,), outputs=moved.outputs)
    return Folded(
        graph=_joined(made, layer),
        data=tuple(
            dataclasses.replace(one, inputs={x.name: (one.inputs[x.name] * std + mean).astype(np.float32)})
            for one in data
        ),
        fixed={x.name: ValueRange(low=0.0, high=_MOST)},
    )


def _joined(graph: Graph, layer: DepthwiseConv2D) -> Graph:
    """Return the graph with the layer of one tap inside a convolution that alone reads it and has no padding."""
    readers = graph.consumers.get(layer.y, ())
    if len(readers) != 1 or layer.bias is None or layer.y in graph.outputs:
        return graph
    (op,) = readers
    if not isinstance(op, Conv2D) or op.padding.any or op.groups != 1 or not op.weights.is_constant:
        return graph
    names = Names(t.name for t in graph.tensors)
    factor, amount = layer.weights.values.reshape(-1), layer.bias.values
    weights = op.weights.values.astype(np.float64)
    bias = np.zeros(len(weights)) if op.bias is None else op.bias.values.astype(np.float64)
    changed = dataclasses.replace(
        op,
        x=layer.x,
        weights=_constant(names.fresh(f"{op.weights.name}/pixels"), weights * factor),
        bias=_constant(names.fresh(f"{op.name}/pixels"), bias + (weights * amount).sum(axis=(1, 2, 3))),
    )
    return graph.rewrite([changed if other is op else other for other in graph.operators if other is not layer])


def _constant(name: str, values: np.ndarray) -> Tensor:
    data = np.ascontiguousarray(values, np.float32)
    return Tensor(name=name, shape=data.shape, dtype=DType.FLOAT32, data=data)


def bytes_in(graph: Graph) -> Graph:
    """Return an int8 graph whose inputs are uint8: the same values, zero points higher by 128."""
    names = Names(t.name for t in graph.tensors)
    changed: dict[Tensor, Tensor] = {}
    made: list[Quantize] = []
    inputs = []
    for x in graph.inputs:
        quant = Quantization.per_tensor(x.scale, x.zero_point + 128)
        inputs.append(dataclasses.replace(x, dtype=DType.UINT8, quant=quant))
        changed[x] = dataclasses.replace(x, name=names.fresh(f"{x.name}/int8"))
        made.append(Quantize(name=names.fresh(f"{x.name}/bytes"), x=inputs[-1], y=changed[x]))
    moved = graph.rewrite(tensors=changed)
    operators = (*made, *moved.operators)
    return Graph(name=graph.name, operators=operators, inputs=tuple(inputs), outputs=moved.outputs)
