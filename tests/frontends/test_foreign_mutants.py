"""Structure-aware mutants of ONNX and .pt2 files: each is our error, or a graph; nothing else happens.

`UTVM_MUTANTS=2000` makes so many of both.
"""

from __future__ import annotations

import copy
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.frontends.test_pt2 import network, write
from tests.support.onnx_files import convnet, model, node
from utvm.frontends import FrontendError, load
from utvm.frontends.onnx import load_onnx

MUTANTS = int(os.environ.get("UTVM_MUTANTS", "120"))
SECONDS_EACH = 10.0
_NUMBERS = (-(1 << 62), -129, -2, -1, 0, 1, 2, 3, 5, 64, 1 << 20, 1 << 62)
_REAL = (0.0, -1.0, 1e38, 1e-38, float("nan"), float("inf"))


def originals() -> list[Any]:
    """Return networks with operators of most kinds."""
    rng = np.random.default_rng(0)
    nodes = [
        *(node("Pad", ["x", "pads"], ["0"], mode="reflect"), node("Conv", ["0", "a"], ["1"], strides=[2, 2])),
        *(node("HardSwish", ["1"], ["2"]), node("Clip", ["2", "low", "high"], ["3"])),
        *(node("ConvTranspose", ["3", "t"], ["4"], strides=[2, 2], pads=[1, 1, 1, 1]), node("Elu", ["4"], ["5"])),
        *(
            node("ReduceMax", ["5", "last"], ["6"]),
            node("Expand", ["6", "sizes"], ["7"]),
            node("Max", ["5", "7"], ["8"]),
        ),
        *(node("Einsum", ["8", "8"], ["9"], equation="bchw,bdhw->bcd"), node("Softmax", ["9"], ["10"], axis=-1)),
        node("GRU", ["10", "w", "r"], ["11", ""], hidden_size=3, linear_before_reset=1),
        *(node("Slice", ["11", "low_at", "high_at"], ["12"]), node("Transpose", ["12"], ["y"], perm=[1, 0, 2, 3])),
    ]
    numbers = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "last": np.array([3]), "sizes": np.array([1, 4, 8, 8])}
    floats = {"a": (6, 3, 3, 3), "t": (6, 4, 4, 4), "w": (1, 9, 4), "r": (1, 9, 3)}
    constants = {name: rng.normal(size=shape).astype(np.float32) for name, shape in floats.items()} | numbers
    constants |= {"low": np.float32(-0.25), "high": np.float32(1.5), "low_at": np.array([0]), "high_at": np.array([1])}
    return [convnet(), model(nodes, (1, 3, 8, 8), constants)]


def mutated_onnx(rng: random.Random, made: Any) -> bytes:
    """Return a file with one or two fields other than they were."""
    changed = onnx.ModelProto()
    changed.CopyFrom(made)
    graph = changed.graph
    names = [name for each in graph.node for name in (*each.input, *each.output)] + [t.name for t in graph.initializer]
    for _ in range(rng.choice((1, 1, 2))):
        each, constant = rng.choice(graph.node), rng.choice(graph.initializer)
        change = rng.randrange(9)
        if change == 0 and each.attribute:
            attribute = rng.choice(each.attribute)
            if attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_NUMBERS)
            attribute.i, attribute.f, attribute.s = (
                rng.choice(_NUMBERS),
                rng.choice(_REAL),
                b"\xff%s" * rng.choice((0, 9)),
            )
        elif change == 1:
            each.op_type = rng.choice([other.op_type for other in graph.node] + ["If", "Loop", "Scan", "Resize"])
        elif change == 2 and each.input:
            each.input[rng.randrange(len(each.input))] = rng.choice([*names, "", "nowhere"])
        elif change == 3:
            each.output[0] = rng.choice(names)
        elif change == 4 and constant.dims:
            constant.dims[rng.randrange(len(constant.dims))] = rng.choice(_NUMBERS)
        elif change == 5:
            constant.data_type = rng.choice(range(24))
        elif change == 6:
            values = bytearray(constant.raw_data or b"\0" * 8)
            values[rng.randrange(len(values))] = rng.randrange(256)
            constant.raw_data = bytes(values)
        elif change == 7:
            dims = graph.input[0].type.tensor_type.shape.dim
            dims[rng.randrange(len(dims))].dim_value = rng.choice(_NUMBERS)
        else:
            graph.node.remove(each) if rng.random() < 0.5 else graph.node.append(each)
        if not graph.node or not graph.initializer:
            break
    return changed.SerializeToString()


def mutated_values(rng: random.Random, value: Any) -> Any:
    """Change one leaf of JSON, or drop or double a part."""
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        if rng.random() < 0.06:
            value.pop(key)
        else:
            value[key] = mutated_values(rng, value[key])
        return value
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        if rng.random() < 0.1:
            return value + value[place:] if rng.random() < 0.5 else value[:place]
        value[place] = mutated_values(rng, value[place])
        return value
    return rng.choice((*_NUMBERS, *_REAL, None, "", "x", "aten.conv2d.default", [], {}, True))


def test_mutants_of_onnx_files() -> None:
    rng, made = random.Random(3), originals()
    assert all(load_onnx(each.SerializeToString()) for each in made)
    loaded = 0
    for _ in range(MUTANTS):
        data, began = mutated_onnx(rng, rng.choice(made)), time.process_time()
        try:
            load_onnx(data)
            loaded += 1
        except FrontendError:
            pass
        assert time.process_time() - began < SECONDS_EACH
    assert 0 < loaded < MUTANTS


def test_mutants_of_pt2_files(tmp_path: Path) -> None:
    rng, ((program, config), state) = random.Random(3), network()
    loaded = 0
    for _ in range(MUTANTS):
        parts = copy.deepcopy((program, config))
        for part in rng.choices(parts, (3, 1), k=rng.choice((1, 1, 2))):
            mutated_values(rng, part)
        path, began = write(tmp_path / "net.pt2", parts, state), time.process_time()
        try:
            load(path)
            loaded += 1
        except FrontendError:
            pass
        assert time.process_time() - began < SECONDS_EACH
    assert 0 < loaded < MUTANTS
