"""A convolution that would have Winograd but for the scale of one channel."""

from dataclasses import replace

from utvm.bench import layer_graph
from utvm.graph import Conv2D, Graph


def enlarged_convolution(scale: float) -> Graph:
    """Return a 3x3 convolution, of whose 16 channels the first has an effective scale as given."""
    graph = layer_graph("rn8_conv_32x32x16_16_k3")
    assert graph is not None
    (op,) = graph.operators
    assert isinstance(op, Conv2D)
    assert op.weights.quant is not None
    assert op.bias is not None
    scales = [float(value) for value in op.weights.channel_scales(16)]
    scales[0] = scale * op.y.scale / op.x.scale
    quant = replace(op.weights.quant, scale=tuple(scales), zero_point=(0,) * 16, axis=0)
    sums = replace(quant, scale=tuple(op.x.scale * each for each in scales))
    changed = replace(op, weights=replace(op.weights, quant=quant), bias=replace(op.bias, quant=sums))
    return Graph(name="one", operators=(changed,), inputs=graph.inputs, outputs=graph.outputs)
