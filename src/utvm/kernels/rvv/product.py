"""Convolutions and fully connected layers by vectors of channels.

Where the taps of all pixels lie in memory as runs of one distance, the kernel reads them there. It copies others first,
with the zero point around the input.
"""

from __future__ import annotations

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.helium.finish import refusal
from utvm.kernels.rvv.code import COPY, FILL, OUTPUT, WEIGHTED_PARAMETERS, RvvFamily
from utvm.kernels.rvv.finish import constants
from utvm.kernels.rvv.product_code import MOST_PIXELS, SHAPE_WORDS, product_function
from utvm.kernels.rvv.product_plan import ProductPlan, parts
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload


class RvvProduct(RvvFamily):
    """Conv2D and FullyConnected of any shape. Knobs: `m` pixels at once, `group` registers of a vector of sums."""

    name = "rvv"
    kinds = (Conv2D, FullyConnected)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish."""
        found = super().refusal(op, core)
        return found if found is not None or not isinstance(op, Conv2D | FullyConnected) else refusal(op)

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs."""
        del op, core
        return {"m": tuple(range(1, max(MOST_PIXELS.values()) + 1)), "group": tuple(MOST_PIXELS)}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether the sums of all pixels have registers."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        m = int(config["m"])
        return m <= MOST_PIXELS[int(config["group"])] and m <= ProductPlan.of(op, config).longest

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest instructions."""
        return min(self._configs(op, core), key=lambda config: self.estimate(op, core, config))

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the fastest config, and the one that copies least at once."""
        best = self.default(op, core)
        least = {**best, "m": 1}
        return (best,) if best["m"] == 1 else (best, least)

    def _configs(self, op: Operator, core: Core) -> list[Config]:
        every = [{"m": m, "group": size} for size, most in MOST_PIXELS.items() for m in range(1, most + 1)]
        return [config for config in every if self.legal(op, core, config)]

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return the instructions of all calls and copies."""
        assert isinstance(op, Conv2D | FullyConnected)
        return ProductPlan.of(op, config).instructions(core.zve32x // 32)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        plan = ProductPlan.of(op, config)
        w = CWriter()
        _write(w, plan)
        functions = tuple(product_function(plan.spec(pixels)) for pixels in plan.sizes)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{_stem(op)}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    *WEIGHTED_PARAMETERS,
                    *([CParameter(name="taps", c_type="int8_t", role="scratch")] if plan.copies else []),
                    OUTPUT,
                ),
                body=w.text,
                support=(*((COPY, FILL) if plan.copies else ()), *functions),
            ),
            constants={
                "weights": CArray(c_type="int8_t", values=plan.weights()),
                "finish": CArray(c_type="int32_t", values=plan.finish()),
                "shape": CArray(c_type="int32_t", values=plan.shapes()),
            },
            scratch_bytes=plan.m * plan.depth if plan.copies else 0,
            ahead=plan.ahead,
        )


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}"


def _write(w: CWriter, plan: ProductPlan) -> None:
    """Write the body of the kernel."""
    op = plan.op
    if plan.flat:
        _write_run(w, plan, 0, plan.across, f"x + i * {plan.flat_pitch}", f"y + i * {op.weights.shape[0]}")
        return
    assert isinstance(op, Conv2D)
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, out_channels = op.y.shape
    first, last = plan.rows_inside
    with w.loop("n", batch), w.loop("oy", out_height):
        w(f"const int32_t top = oy * {op.stride[0]}{offset(-op.padding.top)};")
        w(f"int8_t *row = y + (n * {out_height} + oy) * {out_width * out_channels};")
        if first == last:
            _write_copied(w, plan, 0, out_width)
            return
        outside = [*([f"oy < {first}"] if first else []), *([f"oy >= {last}"] if last < out_height else [])]
        if outside:
            with w.block(f"if ({' || '.join(outside)})"):
                _write_copied(w, plan, 0, out_width)
                w("continue;")
        for start, end, there in plan.segments:
            if not there:
                _write_copied(w, plan, start, end)
                continue
            pixel = f"(i * {op.stride[1]}{offset(-op.padding.left)}) * {channels}"
            place = f"(n * {height} + top) * {width * channels} + {pixel}"
            _write_run(w, plan, start, end, f"x + {place}", f"row + i * {out_channels}")


def _write_run(w: CWriter, plan: ProductPlan, start: int, end: int, x: str, y: str) -> None:
    """Write the calls for pixels whose taps are read in place."""
    for pixels, begin, stop in parts(start, end, plan.m):
        with w.block(f"for (int32_t i = {begin}; i < {stop}; i += {pixels})"):
            _write_groups(w, plan, pixels, x, y)


def _write_groups(w: CWriter, plan: ProductPlan, pixels: int, x: str | None, y: str) -> None:
    """Write the calls for `pixels` pixels of all groups; their taps are copied first where `x` is None."""
    name, inner = plan.spec(pixels).name, plan.op.weights.shape[-1]
    shape_at = "shape" if x is not None else f"shape + {SHAPE_WORDS}"
    if plan.groups == 1:
        if x is None:
            _write_taps(w, plan, pixels, "")
        w(f"{name}({x or 'taps'}, weights, finish, {shape_at}, {y});")
        return
    arrays = 1 + len(constants(plan.op))
    with w.loop("g", plan.groups):
        if x is None:
            _write_taps(w, plan, pixels, f" + g * {inner}")
        given = "taps" if x is None else f"{x} + g * {inner}"
        w(f"{name}({given}, weights + g * {plan.depth * plan.channels}, finish + g * {arrays * plan.channels},")
        w(f"  {shape_at}, {y} + g * {plan.channels});")


def _write_copied(w: CWriter, plan: ProductPlan, start: int, end: int) -> None:
    """Write the copies of taps and the calls for the pixels of a row from `start` to before `end`."""
    for pixels, begin, stop in parts(start, end, plan.m):
        with w.block(f"for (int32_t i = {begin}; i < {stop}; i += {pixels})"):
            _write_groups(w, plan, pixels, None, f"row + i * {plan.op.weights.shape[0]}")


def _write_taps(w: CWriter, plan: ProductPlan, pixels: int, group_offset: str) -> None:
    """Write the copy of the taps of pixels i and on, the zero point where they lie outside the input."""
    op = plan.op
    assert isinstance(op, Conv2D)
    _, height, width, channels = op.x.shape
    _, rows, columns, inner = op.weights.shape
    zero = op.x.zero_point
    w("int8_t *to = taps;")
    with w.block(f"for (int32_t p = i; p < i + {pixels}; p++)"):
        w(f"const int32_t left = p * {op.stride[1]}{offset(-op.padding.left)};")
        with w.loop("ky", rows):
            w(f"const int32_t iy = top + ky * {op.dilation[0]};")
            if plan.by_taps:
                with w.loop("kx", columns):
                    w(f"const int32_t ix = left + kx * {op.dilation[1]};")
                    with w.block(f"if (iy >= 0 && iy < {height} && ix >= 0 && ix < {width})"):
                        pixel = f"((n * {height} + iy) * {width} + ix) * {channels}{group_offset}"
                        w(f"{COPY.name}(to, x + {pixel}, {inner});")
                    with w.block("else"):
                        w(f"{FILL.name}(to, {zero}, {inner});")
                    w(f"to += {inner};")
                return
            w(f"const int32_t inside = iy >= 0 && iy < {height};")
            w(f"const int32_t before = left < -{columns} ? {columns} : (left < 0 ? -left : 0);")
            w(f"const int32_t first = inside ? before : {columns};")
            w(f"const int32_t room = {width} - left;")
            w(f"const int32_t end = room < first ? first : (room < {columns} ? room : {columns});")
            w(f"{FILL.name}(to, {zero}, first * {inner});")
            with w.block("if (first < end)"):
                w(f"const int8_t *from = x + ((n * {height} + iy) * {width} + left + first) * {channels};")
                w(f"{COPY.name}(to + first * {inner}, from, (end - first) * {inner});")
            w(f"{FILL.name}(to + end * {inner}, {zero}, ({columns} - end) * {inner});")
            w(f"to += {columns * inner};")
