"""What random networks are to have: each family for each kind of operator that it computes, each form of Winograd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType

from tests.support.drawer import Drawer
from utvm.boards import Board
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    FullyConnected,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Quantize,
    Relu,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tanh,
    Transpose,
)
from utvm.kernels import FAMILIES, Config, Kernel, KernelFamily
from utvm.kernels.dsp.wide_depthwise import WideChannelDepthwise, WidePlaneDepthwise
from utvm.kernels.dsp.wide_direct import WideConvolution
from utvm.kernels.dsp.winograd import WinogradConvolution, WinogradRows
from utvm.kernels.dsp.winograd.transforms import ROW_TRANSFORMS, TRANSFORMS
from utvm.kernels.helium import (
    HeliumWideBinary,
    HeliumWideConvolution,
    HeliumWideDepthwise,
    HeliumWideElements,
    HeliumWideMean,
    HeliumWidePool2D,
)
from utvm.kernels.portable import PortableDefined

_MOST_CONFIGS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A family for some kinds of operators.

    Attributes:
        family: what computes them.
        kinds: the types of the operators; a network has one of them.
        tile, taps: of a form of Winograd, F(tile, taps); 0 for other families.
        weight: how often networks aim at it, compared with others.
        knobs: the choices that its configs have.
    """

    family: KernelFamily
    kinds: tuple[type[Operator], ...]
    tile: int = 0
    taps: int = 0
    weight: int = 1
    knobs: Mapping[str, str] = field(default_factory=dict)

    def fits(self, op: Operator, core: Core) -> bool:
        """Whether the family computes an operator on a core, in this form."""
        if not isinstance(op, self.kinds) or not self.family.applies(op, core):
            return False
        if self.knobs:
            return any(self.family.legal(op, core, config) for config in _configs(self.family, op, core, self.knobs))
        if not self.tile:
            return True
        assert isinstance(op, Conv2D)
        return op.weights.shape[2] == self.taps and self.tile in self.family.space(op, core)["tile"]

    def config(self, d: Drawer, op: Operator, core: Core) -> Config | None:
        """Return a random config of the form that can be built; None if none was found."""
        return {"tile": self.tile} if self.tile else random_config(d, self.family, op, core, self.knobs)


def targets(board: Board) -> list[Target]:
    """Return what a board's core has."""
    return [target for target in _TARGETS if target.family.lacks(board.core) is None]


def target_of(label: str) -> Target:
    """Return what a label of `used_by` stands for: a kind and a family, and maybe a knob and its choice."""
    kind, _, rest = label.partition(": ")
    name, _, knob = rest.partition(", ")
    family, of_kind = next(
        (family, each) for family in FAMILIES for each in family.kinds if (family.name, each.__name__) == (name, kind)
    )
    return Target(family=family, kinds=(of_kind,), knobs=dict([knob.split(" ")]) if knob else {})


def random_config(
    d: Drawer, family: KernelFamily, op: Operator, core: Core, knobs: Mapping[str, str] = MappingProxyType({})
) -> Config | None:
    """Return a random config of a family, with the choices of `knobs`, that can be built; None if none was found."""
    every = _configs(family, op, core, knobs)
    d.rng.shuffle(every)  # type: ignore[arg-type]
    for config in every[:_MOST_CONFIGS]:
        if family.legal(op, core, config):
            try:
                family.build(op, core, config)
            except ScheduleError:
                continue
            return config
    return None


def _configs(family: KernelFamily, op: Operator, core: Core, knobs: Mapping[str, str]) -> list[dict[str, int | str]]:
    """Return the configs of a space that have the choices of `knobs`."""
    space = family.space(op, core)
    every = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    return [config for config in every if all(str(config.get(name)) == value for name, value in knobs.items())]


def used_by(op: Operator, kernel: Kernel) -> set[str]:
    """Return what the call of a kernel counts for: its kind and family, and the form or variant where there are any."""
    name = kernel.family
    found = {f"{op.kind}: {name}"}
    if name.startswith("winograd"):
        assert isinstance(op, Conv2D)
        m, r = kernel.config["tile"], op.weights.shape[2]
        form = f"F({m}x{m},{r}x{r})" if name == "winograd" else f"F({m},{r})"
        found.add(f"{op.kind}: {name} {form}")
    for knob in _VARIANTS.get(name, ()):
        if knob in kernel.config:
            found.add(f"{op.kind}: {name}, {knob} {kernel.config[knob]}")
    return found


_VARIANTS: Mapping[str, tuple[str, ...]] = {
    "blocked": ("use", "read", "code", "order"),
    "direct": ("form", "unroll"),
    "row": ("form", "row"),
}
"""The knobs that stand for kernels of their own."""

_WEIGHTS = {
    ("row", FullyConnected): 4,
    ("direct", FullyConnected): 2,
    ("channels", DepthwiseConv2D): 2,
    ("words", Sub): 2,
    ("words", Mul): 2,
    ("words", MaxPool2D): 2,
    ("words", AveragePool2D): 2,
    ("blocked", Conv2D): 2,
    ("blocked", FullyConnected): 3,
    ("blocked", DepthwiseConv2D): 4,
}
"""How often a network aims at a family for a kind, where once is too seldom to be drawn 200 times in 3,000."""

_ONE_BY_ONE = (Conv2D, DepthwiseConv2D, FullyConnected, Add, Sub, Mul, MaxPool2D, AveragePool2D)
"""Kinds that are targets of their own; of what else a family computes any will do."""

_OTHER_TYPES = (
    *(
        HeliumWideBinary,
        HeliumWideConvolution,
        HeliumWideDepthwise,
        HeliumWideElements,
        HeliumWideMean,
        HeliumWidePool2D,
    ),
    *(WideConvolution, WidePlaneDepthwise, WideChannelDepthwise, PortableDefined),
)
"""Families that take these kinds only in types that no drawn network has; int8 is among theirs all the same."""

_DRAWN = (
    *(Mean, Softmax, Logistic, Tanh, Relu, LeakyRelu, Quantize, Dequantize, Pad, Concatenation, Split, StridedSlice),
    *(Transpose, ResizeNearestNeighbor, ResizeBilinear),
)


def _of_family(family: KernelFamily) -> list[Target]:
    if isinstance(family, WinogradConvolution | WinogradRows):
        forms = TRANSFORMS if isinstance(family, WinogradConvolution) else ROW_TRANSFORMS
        return [Target(family=family, kinds=(Conv2D,), tile=tile, taps=taps, weight=3) for taps, tile in forms]
    rest = tuple(kind for kind in family.kinds if kind in _DRAWN)
    groups = [*((kind,) for kind in family.kinds if kind in _ONE_BY_ONE), *([rest] if rest else [])]
    return [Target(family=family, kinds=kinds, weight=_WEIGHTS.get((family.name, kinds[0]), 1)) for kinds in groups]


_TARGETS = [
    target
    for family in FAMILIES
    if DType.INT8 in family.dtypes and not isinstance(family, _OTHER_TYPES)
    for target in _of_family(family)
]
