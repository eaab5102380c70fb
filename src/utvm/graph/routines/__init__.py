"""Operators of tflite-micro that are short programs, in C: what devices run, and what the reference runs here.

Parameters come as a last input of int32; memory from run to run as inputs and outputs.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from utvm.graph.foreign import CSource

_FOLDER = Path(__file__).parent
_FIXED = """\
static {scalar} {name}_rounded({product} x) {{ return ({scalar})((x + (({product})1 << {before})) >> {bits}); }}

static {scalar} {name}_divided({scalar} x, {scalar} by) {{ return {name}_rounded(({product})x * by); }}
"""
_REAL = """\
static float {name}_rounded(float x) {{ return x; }}

static float {name}_divided(float x, float by) {{ (void)by; return x; }}
"""
_SCALED = """\
for (int32_t i = 0; i < count; i++) {
      y[i].r /= (float)(2 * count);
      y[i].i /= (float)(2 * count);
    }"""
FFT_TYPES = ("int16", "int32", "float32")


@lru_cache(maxsize=64)
def routine(name: str) -> CSource:
    """Return an operator's C by its name, as a file of this folder has it."""
    return CSource(name=name, text=(_FOLDER / f"{name}.c").read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def fft_routine(name: str, dtype: str) -> CSource:
    """Return the C of a transform of real numbers, in fixed point with scaled stages, or in float32."""
    scalar, product, bits = {
        "int16": ("int16_t", "int32_t", 15),
        "int32": ("int32_t", "int64_t", 31),
        "float32": ("float", "float", 0),
    }[dtype]
    full = f"{name}_{dtype}"
    helpers = (_REAL if dtype == "float32" else _FIXED).format(
        name=full, scalar=scalar, product=product, bits=bits, before=bits - 1
    )
    most = "1.0f" if dtype == "float32" else f"(int32_t){(1 << bits) - 1}"
    half = "value * 0.5f" if dtype == "float32" else "value >> 1"
    scaled = _SCALED if dtype == "float32" else ""
    text = "".join((_FOLDER / f"{part}.c").read_text(encoding="utf-8") for part in ("SignalFft", name))
    parts = {"NAME": full, "SCALAR": scalar, "PRODUCT": product, "MOST": most, "HALF": half, "SCALED": scaled}
    for mark, value in parts.items():
        text = text.replace(f"@{mark}@", value)
    return CSource(name=full, text=f"{helpers}\n{text}")
