"""Files of torch.export.save, made here as PyTorch 2.13 writes them: read without PyTorch, nothing unpickled."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utvm.cli import main
from utvm.frontends import FrontendError, load
from utvm.graph import Conv2D
from utvm.graph.reference import evaluate

_NUMBERS = {"uint8": 1, "int8": 2, "int32": 4, "int64": 5, "float32": 7}


class _Trap:
    """Unpickling it ends the tests."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('unpickled')",)


def meta(array: np.ndarray) -> dict[str, Any]:
    """Return what a file says of a tensor."""
    sizes = [{"as_int": n} for n in array.shape]
    strides = [{"as_int": n // array.itemsize} for n in array.strides]
    return {"dtype": _NUMBERS[array.dtype.name], "sizes": sizes, "strides": strides, "storage_offset": {"as_int": 0}}


def ref(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


def call(target: str, name: str, *args: dict[str, Any]) -> dict[str, Any]:
    """Return a node."""
    inputs = [{"name": f"a{index}", "arg": arg, "kind": 1} for index, arg in enumerate(args)]
    return {"target": f"torch.ops.{target}", "inputs": inputs, "outputs": [ref(name)], "name": name}


def program(
    shape: tuple[int, ...], state: dict[str, np.ndarray], nodes: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON of a program of input `x` and the configuration of its numbers."""
    specs: list[dict[str, Any]] = [{"parameter": {"arg": {"name": k}, "parameter_name": k}} for k in state]
    specs.append({"user_input": {"arg": ref("x")}})
    values = {"x": meta(np.zeros(shape, np.float32))}
    graph = {"nodes": nodes, "tensor_values": values, "outputs": [ref(nodes[-1]["name"])]}
    config = {
        name: {"path_name": f"weight_{i}", "use_pickle": False, "tensor_meta": meta(array)}
        for i, (name, array) in enumerate(state.items())
    }
    return {"graph_module": {"graph": graph, "signature": {"input_specs": specs}}}, {"config": config}


def write(path: Path, made: tuple[dict[str, Any], dict[str, Any]], state: dict[str, np.ndarray]) -> Path:
    """Write the archive, with pickles where PyTorch has them."""
    with zipfile.ZipFile(path, "w") as archive:
        for index, array in enumerate(state.values()):
            archive.writestr(f"net/data/weights/weight_{index}", array.tobytes())
        archive.writestr("net/data/weights/model_weights_config.json", json.dumps(made[1]))
        archive.writestr("net/models/model.json", json.dumps(made[0]))
        archive.writestr("net/data/sample_inputs/model.pt", pickle.dumps(_Trap()))
        archive.writestr("net/byteorder", "little")
    return path


def network() -> tuple[tuple[dict[str, Any], dict[str, Any]], dict[str, np.ndarray]]:
    """Return conv2d and relu on [1,3,6,6]."""
    rng = np.random.default_rng(0)
    state = {"w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "b": rng.normal(size=4).astype(np.float32)}
    ones = {"as_ints": [1, 1]}
    nodes = [call("aten.conv2d.default", "c", ref("x"), ref("w"), ref("b"), ones, ones)]
    return program((1, 3, 6, 6), state, [*nodes, call("aten.relu.default", "r", ref("c"))]), state


def test_a_float_program(tmp_path: Path) -> None:
    made, state = network()
    graph = load(write(tmp_path / "net.pt2", made, state))
    x = np.random.default_rng(1).normal(size=(1, 3, 6, 6)).astype(np.float32)
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    wanted = np.einsum("nchwij,ocij->nohw", windows, state["w"]) + state["b"][:, None, None]
    np.testing.assert_allclose(evaluate(graph, [x])["output_0"], np.maximum(wanted, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_program_that_pt2e_quantised(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = {
        "w": rng.integers(-127, 128, (4, 3, 1, 1)).astype(np.int8),
        "s": rng.uniform(0.001, 0.01, 4).astype(np.float32),
        "z": np.zeros(4, np.int64),
    }
    least, shift = (-128, 0) if dtype == "int8" else (0, 128)
    kind, ends = {"as_scalar_type": _NUMBERS[dtype]}, ({"as_int": least}, {"as_int": least + 255})
    weights = {"as_scalar_type": _NUMBERS["int8"]}, ({"as_int": -127}, {"as_int": 127})

    def pair(name: str, source: str, scale: float, zero: int) -> list[dict[str, Any]]:
        units = ({"as_float": scale}, {"as_int": zero + shift}, *ends, kind)
        return [
            call("quantized_decomposed.quantize_per_tensor.default", f"{name}_q", ref(source), *units),
            call("quantized_decomposed.dequantize_per_tensor.default", name, ref(f"{name}_q"), *units),
        ]

    nodes = [
        call(
            "quantized_decomposed.dequantize_per_channel.default", "real",
            ref("w"), ref("s"), ref("z"), {"as_int": 0}, *weights[1], weights[0],
        ),
        *pair("i", "x", 0.03, -4),
        call("aten.conv2d.default", "c", ref("i"), ref("real")),
        *pair("o", "c", 0.05, 11),
    ]  # fmt: skip
    graph = load(write(tmp_path / "net.pt2", program((1, 3, 5, 5), state, nodes), state))
    (op,) = graph.operators
    assert isinstance(op, Conv2D)
    np.testing.assert_array_equal(op.weights.values, state["w"].transpose(0, 2, 3, 1))
    x = rng.integers(-128, 128, (1, 5, 5, 3)).astype(np.int8)
    real = np.einsum("nhwi,oi->nhwo", (x + 4.0) * 0.03, state["w"][..., 0, 0] * state["s"][:, None])
    wanted = np.clip(np.rint(real / 0.05) + 11, -128, 127)
    assert np.abs(evaluate(graph, [x])["output_0"] - wanted).max() <= 1


def test_hostile_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(change: Any) -> str:
        made, state = network()
        change(made, state)
        path = write(tmp_path / "net.pt2", made, state)
        assert main(["cost", str(path), "--board", "qemu-cortex-m7"]) == 2
        return capsys.readouterr().err

    def weight(made: Any) -> Any:
        return made[1]["config"]["w"]

    assert "pickle, which may run code and is not opened" in said(lambda m, _: weight(m).update(use_pickle=True))
    strided = said(lambda m, _: weight(m)["tensor_meta"].update(strides=[{"as_int": 1 << 40}] * 4))
    assert "claims more numbers" in strided
    assert "claims more numbers" in said(lambda m, _: weight(m)["tensor_meta"].update(sizes=[{"as_int": -1}] * 4))
    assert "damaged" in said(lambda m, _: weight(m).update(path_name="../../etc/passwd"))
    assert "damaged" in said(lambda m, _: m[0]["graph_module"]["graph"].update(nodes=[{"target": 3}]))
    assert "missing" in said(lambda m, _: m[1]["config"].pop("w"))
    assert "not supported" in said(
        lambda m, _: m[0]["graph_module"]["graph"]["nodes"][1].update(target="torch.ops.evil.run")
    )
    opened = said(lambda m, _: m[0]["graph_module"]["graph"]["tensor_values"]["x"]["sizes"].insert(0, {"as_expr": {}}))
    assert "open dimensions" in opened
    older = tmp_path / "older.pt2"
    with zipfile.ZipFile(older, "w") as archive:
        archive.writestr("serialized_state_dict.pt", pickle.dumps(_Trap()))
    assert main(["cost", str(older), "--board", "qemu-cortex-m7"]) == 2
    assert "older form, whose numbers are pickles" in capsys.readouterr().err
    older.write_bytes(pickle.dumps(_Trap()))
    assert main(["cost", str(older), "--board", "qemu-cortex-m7"]) == 2
    assert "no archive of torch.export.save" in capsys.readouterr().err


def test_files_that_ask_for_more_than_there_is(tmp_path: Path) -> None:
    made, state = network()
    plain = write(tmp_path / "net.pt2", made, state)

    def said(path: Path) -> str:
        with pytest.raises(FrontendError) as refused:
            load(path)
        return str(refused.value)

    def packed(compression: int) -> Path:
        """Return the same file compressed, some bytes of its first part turned."""
        path = tmp_path / "packed.pt2"
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", compression) as archive:
            for part in source.infolist():
                archive.writestr(part.filename, source.read(part))
        data = bytearray(path.read_bytes())
        data[60:70] = bytes(b ^ 255 for b in data[60:70])
        path.write_bytes(data)
        return path

    assert "damaged" in said(packed(zipfile.ZIP_DEFLATED))
    assert "compressed in another way" in said(packed(zipfile.ZIP_LZMA))
    with zipfile.ZipFile(tmp_path / "wide.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/models/model.json", b" " * (33 << 20))
    assert "more than 33,554,432 bytes" in said(tmp_path / "wide.pt2")
    for name in ("r2", [], {}):
        made, state = network()
        made[0]["graph_module"]["graph"]["outputs"] = [{"as_tensor": {"name": name}}]
        assert "nothing makes output" in said(write(tmp_path / "net.pt2", made, state))


def test_operators_that_become_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = call("aten.split.Tensor", "r", ref("x"), {"as_int": 1}, {"as_int": 1})
    path = write(tmp_path / "net.pt2", program((1, 1 << 22), {}, [parts]), {})
    monkeypatch.setattr("utvm.frontends.builder.MAX_OPERATORS", 100)
    with pytest.raises(FrontendError, match="more than 100 operators"):
        load(path)
    state = {"w": np.ones((1, 50), np.float32)}
    nodes = [call("aten.mul.Tensor", f"n{i}", ref(f"n{i - 1}" if i else "x"), ref("w")) for i in range(9)]
    path = write(tmp_path / "net.pt2", program((1, 50), state, nodes), state)
    assert len(load(path).operators) == 9
    monkeypatch.setattr("utvm.frontends.builder.MAX_CONSTANTS", 400)
    with pytest.raises(FrontendError, match=r"operator 8 mul\.Tensor: the constants of its network have more than 400"):
        load(path)


def test_integers_that_are_not_all_of_their_type(tmp_path: Path) -> None:
    def units(least: int, most: int, zero: int) -> list[dict[str, Any]]:
        ends = [{"as_int": value} for value in (zero, least, most)]
        return [{"as_float": 0.1}, *ends, {"as_scalar_type": _NUMBERS["int8"]}]

    for said, given in {
        "it makes 0 ... 127 only": (0, 127, 0),
        "zero point 200 is outside": (-128, 127, 200),
        "": (-127, 127, 0),
    }.items():
        nodes = [
            call("quantized_decomposed.quantize_per_tensor.default", "q", ref("x"), *units(*given)),
            call("quantized_decomposed.dequantize_per_tensor.default", "d", ref("q"), *units(*given)),
        ]
        path = write(tmp_path / "net.pt2", program((1, 4), {}, nodes), {})
        if said:
            with pytest.raises(FrontendError, match=said):
                load(path)
        else:
            load(path)


def test_scales_that_do_not_fit_a_constant(tmp_path: Path) -> None:
    state = {"w": np.ones((1, 4), np.int8), "s": np.ones(3, np.float32), "z": np.zeros(3, np.int64)}
    ends = ({"as_int": 0}, {"as_int": -127}, {"as_int": 127}, {"as_scalar_type": _NUMBERS["int8"]})
    nodes = [
        call("quantized_decomposed.dequantize_per_channel.default", "real", ref("w"), ref("s"), ref("z"), *ends),
        call("aten.mul.Tensor", "y", ref("x"), ref("real")),
    ]
    with pytest.raises(FrontendError, match="it has 3 scales for a constant"):
        load(write(tmp_path / "net.pt2", program((1, 4), state, nodes), state))


@pytest.mark.parametrize(("target", "more"), [("batch_norm", [{"as_bool": True}]), ("dropout", [])])
def test_programs_that_train(target: str, more: list[dict[str, Any]], tmp_path: Path) -> None:
    state = {name: np.ones(3, np.float32) for name in "abcd"}
    arguments = [*map(ref, "abcd"), *more] if more else [{"as_float": 0.5}, {"as_bool": True}]
    nodes = [call(f"aten.{target}.default", "y", ref("x"), *arguments)]
    with pytest.raises(FrontendError, match=r"export the module after module.eval\(\)"):
        load(write(tmp_path / "net.pt2", program((1, 3, 4, 4), state, nodes), state))


def test_a_mask_that_is_computed(tmp_path: Path) -> None:
    # softmax(masked_fill(x, ~tril(ones), -inf)), and PyTorch's own guard for rows of minus infinity alone.
    minus, size = {"as_float": "-Infinity"}, {"as_ints": [4, 4]}
    last, whole = {"as_int": -1}, {"as_scalar_type": 12}
    nodes = [
        call("aten.ones.default", "ones", size),
        call("aten.tril.default", "low", ref("ones")),
        call("aten._to_copy.default", "seen", ref("low"), whole),
        call("aten.bitwise_not.default", "hidden", ref("seen")),
        call("aten.masked_fill.Scalar", "scores", ref("x"), ref("hidden"), minus),
        call("aten._softmax.default", "p", ref("scores"), last, {"as_bool": False}),
        call("aten.eq.Scalar", "is", ref("x"), minus),
        call("aten.logical_not.default", "no", ref("is")),
        call("aten.any.dim", "some", ref("no"), last, {"as_bool": True}),
        call("aten.logical_not.default", "none", ref("some")),
        call("aten.full_like.default", "zeros", ref("p"), {"as_int": 0}),
        call("aten.where.self", "y", ref("none"), ref("zeros"), ref("p")),
    ]
    graph = load(write(tmp_path / "net.pt2", program((1, 4, 4), {}, nodes), {}))
    x = np.random.default_rng(0).normal(size=(1, 4, 4)).astype(np.float32)
    powers = np.exp(x) * np.tri(4)
    np.testing.assert_allclose(evaluate(graph, [x])["output_0"], powers / powers.sum(-1, keepdims=True), atol=1e-6)


def test_branches_at_run_time_are_refused_with_what_to_do(tmp_path: Path) -> None:
    nodes = [call("higher_order.cond", "y", ref("x"))]
    with pytest.raises(FrontendError, match=r"branches or loops at run time[^?]*plain Python"):
        load(write(tmp_path / "net.pt2", program((1, 4), {}, nodes), {}))
