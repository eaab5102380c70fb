"""Files that claim more than they hold, pictures that are no bytes, and terminals that know ASCII alone."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from PIL import Image

from tests.support.shared import shared
from utvm.errors import UtvmWarning
from utvm.frontends import FrontendError, load, load_tflite
from utvm.frontends.archives import ArchiveError, read_archive, read_array
from utvm.frontends.inputs import InputError, read_inputs
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded, write_tflite
from utvm.graph import Add, DType, FullyConnected, Graph, Mean, Mul, Quantization, Softmax, Sub, Tensor
from utvm.graph.accuracy_cautions import cautions
from utvm.graph.arithmetic import integer_range

IMAGE = Tensor(name="x", shape=(1, 4, 4, 1), dtype=DType.INT8, quant=Quantization.per_tensor(1 / 255, -128))


def header(shape: str, descr: str = "'|i1'", version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


LIES = {
    "a tebibyte": header("(1099511627776,)"),
    "many dimensions": header("(65536, 65536, 65536)"),
    "below zero": header("(-5,)"),
    "an empty giant": header("(0, 1099511627776)"),
    "objects": header("(3,)", "'|O'"),
    "text": header("(3,)", "'<U4'"),
    "records": header("(3,)", "[('a', '<i4')]"),
    "no tuple": header("7"),
    "code": header("__import__('os').system('true')"),
    "deep": header("(" * 3000 + ")" * 3000),
    "another version": header("(3,)", version=b"\x09\x00"),
    "cut off": header("(300,)") + bytes(20),
    "nothing": b"",
    "zeros": bytes(100),
}


@pytest.mark.parametrize("lie", LIES)
def test_arrays_that_lie(lie: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / "x.npy", tmp_path / "x.npz"
    plain.write_bytes(LIES[lie])
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", LIES[lie])
    with pytest.raises(ArchiveError):
        read_array(plain)
    with pytest.raises(ArchiveError):
        read_archive(packed)
    for path in (plain, packed):
        with pytest.raises(InputError):
            read_inputs(path, [IMAGE])
    with pytest.raises(FrontendError, match=r"can't be read as an .npz archive"):
        load(packed)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header("(402653184,)"))
        for _ in range(384):
            file.write(bytes(1 << 20))
    with pytest.raises(ArchiveError, match="at most 268,435,456 are read"):
        read_archive(bomb)


def test_the_case_that_claims_a_tebibyte() -> None:
    path = shared("cases/claims_1_tib.npz")
    with pytest.raises(FrontendError, match="1,099,511,627,776 bytes"):
        load(path)
    with pytest.raises(InputError, match="1,099,511,627,776 bytes"):
        read_inputs(path, [IMAGE])


def test_what_numpy_saves_is_read(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(12, dtype=np.int8).reshape(3, 4),
        "b": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "c": np.array(5, np.uint16),
        "d": np.arange(3, dtype=">i4"),
    }
    np.savez_compressed(tmp_path / "all.npz", **arrays)
    for name, got in read_archive(tmp_path / "all.npz").items():
        np.testing.assert_array_equal(got, arrays[name])
        np.save(tmp_path / "one.npy", arrays[name])
        np.testing.assert_array_equal(read_array(tmp_path / "one.npy"), arrays[name])


def picture(path: Path, values: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_pixels_of_16_bits_are_scaled_and_of_32_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    got = read_inputs(picture(tmp_path / "wide.png", ramp), [IMAGE])["x"]
    np.testing.assert_array_equal(got.reshape(4, 4) + 128.0, np.round(ramp / 257))
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 16).astype(np.float32).reshape(4, 4)).save(buffer, "tiff")
    (tmp_path / "float.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="pixels of 32 bits"):
        read_inputs(tmp_path / "float.png", [IMAGE])


def test_what_is_done_to_a_picture_is_said(tmp_path: Path) -> None:
    with pytest.warns(UtvmWarning, match=r"'large.png' is resized from 9x8 to 4x4"):
        read_inputs(picture(tmp_path / "large.png", np.zeros((8, 9), np.uint8)), [IMAGE])
    with pytest.warns(UtvmWarning, match=r"the transparency of 'clear.png' is dropped"):
        read_inputs(picture(tmp_path / "clear.png", np.zeros((4, 4, 4), np.uint8)), [IMAGE])


@pytest.mark.parametrize(("size", "many"), [(4095, False), (4096, True), (8200, True)])
def test_a_softmax_whose_sum_may_overflow_is_told(size: int, many: bool) -> None:
    x = Tensor(name="x", shape=(1, size), dtype=DType.INT8, quant=Quantization.per_tensor(0.1))
    y = Tensor(name="y", shape=(1, size), dtype=DType.INT8, quant=Quantization.per_tensor(1 / 256, -128))
    graph = Graph(name="g", operators=(Softmax(name="s", x=x, y=y),), inputs=(x,), outputs=(y,))
    assert bool(cautions(graph)) is many


@pytest.mark.parametrize(("scale", "beta"), [(1e-9, 1.0), (1e-7, 0.01)])
def test_a_softmax_of_a_scale_that_is_too_small_is_refused(scale: float, beta: float) -> None:
    x = Tensor(name="x", shape=(1, 8), dtype=DType.INT8, quant=Quantization.per_tensor(scale))
    y = Tensor(name="y", shape=(1, 8), dtype=DType.INT8, quant=Quantization.per_tensor(1 / 256, -128))
    graph = Graph(name="g", operators=(Softmax(name="s", x=x, y=y, beta=beta),), inputs=(x,), outputs=(y,))
    with pytest.raises(FrontendError, match=r"tensor 'x': its scale .* is too small"):
        load_tflite(write_tflite(graph))


@pytest.mark.parametrize("power", [13, 14, 40])
def test_a_layer_of_int16_whose_scales_are_too_large_is_refused(power: int) -> None:
    x = Tensor(name="x", shape=(1, 4), dtype=DType.INT16, quant=Quantization.per_tensor(2.0**power))
    y = Tensor(name="y", shape=(1, 3), dtype=DType.INT16, quant=Quantization.per_tensor(1.0))
    weights = Tensor(
        name="w", shape=(3, 4), dtype=DType.INT8, quant=Quantization.per_tensor(1.0), data=np.ones((3, 4), np.int8)
    )
    bias = Tensor(name="b", shape=(3,), dtype=DType.INT64, data=np.zeros(3, np.int64))
    layer = FullyConnected(name="f", x=x, weights=weights, bias=bias, y=y, clamp=(-(2**15), 2**15 - 1))
    graph = Graph(name="g", operators=(layer,), inputs=(x,), outputs=(y,))
    if power < 14:
        assert load_tflite(write_tflite(graph)).operators
    else:
        with pytest.raises(FrontendError, match="too large for int16"):
            load_tflite(write_tflite(graph))


def _product(kind: str, dtype: DType, ratio: float) -> bytes:
    """Return an operator that makes sums of products, whose scales are so far apart."""
    sizes = (1, 2, 2, 2)
    x, y = (
        Tensor(name=name, shape=sizes, dtype=dtype, quant=Quantization.per_tensor(scale))
        for name, scale in (("x", ratio), ("y", 1.0))
    )
    one = Quantization.per_tensor(1.0)
    w = Tensor(name="w", shape=(2, 1, 1, 2), dtype=DType.INT8, quant=one, data=np.ones((2, 1, 1, 2), np.int8))
    if kind == "BATCH_MATMUL":
        w = dataclasses.replace(y, name="w", quant=one)
    shape = Tensor(name="shape", shape=(4,), dtype=DType.INT32, data=np.array(sizes, np.int32))
    fields = {} if kind == "BATCH_MATMUL" else {"Padding": 0, "StrideH": 1, "StrideW": 1}
    if kind == "CONV_2D":
        fields |= {"DilationHFactor": 1, "DilationWFactor": 1}
    inputs = (shape, w, x) if kind == "TRANSPOSE_CONV" else (x, w)
    options = {"BATCH_MATMUL": "BatchMatMulOptions", "CONV_2D": "Conv2DOptions"}.get(kind, "TransposeConvOptions")
    code = getattr(tflite.BuiltinOperator, kind)
    op = EncodedOperator(code=code, version=3, inputs=inputs, outputs=(y,), options=options, fields=fields)
    return write_encoded("g", [t for t in inputs if not t.is_constant], [y], [op])


@pytest.mark.parametrize(
    ("kind", "dtype", "power"),
    [
        *(("CONV_2D", DType.INT16, 14), ("TRANSPOSE_CONV", DType.INT16, 14), ("BATCH_MATMUL", DType.INT16, 14)),
        *(("CONV_2D", DType.INT8, 30), ("TRANSPOSE_CONV", DType.INT8, 30), ("BATCH_MATMUL", DType.INT8, 22)),
    ],
)
def test_scales_of_products_that_are_too_far_apart_are_refused(kind: str, dtype: DType, power: int) -> None:
    assert load_tflite(_product(kind, dtype, 2.0 ** (power - 1))).operators
    for beyond in (power, power + 1, 60):
        with pytest.raises(FrontendError, match=r"too large (for|beside)"):
            load_tflite(_product(kind, dtype, 2.0**beyond))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("make", [Add, Sub, Mul, Mean])
def test_scales_that_are_too_far_apart_are_refused(make: type[Any], dtype: DType) -> None:
    """tflite-micro ends at such a sum; the shift of a product or a mean is not defined there."""
    power = 22 if make in (Mul, Mean) else 19 if dtype is DType.INT8 else 14
    for up in (power - 1, power, 60):
        x, b, y = (
            Tensor(name=name, shape=(1, 4), dtype=dtype, quant=Quantization.per_tensor(scale))
            for name, scale in (("x", 2.0**up), ("b", 1.0), ("y", 1.0))
        )
        low, high = integer_range(dtype)
        if make is Mean:
            y = dataclasses.replace(y, shape=(1, 1))
            op, inputs = make(name="op", x=x, y=y, axes=(1,)), (x,)
        else:
            op, inputs = make(name="op", a=x, b=b, y=y, clamp=(low, high)), (x, b)
        file = write_tflite(Graph(name="g", operators=(op,), inputs=inputs, outputs=(y,)))
        if up < power:
            assert load_tflite(file).operators
        else:
            with pytest.raises(FrontendError, match=r"too (large|small) beside"):
                load_tflite(file)


@pytest.mark.parametrize(
    "command", [["--help"], ["boards"], ["records", "list", "--db", "none.sqlite"], ["run", "--help"], ["compile", "ä"]]
)
def test_a_terminal_that_knows_ascii_alone(command: list[str], tmp_path: Path) -> None:
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "utvm", *command], capture_output=True, check=False, cwd=tmp_path, env=environment
    )
    assert b"Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 2)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_files_that_are_no_models_are_not_read(suffix: str, tmp_path: Path) -> None:
    large = tmp_path / f"large{suffix}"
    with large.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(FrontendError, match="4,294,967,296 bytes, more than a model can have"):
        load(large)
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    with pytest.raises(FrontendError, match="no ordinary file"):
        load(pipe)
