"""Detections from boxes and anchors, as tflite-micro's TFLite_Detection_PostProcess makes them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from utvm.frontends.context import Context, expect_shape
from utvm.frontends.flexbuffer import Number, read_numbers
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_parts import Converted
from utvm.graph import Dequantize, DType, Foreign, Operator, Tensor
from utvm.graph.routines import routine

_MOST = 1 << 15
"""Boxes, classes and detections that one operator may have."""
_IN_A_CLASS = 100
"""Detections of a class, where no option says."""
_SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")
_ADVICE = "Convert the model with static shapes, one class a detection."


def convert_detection(c: Context) -> Converted:
    """Return the routine, its working memory as two outputs more, behind Dequantize of int8 inputs."""
    c.arity((3,), 4)
    if c.is_once:
        raise RefusedError("it is not computed before the first run")
    options = read_numbers(c.raw.custom_options)
    before: list[Operator] = []
    boxes, classes, anchors = (_real(c, i, before) for i in range(3))
    if len(boxes.shape) != 3 or boxes.shape[0] != 1 or boxes.shape[2] < 4:
        raise RefusedError(f"tensor '{boxes.name}': its shape is {list(boxes.shape)}, [1, boxes, 4] is expected")
    number = boxes.shape[1]
    expect_shape(anchors, (number, 4))
    count, most = (_whole(options, name, 1, _MOST) for name in ("num_classes", "max_detections"))
    in_class = _whole(options, "detections_per_class", 1, _MOST, _IN_A_CLASS)
    if classes.shape not in ((1, number, count), (1, number, count + 1)):
        raise RefusedError(f"tensor '{classes.name}': its shape is {list(classes.shape)}, not of {count} classes")
    by_class = bool(options.get("use_regular_nms", 0))
    if not by_class and min(_whole(options, "max_classes_per_detection", 1, _MOST), count) > 1:
        raise RefusedError(
            "it gives several classes a detection, which tflite-micro writes behind its outputs", _ADVICE
        )
    reals = [_number(options, name) for name in (*_SCALES, "nms_score_threshold", "nms_iou_threshold")]
    if not all(reals[:4]) or not 0 < reals[5] <= 1:
        raise RefusedError(f"its scales are {reals[:4]}, its largest overlap is {reals[5]:g}")
    ys = [_output(c, i, elements) for i, elements in enumerate((4 * most, most, most, 1))]
    merged = min(most, number * count) + min(in_class, number) if by_class else min(most, number)
    work = [
        Tensor(name=c.fresh(what), shape=(size,), dtype=dtype)
        for what, size, dtype in (
            ("corners", 5 * number + merged, DType.FLOAT32),
            ("places", 2 * number + merged, DType.INT32),
        )
    ]
    constants = (
        c.constant_made("parameters", np.array([most, min(in_class, number), count, by_class], np.int32)),
        c.constant_made("scales", np.array(reals, np.float32)),
    )
    xs = boxes, classes, anchors, *constants
    found = Foreign(name=c.name, function=routine("DetectionPostProcess"), xs=xs, ys=(*ys, *work))
    return (*before, found)


def _real(c: Context, position: int, before: list[Operator]) -> Tensor:
    """Return an input in float32: as it is, or by an operator that is added to `before`."""
    x = c.any_input(position)
    if x.dtype is DType.FLOAT32:
        return x
    if x.dtype is not DType.INT8 or x.quant is None:
        raise RefusedError(f"tensor '{x.name}': its type is {x.dtype}, float32 or int8 is expected")
    if x.is_constant:
        data = ((x.values.astype(np.float32) - np.float32(x.zero_point)) * np.float32(x.scale)).astype(np.float32)
        return c.constant_made(f"real{position}", data)
    y = Tensor(name=c.fresh(f"real{position}"), shape=x.shape, dtype=DType.FLOAT32)
    before.append(Dequantize(name=f"{c.name}/real{position}", x=x, y=y))
    return y


def _output(c: Context, position: int, elements: int) -> Tensor:
    y = c.any_output(position)
    if y.dtype is not DType.FLOAT32 or y.elements != elements:
        raise RefusedError(
            f"tensor '{y.name}': it is {y.dtype} of shape {list(y.shape)}, {elements} values of float32 are expected",
            _ADVICE,
        )
    return y


def _number(options: Mapping[str, Number], name: str, default: float | None = None) -> float:
    value = options.get(name, default)
    if value is None or not math.isfinite(value) or abs(value) >= 1 << 31:
        raise RefusedError(f"its option '{name}' is {'missing' if value is None else value}")
    return float(value)


def _whole(options: Mapping[str, Number], name: str, least: int, most: int, default: int | None = None) -> int:
    value = int(_number(options, name, default))
    if not least <= value <= most:
        raise RefusedError(f"its option '{name}' is {value}, {least} to {most} is expected")
    return value
