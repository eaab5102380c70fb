"""Resize in any of ONNX's modes: along each dimension a product with the weights that the mode has there.

Resizing is linear and works on one dimension after the other, so that the weights are what it makes of unit vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.interpolation import LONGEST, along
from utvm.frontends.onnx_constants import computed
from utvm.frontends.onnx_model import OnnxNode
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.graph import Tensor


def resized_by_weights(n: NodeContext, x: Tensor) -> Value:
    """Return a resized activation.

    Raises:
        RefusedError: a mode that is not linear, or dimensions too long for weights of their own.
    """
    mode = n.text("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize":
        raise RefusedError(f"its mode {n.text('mode', 'nearest')} with {mode} is not supported")
    rank = len(x.shape)
    axes = [axis_of(axis, rank) for axis in n.ints("axes") or range(rank)]
    given = n.integers(3, "sizes") if n.has(3) else None
    scales = None if given is not None else n.floats(2, "scales").reshape(-1).tolist()
    if len(axes) != len(given or scales or ()):
        raise RefusedError("its sizes or scales do not fit its input")
    if given is not None:
        scales = [size / x.shape[axis] for size, axis in zip(given, axes, strict=True)]
        policy = n.text("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            least = min(scales) if policy == "not_larger" else max(scales)
            scales = [least] * len(axes)
            given = tuple(int(least * x.shape[axis] + 0.5) for axis in axes)
    y = x
    for index, axis in enumerate(axes):
        assert scales is not None
        size = x.shape[axis]
        target = given[index] if given is not None else math.floor(size * scales[index])
        if target == size and scales[index] == 1:
            continue
        if max(size, target) > LONGEST or target < 1:
            raise RefusedError(
                f"it resizes {size} to {target} pixels in a mode for which at most {LONGEST} are supported"
            )
        weights = _weights(n, size, None if given is None else target, scales[index])
        y = along(n.b, y, axis, weights)
    return y


def _weights(n: NodeContext, size: int, target: int | None, scale: float) -> NDArray[np.float32]:
    """Return [after, before]: what the mode makes of each pixel alone along one dimension."""
    kept = ("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias")
    attributes: dict[str, Any] = {name: n.node.attributes[name] for name in kept if name in n.node.attributes}
    node = OnnxNode(
        index=n.node.index,
        kind="Resize",
        name=n.node.name,
        inputs=("x", "", "scales", "sizes"),
        outputs=("y",),
        attributes=attributes,
    )
    columns = []
    for pixel in np.eye(size, dtype=np.float32):
        shape = None if target is None else np.array([target], np.int64)
        factor = np.array([scale], np.float32) if target is None else None
        columns.append(computed(node, [pixel, None, factor, shape], max(n.opset, 19))[0])
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)
